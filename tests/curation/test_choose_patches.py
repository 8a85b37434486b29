"""Of each patch the best of several candidates."""

import json
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ggt_hub.curation.patches import common, detail, places, texture
from ggt_hub.curation.stage import Context, Dropped, Split
from ggt_hub.curation.stages.choose_patches import ChoosePatches
from ggt_hub.curation.stages.judge import photograph_of
from ggt_hub.errors import MetricError, MetricUnavailableError
from ggt_hub.images.shown import png, shown_rgb
from ggt_hub.metrics import registry
from tests.curation.nearness import nearness
from tests.curation.planted import sample

LQ = sample("china")[:200, :264]


def test_what_is_left_of_all_lies_at_the_same_places() -> None:
    cut = {"a": LQ[3:-3, 3:-3], "b": LQ[10:-10, 10:-10], "c": LQ}
    found = common(cut)
    assert all(np.array_equal(one, LQ[10:-10, 10:-10]) for one in found.values())


@pytest.mark.parametrize(
    ("size", "corners"),
    [
        ((96, 96), {"0-0": (0, 0)}),
        ((111, 95), {}),
        ((200, 264), {"0-0": (0, 0), "0-1": (0, 168), "1-0": (104, 0), "1-1": (104, 168)}),
        ((101, 300), {"0-0": (2, 0), "0-1": (2, 102), "0-2": (2, 204)}),
    ],
)
def test_squares_are_spread_evenly(size: tuple[int, int], corners: dict[str, tuple[int, int]]) -> None:
    assert {name: (one.top, one.left) for name, one in places(size, 96).items()} == corners


def test_detail_and_texture_by_hand() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert (detail(flat), texture(flat)) == (0, 0)
    halves = flat.copy()
    halves[:, 32:] = 150
    assert texture(halves) == 30
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 1)).repeat(3, 2).astype(np.uint8)
    # Of white noise OpenCV's kernel (1 4 6 4 1)/16 keeps (70/256)^2 of the variance in the smaller picture.
    plane = noise[..., 0].astype(np.float32)
    first = (plane - cv2.pyrUp(cv2.pyrDown(plane))).var()
    assert detail(noise) == pytest.approx(first / 3, rel=0.2)  # the two coarser bands add little


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(registry.METRICS, "near", nearness(LQ))
    return "near"


def row(name: str, lq: np.ndarray, gt: np.ndarray) -> dict[str, Any]:
    files = {"lq": png(Image.fromarray(lq)), "gt": png(Image.fromarray(gt))}
    return {"id": f"a.png/0/{name}-0", "generator": name, **files}


def worse(pixels: np.ndarray, levels: int, columns: slice) -> np.ndarray:
    changed = pixels.astype(int)
    changed[:, columns] += np.where(np.indices(changed[:, columns].shape).sum(0) % 2, levels, -levels)
    return np.clip(changed, 0, 255).astype(np.uint8)


def test_each_patch_is_that_of_the_generator_that_is_best_there(near: str) -> None:
    left, right = slice(0, 132), slice(132, None)
    photograph = worse(LQ, 30, slice(None))
    rows = [
        row("one", photograph, worse(LQ, 20, left)),  # its right half is perfect
        # and its left one; 4 pixels are cut
        row("two", photograph[4:-4, 4:-4], worse(LQ, 22, right)[4:-4, 4:-4]),
    ]
    stage = ChoosePatches(metric=near, gain=5, side=96, texture=0, detail=0)
    one, two = stage.decide(rows, Context(0))
    assert isinstance(one, Split) and isinstance(two, Split)
    won = {name: [where for where, part in of.parts.items() if not isinstance(part, Dropped)]
           for name, of in (("one", one), ("two", two))}  # fmt: skip
    assert won == {"one": ["@0-1", "@1-1"], "two": ["@0-0", "@1-0"]}
    part = one.parts["@0-1"]
    assert not isinstance(part, Dropped)
    told = json.loads(part["choice"])
    assert told["place"] == [160, 0, 256, 96] and told["of"] == [256, 192]
    assert np.array_equal(shown_rgb(part["lq"]), photograph[4:100, 164:260])  # both of the same place
    assert np.array_equal(shown_rgb(part["gt"]), LQ[4:100, 164:260])
    assert told["candidates"]["a.png/0/one-0"] == 0 and told["candidates"]["a.png/0/two-0"] > 15
    assert told["photograph"] > told["candidates"]["a.png/0/two-0"]
    assert two.parts["@0-1"].reason == "another candidate is better"  # type: ignore[union-attr]


def test_the_best_has_to_be_better_than_the_photograph_by_the_gain(near: str) -> None:
    photograph = worse(LQ, 30, slice(None))
    rows = [row("one", photograph, worse(LQ, 26, slice(None)))]
    for gain, is_kept in ((2.0, True), (6.0, False)):
        (found,) = ChoosePatches(metric=near, gain=gain, side=96, texture=0, detail=0).decide(
            rows, Context(0)
        )
        parts = [*found.parts.values()]  # type: ignore[union-attr]
        assert len(parts) == 4
        assert all(isinstance(part, Dropped) != is_kept for part in parts)
        if not is_kept:
            assert {part.reason for part in parts} == {"choose-patches: not better than the photograph"}  # type: ignore[union-attr]


def test_flat_patches_and_photographs_that_are_too_small_leave(near: str) -> None:
    flat = np.random.default_rng(0).integers(0, 256, LQ.shape).astype(np.uint8)
    flat[:, :132] = 128
    (found,) = ChoosePatches(metric=near, gain=0, side=96).decide([row("one", flat, flat)], Context(0))
    reasons = {name: getattr(part, "reason", "kept") for name, part in found.parts.items()}  # type: ignore[union-attr]
    assert reasons["@0-0"] == reasons["@1-0"] == "no texture" and reasons["@0-1"] == "kept"
    (found,) = ChoosePatches(metric=near, side=480).decide([row("one", LQ, LQ)], Context(0))
    assert found == Dropped("smaller than a patch", "264x200")


def test_a_patch_belongs_to_its_photograph_and_place() -> None:
    """So that a judge afterwards compares what shows the same."""
    assert photograph_of({"id": "a/b.png/0/one-0"}) == "a/b.png/0"
    assert photograph_of({"id": "a/b.png/0/one-0/@1-2"}) == "a/b.png/0/@1-2"
    assert photograph_of({"id": "a@2x.png/0/two"}) == "a@2x.png/0"


def test_a_metric_that_cannot_be_had_is_said_before_anything_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MetricError, match="unknown metric 'afine'"):
        ChoosePatches(metric="afine").check()
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(MetricUnavailableError, match=r"pip install 'ggt-hub\[iqa\]'"):
        ChoosePatches().check()
