import numpy as np
import pytest

from ggt_hub.errors import ImageError
from ggt_hub.reports import contact_sheet


def plain(width, height, colour):
    return np.full((height, width, 3), colour, np.uint8)


def test_pictures_lie_in_rows_at_their_places():
    pictures = [plain(40, 30, (200, 0, 0)), plain(20, 30, (0, 200, 0)), plain(40, 20, (0, 0, 200))]
    sheet = contact_sheet(pictures, ["red", "green", "blue"], columns=2)
    # two columns of 40 and two rows of 30 and 20 pixels, 12 between and around, 26 for each line of text
    assert sheet.size == (12 + 52 + 52, 12 + 30 + 26 + 12 + 20 + 26 + 12)
    assert sheet.getpixel((12, 12)) == (200, 0, 0)
    assert sheet.getpixel((12 + 52, 12)) == (0, 200, 0)
    assert sheet.getpixel((12, 12 + 30 + 26 + 12)) == (0, 0, 200)


def test_large_pictures_are_reduced_to_the_cell_and_captions_cut_to_it():
    sheet = contact_sheet([plain(400, 200, 90)], ["a caption much longer than the picture is wide"], cell=100)
    assert sheet.size == (124, 12 + 50 + 26 + 12)
    below = np.asarray(sheet)[12 + 50 :]
    assert (below[:, :112].min() < 100) and (below[:, 112:].min() > 200)  # text, and none beyond the cell


def test_each_picture_needs_a_caption():
    with pytest.raises(ImageError, match="got 1 for 2 pictures"):
        contact_sheet([plain(4, 4, 0)] * 2, ["one"])
