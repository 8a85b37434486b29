"""The sheet of every family and kind."""

import numpy as np
import pytest
from PIL import Image

from ggt_hub.degradations import FAMILIES
from ggt_hub.degradations.base import Sample, to_float, to_uint8
from ggt_hub.degradations.noise import Noise
from ggt_hub.degradations.sheet import damage_sheet
from ggt_hub.errors import DegradationError
from ggt_hub.reports import sheet as reports_sheet
from tests.degradations.tiny import KINDS
from tests.photographs import photograph


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that a sheet lays out."""
    seen: list[str] = []

    def listen(pictures: list, words: list[str], **other: object) -> Image.Image:
        seen.extend(words)
        return reports_sheet.contact_sheet(pictures, words, **other)

    monkeypatch.setattr("ggt_hub.degradations.sheet.contact_sheet", listen)
    return seen


def test_every_family_and_kind_is_there_at_three_severities(captions: list[str]) -> None:
    sheet = damage_sheet(photograph(32), cell=32)
    expected = [f"{name.replace(' ', ', ')} {severity}" for name in KINDS for severity in (0.2, 0.5, 0.9)]
    assert captions == expected
    assert sheet.width == 6 * (32 + 12) + 12


def test_a_cell_shows_the_damage_pixel_for_pixel() -> None:
    """The first kind of noise at 0.2, on the picture at the size of the cell."""
    sheet = np.asarray(damage_sheet(photograph(64), ["noise"], seed=3, cell=32))
    small = Image.fromarray(photograph(64))
    small.thumbnail((32, 32), Image.Resampling.LANCZOS)
    clean = to_float(np.asarray(small))
    family = KINDS["noise gaussian"]
    drawn = family.draw(np.random.default_rng(3), 0.2)
    assert isinstance(family, Noise)
    assert np.array_equal(sheet[12:44, 12:44], to_uint8(family.apply(Sample(clean, clean), drawn).lq))


def test_one_family_alone(captions: list[str]) -> None:
    damage_sheet(photograph(32), ["snow"], cell=32)
    assert captions == ["snow 0.2", "snow 0.5", "snow 0.9"]


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(
        DegradationError, match=rf"no family named 'nosie': there are .*{list(FAMILIES)[-1]}.*'noise'"
    ):
        damage_sheet(photograph(32), ["nosie"])
