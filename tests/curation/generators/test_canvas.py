"""Pictures on canvases of the shapes that generators draw."""

import io

import numpy as np
import pytest
from PIL import Image

from ggt_hub.curation.generators.canvas import (
    canvas_of_grid,
    canvas_of_ratio,
    nearest_ratio,
    off_canvas,
    on_canvas,
    size_of,
)
from tests.servers.image_editors import picture

RATIOS = ("1:1", "3:2", "2:3", "16:9", "9:16")


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_ratio_is_the_nearest_one():
    sizes = [(1000, 1010), (1200, 801), (100, 150), (1920, 1080), (50, 400)]
    assert [nearest_ratio(size, RATIOS) for size in sizes] == ["1:1", "3:2", "2:3", "16:9", "9:16"]


def test_a_canvas_holds_the_picture_and_is_no_larger_than_it_must():
    assert canvas_of_ratio((1024, 1024), RATIOS) == (1024, 1024)
    assert canvas_of_ratio((1024, 683), RATIOS) == (1024, 683)  # 3:2 within a hundredth
    assert canvas_of_ratio((1024, 900), RATIOS) == (1024, 1024)
    assert canvas_of_ratio((300, 1024), RATIOS) == (576, 1024)
    assert canvas_of_grid((1024, 683), 16, 3) == (1024, 688)
    assert canvas_of_grid((1024, 100), 16, 3) == (1024, 352)
    assert canvas_of_grid((64, 64), 16, 3) == (64, 64)


@pytest.mark.parametrize("times", [1, 2])
def test_what_lay_on_a_canvas_comes_off_it_pixel_for_pixel(times):
    data = picture((100, 64))
    shown, box = on_canvas(data, (112, 64))
    whole = Image.open(io.BytesIO(shown))
    assert whole.size == (112, 64)
    assert np.array_equal(pixels(shown)[:, 6:106], pixels(data))
    assert not pixels(shown)[:, [0, 5, 106, 111]].any()
    whole.resize((112 * times, 64 * times), Image.Resampling.NEAREST).save(buffer := io.BytesIO(), "PNG")
    back = pixels(off_canvas(buffer.getvalue(), box))
    assert np.array_equal(back, pixels(data).repeat(times, 0).repeat(times, 1))


def test_what_fills_its_canvas_stays_the_file_that_it_is():
    data = picture((64, 64), form="JPEG")
    assert on_canvas(data, size_of(data)) == (data, None)
    assert off_canvas(data, None) is data
    assert (
        off_canvas(b"no picture", on_canvas(data, (80, 64))[1]) == b"no picture"
    )  # another stage refuses it


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 2)])
def test_of_the_smallest_picture_one_pixel_comes_off_at_least(size):
    _, box = on_canvas(picture((640, 64)), (640, 274))
    assert size_of(off_canvas(picture(size), box)) == (size[0], 1)
