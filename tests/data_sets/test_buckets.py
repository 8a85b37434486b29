"""Aspect buckets: which one, and what of a picture lies in it, and that both sides of a pair are the same place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ggt_hub.data.reading.buckets import bucket_of, fitted
from ggt_hub.data.reading.mixture import Damage, Mixture
from ggt_hub.data.reading.picture_sources import open_source
from ggt_hub.degradations.presets import load_preset
from ggt_hub.errors import DatasetError
from tests.photographs import photograph

BUCKETS = ((64, 64), (96, 48), (48, 96))


@pytest.mark.parametrize(
    ("size", "bucket"),
    [
        ((64, 64), (64, 64)),
        ((200, 100), (96, 48)),
        ((100, 200), (48, 96)),
        ((90, 64), (64, 64)),  # 96x48 is nearer in aspect, and wider than the picture
        ((100, 64), (96, 48)),
        ((96, 63), (96, 48)),
        ((64, 63), None),
        ((400, 47), None),
    ],
)
def test_the_nearest_aspect_that_is_covered_is_taken(
    size: tuple[int, int], bucket: tuple[int, int] | None
) -> None:
    assert bucket_of(*size, BUCKETS) == bucket


def test_of_buckets_of_one_aspect_the_largest_is_taken() -> None:
    assert bucket_of(130, 130, ((64, 64), (128, 128))) == (128, 128)
    assert bucket_of(127, 127, ((64, 64), (128, 128))) == (64, 64)


def test_a_picture_is_shrunk_by_means_and_cut_evenly() -> None:
    """200x96 covers 96x48 at half its size, 100x48, of which two columns go at either end."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 200, 3)).astype(np.uint8)
    means = (pixels / 255).reshape(48, 2, 100, 2, 3).mean((1, 3))
    np.testing.assert_allclose(fitted(pixels, BUCKETS), means[:, 2:98], atol=1e-6)  # float32
    whole = fitted(pixels[:48, :96], BUCKETS)
    assert np.array_equal(whole, pixels[:48, :96].astype(np.float32) / np.float32(255))
    with pytest.raises(DatasetError, match="200x40 pixels cover none of the buckets 64x64, 96x48, 48x96"):
        fitted(pixels[:40], BUCKETS)


def test_both_sides_of_a_pair_are_the_same_place_mirrored_alike(tmp_path: Path) -> None:
    """Also where gt is twice as large: its means over two by two are lq again."""
    rng = np.random.default_rng(1)
    for name in ("lq", "gt"):
        (tmp_path / "pairs" / name).mkdir(parents=True)
    for number, (height, width) in enumerate([(64, 70), (50, 110), (75, 130)]):
        lq = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(lq).save(tmp_path / f"pairs/lq/{number}.png")
        Image.fromarray(lq.repeat(2, 0).repeat(2, 1)).save(tmp_path / f"pairs/gt/{number}.png")
    source = open_source(tmp_path / "pairs")
    mixture = Mixture([(source, 1)], {}, crop=8, buckets=BUCKETS, seed=0, aligned=True)
    seen = set()
    for number in range(24):
        lq, gt = mixture[number].cut()
        seen.add(lq.tobytes())
        assert gt.shape[0] == 2 * lq.shape[0]
        means = gt.reshape(len(lq), 2, lq.shape[1], 2, 3).mean((1, 3))
        # Where it is shrunk, both take means over areas that do not end with pixels; cut and mirrored wrongly, 0.3.
        assert np.abs(means - lq).mean() < 0.01
    assert len(seen) == 6  # each plain and mirrored


def test_clean_pictures_are_seen_whole_too_and_what_covers_none_is_skipped(tmp_path: Path) -> None:
    wide = np.ascontiguousarray(photograph(96)[:48])
    for name, pixels in (("wide", wide), ("small", photograph(40))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    noise = {"noise": Damage(1.0, load_preset("noise"))}
    mixture = Mixture([(open_source(tmp_path), 1)], noise, crop=128, buckets=BUCKETS, seed=0, aligned=True)
    with pytest.warns(UserWarning, match=r"small\.png: 40x40 pixels cover none of the buckets 64x64, 96x48"):
        drawn = [mixture[number].cut() for number in range(8)]
    seen = {np.rint(gt * 255).astype(np.uint8).tobytes() for _, gt in drawn}
    assert seen == {wide.tobytes(), np.ascontiguousarray(wide[:, ::-1]).tobytes()}
    assert all(lq.shape == (48, 96, 3) and not np.array_equal(lq, gt) for lq, gt in drawn)
