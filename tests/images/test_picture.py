import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from ggt_hub.errors import ImageError
from ggt_hub.images import Metadata, Picture, read_image
from tests.images.odd_files import ALPHA, ALPHA16, GREY, GREY16, RGB, RGB16, SRGB, exif

PICTURES = [
    Picture(GREY),
    Picture(GREY, ALPHA),
    Picture(RGB),
    Picture(RGB, ALPHA),
    Picture(GREY16),
    Picture(GREY16, ALPHA16),
    Picture(RGB16),
    Picture(RGB16, ALPHA16),
]


@pytest.mark.parametrize("picture", PICTURES)
def test_colours_survive_the_way_through_floats_unchanged(picture):
    again = picture.with_rgb(picture.rgb())
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert again.pixels.dtype == picture.pixels.dtype
    assert again.alpha is picture.alpha


def test_every_level_of_16_bits_survives_floats():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    np.testing.assert_array_equal(Picture(levels).with_rgb(Picture(levels).rgb()).pixels, levels)


def test_rgb_is_float32_in_unit_range_with_three_channels():
    floats = Picture(np.array([[[0], [128], [255]]], np.uint8)).rgb()
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, np.float32([[[0] * 3, [128 / 255] * 3, [1] * 3]]))


def test_rgb_of_a_box_is_that_part():
    picture = Picture(RGB16)
    np.testing.assert_array_equal(picture.rgb((2, 1, 11, 5)), picture.rgb()[1:5, 2:11])


def test_grey_stays_grey_by_the_mean():
    picture = Picture(GREY).with_rgb(np.full((9, 13, 3), [0.1, 0.2, 0.6], np.float32))
    assert picture.pixels.shape == (9, 13, 1)
    assert (picture.pixels == round(0.3 * 255)).all()


def test_values_out_of_range_are_clipped_and_nan_refused():
    picture = Picture(RGB).with_rgb(np.full((9, 13, 3), [-1.0, 2.0, 0.5], np.float32))
    assert (picture.pixels == [0, 255, 128]).all()
    with pytest.raises(ImageError, match="NaN"):
        Picture(RGB).with_rgb(np.full((9, 13, 3), np.nan, np.float32))


def test_alpha_is_resampled_to_a_new_size_and_metadata_kept():
    ramp = np.tile(np.linspace(0, 65535, 13).round().astype(np.uint16), (9, 1))
    picture = Picture(RGB16, ramp, Metadata(icc=SRGB, exif=exif()[6:]), name="x")
    larger = picture.with_rgb(np.zeros((18, 26, 3), np.float32))
    assert larger.alpha.shape == (18, 26)
    assert larger.alpha.dtype == np.uint16
    # A ramp stays a ramp away from the border: output pixel x lies at (x + 0.5) / 2 - 0.5.
    expected = ((np.arange(6, 20) + 0.5) / 2 - 0.5) * 65535 / 12
    assert np.abs(larger.alpha[9, 6:20] - expected).max() < 65535 * 0.005  # Lanczos is not exactly linear
    assert (larger.icc, larger.exif, larger.name) == (SRGB, picture.exif, "x")


def test_constant_alpha_stays_constant_when_resampled():
    picture = Picture(RGB, np.full((9, 13), 77, np.uint8)).with_rgb(np.zeros((36, 52, 3), np.float32))
    assert (picture.alpha == 77).all()


@pytest.mark.parametrize(
    ("picture", "mode"),
    list(zip(PICTURES, ["L", "LA", "RGB", "RGBA", "I;16", "LA", "RGB", "RGBA"], strict=True)),
)
def test_to_pil_has_the_mode_that_holds_most(picture, mode):
    image = picture.to_pil()
    assert image.mode == mode
    if picture.levels == 255 or mode == "I;16":
        np.testing.assert_array_equal(np.asarray(image), np.asarray(picture))
    else:
        assert np.abs(np.asarray(image) - np.asarray(picture) / 257).max() <= 0.5


def test_to_pil_carries_metadata_that_pillow_saves():
    image = Picture(RGB, metadata=Metadata(icc=SRGB, exif=exif()[6:])).to_pil()
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=image.info["exif"])
    saved = Image.open(buffer)
    assert saved.info["icc_profile"] == SRGB
    assert saved.getexif()[0x010F] == "Maker"


def test_array_has_alpha_as_its_last_channel():
    assert np.asarray(Picture(GREY)).shape == (9, 13)
    assert np.asarray(Picture(GREY, ALPHA)).shape == (9, 13, 2)
    np.testing.assert_array_equal(np.asarray(Picture(RGB, ALPHA))[..., 3], ALPHA)
    assert np.asarray(Picture(RGB), dtype=np.float32).dtype == np.float32
    for picture in PICTURES:
        np.testing.assert_array_equal(np.asarray(read_image(np.asarray(picture))), np.asarray(picture))


def test_picture_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Picture(RGB).pixels = RGB


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (RGB[..., 0], None),
        (np.dstack([RGB, ALPHA]), None),
        (RGB.astype(np.float32), None),
        (RGB[:0], None),
        (RGB, ALPHA16),
        (RGB, ALPHA[:5]),
        (RGB, RGB),
    ],
)
def test_picture_refuses_other_shapes_and_types(pixels, alpha):
    with pytest.raises(ImageError, match="'<picture>'"):
        Picture(pixels, alpha)


@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 1), (0, 13, 3)])
def test_with_rgb_refuses_other_layouts(shape):
    with pytest.raises(ImageError, match="3 channels"):
        Picture(RGB).with_rgb(np.zeros(shape, np.float32))
