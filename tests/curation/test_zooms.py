import io

import numpy as np
from PIL import Image

from ggt_hub.curation.zooms import glance, whole
from ggt_hub.images.shown import png


def test_who_describes_a_picture_is_shown_it_at_half_a_megapixel_at_most_and_never_enlarged():
    pixels = np.random.default_rng(0).integers(0, 256, (512, 2048, 3), np.uint8)
    large, small = (png(Image.fromarray(one)) for one in (pixels, pixels[:64, :96]))
    assert Image.open(io.BytesIO(glance(large))).size == (1024, 256)
    assert glance(small) == small


def test_a_whole_picture_is_shrunk_to_its_longer_side_and_else_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 200, 3), np.uint8)
    assert whole(pixels, 100).shape == (30, 100, 3)
    assert np.array_equal(whole(pixels, 200), pixels)


def test_a_small_file_that_holds_pixels_alone_is_shown_as_it_is_and_others_are_written_anew():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(plain := io.BytesIO(), "PNG", compress_level=9)
    told = Image.Exif()
    told[0x010F] = "a camera"
    Image.fromarray(pixels).save(with_exif := io.BytesIO(), "PNG", exif=told)
    assert glance(plain.getvalue()) == plain.getvalue()
    assert glance(with_exif.getvalue()) == png(pixels)
