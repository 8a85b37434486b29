"""Textures in Parquet: those of a folder, by the same names, from a data set of configs."""

import io
from pathlib import Path

import datasets
import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

from ggt_hub.degradations import Assets, degrade, replay
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.errors import DegradationError
from tests.photographs import photograph

PHOTO = photograph(64)
FOG = parse_preset("fog", {"task": "haze", "steps": [{"family": "haze", "kinds": ["fog"]}]})


def texture(seed: int) -> Image.Image:
    return Image.fromarray(default_rng(seed).integers(0, 120, (40, 50, 3), dtype=np.uint8))


def encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def write_table(path: Path, cells: list, column: str = "image", **more: list) -> None:
    """As `push_to_hub` leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    features = datasets.Features(
        {name: datasets.Image() for name in (column, *more)} | {"caption": datasets.Value("string")}
    )
    rows = {column: cells, "caption": ["x"] * len(cells), **more}
    datasets.Dataset.from_dict(rows, features).to_parquet(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three textures of fog."""
    (tmp_path / "folder/fog").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "c.png")):
        texture(number).save(tmp_path / "folder/fog" / name)
    return tmp_path / "folder"


def in_two_tables(folder: Path, into: Path) -> None:
    paths = sorted(folder.glob("fog/*"))
    for number, some in enumerate((paths[:2], paths[2:])):
        cells = [{"bytes": path.read_bytes(), "path": path.name} for path in some]
        write_table(into / f"train-{number:05d}-of-00002.parquet", cells)


@pytest.mark.parametrize("place", ["fog", "data/fog"])
def test_a_data_set_with_a_config_for_each_kind_is_as_the_folder(place, folder, tmp_path, hub) -> None:
    in_two_tables(folder, tmp_path / "repository" / place)
    hub.add("dataset", f"org/{place.replace('/', '-')}", tmp_path / "repository")
    theirs, ours = Assets.open(f"org/{place.replace('/', '-')}"), Assets.open(folder)
    assert theirs.identity == ours.identity and len(ours.identity["fog"]) == 3
    for seed in range(5):
        damaged, record = degrade(PHOTO, FOG, severity=0.8, seed=seed, assets=theirs)
        expected, same = degrade(PHOTO, FOG, severity=0.8, seed=seed, assets=ours)
        assert record == same and np.array_equal(damaged, expected)
        assert np.array_equal(replay(PHOTO, record, assets=theirs), damaged)


def test_rows_without_a_name_or_with_one_twice_are_numbered_and_read_by_content(tmp_path) -> None:
    files = [encoded(texture(seed), kind) for seed, kind in enumerate(("PNG", "JPEG", "WEBP"))]
    names = ["x.png", "deeper/x.png", None]
    cells = [{"bytes": data, "path": name} for data, name in zip(files, names, strict=True)]
    write_table(tmp_path / "rain/train.parquet", cells)
    texture(9).save(tmp_path / "rain/loose.png")
    found = Assets.open(tmp_path).files("rain")
    assert list(found) == ["loose.png", "000001.png", "000002.png", "x.png"]
    assert [found[name].read_bytes() for name in ("x.png", "000001.png", "000002.png")] == files
    for named in Assets.open(tmp_path).pick(default_rng(0), "rain", 4, 4):
        picture = Assets.open(tmp_path).picture("rain", named)
        expected = np.asarray(Image.open(found[named["name"]]).convert("RGB")) / 255
        assert np.abs(picture - expected).max() < 0.01  # decoders of JPEG differ by a level or two


def test_clips_in_tables_are_clips(tmp_path) -> None:
    frames = [Image.fromarray(np.roll(PHOTO, 3 * n, axis=1)) for n in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    write_table(
        tmp_path / "assets/clips/a.parquet", [{"bytes": (tmp_path / "a.webp").read_bytes(), "path": None}]
    )
    opened = Assets.open(tmp_path / "assets")
    clip = opened.clip(opened.pick(default_rng(0), "clips")[0])
    assert [np.array_equal(frame, np.asarray(shown)) for frame, shown in zip(clip, frames, strict=True)] == [
        True
    ] * 3


def test_tables_that_cannot_be_used_are_named(tmp_path) -> None:
    cell = {"bytes": encoded(texture(0), "PNG"), "path": None}
    write_table(tmp_path / "two/fog/x.parquet", [cell], other=[cell])
    with pytest.raises(
        DegradationError, match=r"x\.parquet have 2 columns of pictures \(image, other\): keep one"
    ):
        Assets.open(tmp_path / "two")
    write_table(tmp_path / "gone/fog/x.parquet", [cell, None])
    with pytest.raises(DegradationError, match=r"x\.parquet have rows without a file in 'image'"):
        Assets.open(tmp_path / "gone")
    (tmp_path / "broken/fog").mkdir(parents=True)
    (tmp_path / "broken/fog/x.parquet").write_bytes(b"no table")
    with pytest.raises(DegradationError, match=r"x\.parquet cannot be read: .*replace the table"):
        Assets.open(tmp_path / "broken")
