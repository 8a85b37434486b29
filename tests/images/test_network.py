"""What networks are shown of transparent pictures and panoramas."""

import numpy as np
import pytest

from ggt_hub.images import Metadata, Picture, fill_hidden, is_panorama, unwrapped, wrapped
from tests.images import carriers
from tests.images.odd_files import RNG


def holed(height=37, width=53, channels=3, dtype=np.uint8):
    levels = np.iinfo(dtype).max
    pixels = RNG.integers(0, levels, (height, width, channels), dtype=dtype, endpoint=True)
    alpha = RNG.integers(0, levels, (height, width), dtype=dtype, endpoint=True)
    alpha[5:30, 11:47] = 0
    return Picture(pixels, alpha)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_hidden_plays_no_part_and_what_is_visible_stays(channels, dtype):
    picture = holed(channels=channels, dtype=dtype)
    other = np.where(
        picture.alpha[..., None] == 0, RNG.integers(0, 200, picture.pixels.shape), picture.pixels
    )
    filled, again = fill_hidden(picture), fill_hidden(Picture(other.astype(dtype), picture.alpha))
    np.testing.assert_array_equal(filled.pixels, again.pixels)
    visible = picture.alpha > 0
    np.testing.assert_array_equal(filled.pixels[visible], picture.pixels[visible])
    np.testing.assert_array_equal(filled.alpha, picture.alpha)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (300, 5), (600, 600)])
def test_one_colour_fills_everything(size):
    """Means of one value are that value, at every scale and size."""
    alpha = np.zeros(size, np.uint8)
    alpha[0, 0] = 1
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[0, 0] = [9, 99, 199]
    assert (fill_hidden(Picture(pixels, alpha)).pixels == [9, 99, 199]).all()


def test_a_hole_takes_the_colour_of_the_nearer_side():
    pixels, alpha = np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 255, np.uint8)
    pixels[:, :20], pixels[:, 44:] = 50, 200
    alpha[:, 20:44] = 0
    filled = fill_hidden(Picture(pixels, alpha)).pixels
    assert np.abs(filled[:, 20:22].astype(int) - 50).max() <= 10
    assert np.abs(filled[:, 42:44].astype(int) - 200).max() <= 10
    assert filled.min() >= 50
    assert filled.max() <= 200


def test_nothing_visible_is_grey_and_opaque_pictures_are_left_alone():
    assert (fill_hidden(Picture(holed().pixels, np.zeros((37, 53), np.uint8))).pixels == 127).all()
    for alpha in (None, np.full((37, 53), 1, np.uint8)):
        picture = Picture(holed().pixels, alpha)
        assert fill_hidden(picture) is picture


PANORAMA = b'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:ProjectionType="equirectangular" '


@pytest.mark.parametrize(
    ("said", "around"),
    [
        (PANORAMA + b'GPano:FullPanoWidthPixels="64" GPano:CroppedAreaImageWidthPixels="64"', True),
        (PANORAMA, True),
        (PANORAMA + b'GPano:FullPanoWidthPixels="128" GPano:CroppedAreaImageWidthPixels="64"', False),
        (PANORAMA.replace(b"equirect", b"cylindr"), False),
        (PANORAMA + b'GPano:FullPanoWidthPixels="many"', False),
        (b"", False),
    ],
)
def test_panorama_is_told_by_its_xmp(said, around):
    packet = carriers.xmp(attributes=said)
    assert is_panorama(Picture(holed().pixels, metadata=Metadata(xmp=packet))) == around


def test_panorama_told_by_elements():
    inside = b"".join(
        b"<GPano:%s>%s</GPano:%s>" % (name, value, name)
        for name, value in [(b"ProjectionType", b"equirectangular"), (b"FullPanoWidthPixels", b"64")]
    )
    packet = carriers.xmp(inside, b'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"')
    assert is_panorama(Picture(holed().pixels, metadata=Metadata(xmp=packet)))


def test_what_is_larger_by_a_fraction_comes_back_in_the_size_that_was_asked_for():
    picture = holed()  # 53 pixels wide
    wider = wrapped(picture, 64)
    made = np.zeros((round(37 * 2.5), round(wider.size[0] * 2.5), 3), np.float32)
    _, restored = unwrapped(wider, made)
    assert restored.shape[1] == round(53 * 2.5)


@pytest.mark.parametrize("margin", [3, 53, 120])
def test_wrapped_goes_on_at_the_other_side_and_comes_back(margin):
    picture = holed()
    wider = wrapped(picture, margin)
    assert wider.size == (53 + 2 * margin, 37)
    np.testing.assert_array_equal(wider.pixels[:, margin : margin + 53], picture.pixels)
    for column in range(wider.size[0]):
        np.testing.assert_array_equal(wider.pixels[:, column], picture.pixels[:, (column - margin) % 53])
    for scale in (1, 2):
        made = np.repeat(np.repeat(wider.rgb(), scale, 0), scale, 1)
        back, restored = unwrapped(wider, made)
        np.testing.assert_array_equal(back.pixels, picture.pixels)
        np.testing.assert_array_equal(back.alpha, picture.alpha)
        np.testing.assert_array_equal(restored, np.repeat(np.repeat(picture.rgb(), scale, 0), scale, 1))
        assert back.margin == 0
