"""Which gate catches which planted fault, and that good candidates pass all of them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ggt_hub.curation.measures import adjusted, grid, measured, measured_each, unchanged
from ggt_hub.curation.stage import Context, Dropped, Kept, Split
from ggt_hub.curation.stages.crop import Crop
from ggt_hub.curation.stages.gate import Gate, Measure
from ggt_hub.curation.stages.register import Register, affine_colours, mean_colours
from ggt_hub.images.shown import png
from tests.curation.planted import SIDE, barred, coded, damaged, graded, gridded, sample, shifted

CASES = [
    ("chelsea", "noise", 0.15),
    ("china", "blur", 0.15),
    ("china", "haze", 0.5),
    ("chelsea", "low_light", 0.15),
]


def file(pixels: np.ndarray) -> bytes:
    return png(Image.fromarray(np.ascontiguousarray(pixels)))


def repainted(good: np.ndarray) -> np.ndarray:
    changed = good.copy()
    changed[200:300, 150:250] = sample("flower")[200:300, 150:250]
    return changed


def sharpened(good: np.ndarray) -> np.ndarray:
    return np.clip(good + 6.0 * (good - cv2.GaussianBlur(good, (0, 0), 2).astype(float)), 0, 255).astype(
        np.uint8
    )


def noisier(good: np.ndarray) -> np.ndarray:
    return np.clip(good + np.random.default_rng(0).normal(0, 25, good.shape), 0, 255).astype(np.uint8)


def in_a_place(good: np.ndarray, gains: list[float]) -> np.ndarray:
    changed = good.astype(float)
    changed[170:250, 170:250] *= gains
    return changed.clip(0, 255)


def verdict(lq: np.ndarray, gt: np.ndarray, category: str, folder: Path) -> Any:
    (kept,) = Measure().decide([{"id": "a", "lq": file(lq), "gt": file(gt)}], Context(0))
    row = {"id": "a", "measures": kept.values["measures"], "category": category}
    (folder / "limits.json").write_text("{}")
    return Gate().decide([row], Context(0, learned={"gate": folder}))[0]


@pytest.mark.parametrize(("name", "task", "severity"), CASES)
def test_good_candidates_pass_also_those_of_light_damage(
    name: str, task: str, severity: float, tmp_path: Path
) -> None:
    good = sample(name)
    lq = damaged(good, task, severity)
    half = np.rint(0.6 * good + 0.4 * lq).astype(np.uint8)
    assert verdict(lq, good if severity > 0.2 else half, task, tmp_path) == Kept()


@pytest.mark.parametrize(
    ("task", "fault", "reason"),
    [
        ("rain", lambda lq, good: lq, "nothing has changed"),
        ("noise", lambda lq, good: coded(lq, 95), "nothing has changed"),
        ("blur", lambda lq, good: coded(lq, 83, 0), "nothing has changed"),
        ("haze", lambda lq, good: good[:, ::-1], "mirrored"),
        ("noise", lambda lq, good: barred(good), "a bar at the edge"),
        ("haze", lambda lq, good: gridded(good), "a grid"),
        ("blur", lambda lq, good: sample("coffee"), "another scene"),
        ("haze", lambda lq, good: graded(good), "a cast"),
        ("noise", lambda lq, good: repainted(good), "another thing in a place"),
        ("noise", lambda lq, good: cv2.GaussianBlur(lq, (0, 0), 3), "smoothed away"),
        ("low_light", lambda lq, good: sharpened(good), "sharpened"),
    ],
)
def test_each_fault_is_caught_by_its_gate(
    task: str, fault: Callable[[np.ndarray, np.ndarray], np.ndarray], reason: str, tmp_path: Path
) -> None:
    good = sample("china")
    lq = damaged(good, task)
    found = verdict(lq, fault(lq, good), task, tmp_path)
    assert isinstance(found, Dropped) and found.reason == f"gate: {reason}"
    assert set(json.loads(found.detail)) == set(measured(lq, good))  # every value is kept


def test_a_flat_sky_from_which_noise_has_gone_is_no_bar_and_one_before_it_is() -> None:
    good = sample("china")[:256, :256].copy()
    good[:40] = 200
    lq = np.clip(good + np.random.default_rng(0).normal(0, 20, good.shape), 0, 255).astype(np.uint8)
    covered = good.copy()
    covered[:26] = 0
    assert measured(lq, good)["bar"] == 0
    assert measured(lq, covered)["bar"] == pytest.approx(26 / 256)


def test_colours_may_become_stronger_where_they_may_change(tmp_path: Path) -> None:
    good = sample("china").astype(float)
    grey = good.mean(2, keepdims=True)
    pale, strong = (np.clip(grey + gain * (good - grey), 0, 255).astype(np.uint8) for gain in (0.3, 4.0))
    found = [verdict(pale, strong, task, tmp_path) for task in ("general", "haze")]
    assert found[0].reason == "gate: other colours" and found[1] == Kept()


def test_noise_that_a_candidate_adds_shows(tmp_path: Path) -> None:
    good = sample("china")
    assert verdict(good, noisier(good), "general", tmp_path).reason == "gate: noisier"


def test_what_all_three_metrics_find_worse_leaves_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text("{}")
    values = dict.fromkeys(measured(*[sample("chelsea")[:64, :64]] * 2))
    values |= {"brisque": -6.0, "piqe": -11.0, "niqe": -1.1}
    row, context = (
        {"id": "a", "category": "rain", "measures": json.dumps(values)},
        Context(0, learned={"gate": tmp_path}),
    )
    assert Gate().decide([row], context) == [Kept()]
    assert Gate(worse=2).decide([row], context)[0].reason == "gate: worse by the metrics"


def test_the_worst_of_each_category_leave(tmp_path: Path) -> None:
    values = dict.fromkeys(measured(*[sample("chelsea")] * 2), 0.0)
    values |= {"structure": 1.0}
    rows = [
        {
            "id": f"{category}{n}",
            "category": category,
            "measures": json.dumps(values | {"redegraded": base + n}),
        }
        for category, base in (("rain", 20), ("haze", 50))
        for n in range(21)
    ]
    gate = Gate(redegraded=0.05)
    report = gate.learn(rows, Context(0), tmp_path, tmp_path)
    assert report == {"redegraded": {"haze": 51.0, "rain": 21.0}}
    outcomes = gate.decide(rows, Context(0, learned={"gate": tmp_path}))
    left = [row["id"] for row, outcome in zip(rows, outcomes, strict=True) if isinstance(outcome, Dropped)]
    assert left == ["rain0", "haze0"]


def test_a_value_that_cannot_be_had_refuses_nothing(tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text('{"": 20}')
    row = {
        "id": "a",
        "category": None,
        "measures": json.dumps(dict.fromkeys(measured(*[sample("chelsea")] * 2))),
    }
    assert Gate().decide([row], Context(0, learned={"gate": tmp_path})) == [Kept()]


@pytest.mark.parametrize(
    ("measure", "value", "category", "reason"),
    [
        ("cast", 0.12, "haze", "gate: a cast"),
        ("cast", 0.12, "old_photo", None),  # whose own cast goes
        ("recoloured", 14.0, "snow", "gate: other hues"),
        ("recoloured", 14.0, "low_light", None),  # colours may change
        ("recoloured_place", 2.0, "low_light", "gate: other hues in a place"),
        ("recoloured_place", 2.0, "haze", None),  # thicker in places
        ("recoloured_place", 2.6, "rain", "gate: other hues in a place"),
        ("repainted", 1.2, "old_photo", "gate: another thing in a place"),
        ("repainted", 2.1, "rain", "gate: another thing in a place"),
        ("repainted", 9.0, "snow", None),  # flakes hide as much
        ("replaced", 1.3, "snow", "gate: another thing in a place"),
        ("replaced", 1.3, "rain", None),
    ],
)
def test_some_limits_are_of_a_category(
    measure: str, value: float, category: str, reason: str | None, tmp_path: Path
) -> None:
    (tmp_path / "limits.json").write_text("{}")
    values = dict.fromkeys(measured(*[sample("chelsea")[:64, :64]] * 2)) | {measure: value}
    row = {"id": "a", "category": category, "measures": json.dumps(values)}
    (found,) = Gate().decide([row], Context(0, learned={"gate": tmp_path}))
    assert getattr(found, "reason", None) == reason


@pytest.mark.parametrize(("bring_back", "tolerance"), [(affine_colours, 1.5), (mean_colours, 4.0)])
def test_colours_come_back(bring_back: Any, tolerance: float) -> None:
    """A linear map, clipping and rounding aside, exactly; the channels' spread, nearly."""
    good = sample("chelsea") // 2 + 30
    changed = np.rint(good * np.array([1.1, 1.0, 0.9])).astype(np.uint8)
    found = bring_back(changed, good)
    assert np.abs(found.astype(float) - good).mean() < tolerance < np.abs(changed.astype(float) - good).mean()


def test_registering_cuts_both_and_brings_colours_back_by_category() -> None:
    good = sample("chelsea")
    lq = damaged(good, "blur")
    candidate = shifted(np.clip(good * np.array([1.06, 1.0, 0.95]), 0, 255).astype(np.uint8), 4, 0)
    rows = [
        {"id": task, "lq": file(lq), "candidate": file(candidate), "category": task}
        for task in ("rain", "haze")
    ]
    rain, haze, torn = Register().decide([*rows, rows[0] | {"candidate": b"GIF8"}], Context(0))
    assert torn.reason == "unreadable candidate"
    told = json.loads(rain.values["registration"])
    assert told["corner"] == pytest.approx(8, abs=1)
    assert rain.values["lq"] == haze.values["lq"] != rows[0]["lq"]
    assert rain.values["gt"] != haze.values["gt"]
    far = Register().decide([rows[0] | {"candidate": file(shifted(good, 20, 0))}], Context(0))[0]
    assert far.reason == "register: moved too far"


@pytest.mark.parametrize(
    ("name", "task"), [("coffee", "snow"), ("flower", "noise"), ("coffee", "rain"), ("rocket", "rain")]
)
def test_what_damage_has_done_to_colours_is_not_done_again(name: str, task: str) -> None:
    """The truth comes back pixel by pixel, though flakes, drops and noise have other chromaticities."""
    truth = sample(name)
    row = {"id": "a", "lq": file(damaged(truth, task)), "candidate": file(truth), "category": task}
    (found,) = Register().decide([row], Context(0))
    assert found.values["gt"] == file(truth)


def test_squares_lie_where_a_photograph_shows_most() -> None:
    rng = np.random.default_rng(0)
    wide = np.full((256, 1024, 3), 128, np.uint8)
    wide[:, 192:448] = rng.integers(0, 256, (256, 256, 3))
    wide[:, 768:] = rng.integers(64, 192, (256, 256, 3))
    (found,) = Crop(side=256).decide([{"id": "a", "photograph": file(wide)}], Context(0))
    assert isinstance(found, Split)
    first, second = found.parts["0"], found.parts["1"]
    assert first["box"] == [192, 0, 448, 256]
    assert second["box"] == [768, 0, 1024, 256]
    assert (first["scale"], second["scale"]) == (1.0, 1.0)
    assert second["lq"] == file(wide[:, 768:])


def test_a_small_photograph_is_enlarged_whole_and_a_flat_one_dropped() -> None:
    small = sample("chelsea")[:192, :256]
    flat = np.full((256, 256, 3), 90, np.uint8)
    rows = [{"id": "small", "photograph": file(small)}, {"id": "flat", "photograph": file(flat)}]
    found, dropped = Crop(side=512).decide(rows, Context(0))
    part = found.parts["0"]
    assert (part["box"], part["scale"]) == ([0, 0, 256, 192], 2.0)
    assert dropped == Dropped("no texture")


def test_what_a_coder_made_of_the_photograph_is_told_at_every_quality() -> None:
    lq = damaged(sample("chelsea"), "noise")[128:192, 128:192]
    found = [unchanged(lq, coded(lq, quality, chroma)) for quality in range(30, 101) for chroma in (0, 2)]
    assert found == [100.0] * len(found)
    assert unchanged(lq, np.clip(lq + 9.0, 0, 255).astype(np.uint8)) < 30


@pytest.mark.parametrize(
    "fault",
    [
        lambda lq: np.rint(lq * 0.95),
        lambda lq: lq.astype(float) + 0.3 * (lq - cv2.GaussianBlur(lq, (0, 0), 1.0).astype(float)),
        lambda lq: cv2.GaussianBlur(lq, (0, 0), 0.8),
        lambda lq: 255 * (lq / 255) ** 1.2,
    ],
)
def test_what_only_adjusts_the_photograph_is_no_restoration(
    fault: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    lq = damaged(sample("chelsea"), "blur", 0.15)
    changed = np.clip(np.rint(fault(lq)), 0, 255).astype(np.uint8)
    assert adjusted(lq, changed) > 53
    assert unchanged(lq, changed) < 50
    assert verdict(lq, changed, "general", tmp_path).reason == "gate: only adjusted"
    assert verdict(lq, changed, "low_light", tmp_path) == Kept()


@pytest.mark.parametrize("task", ["noise", "blur", "compression", "rain", "snow"])
def test_a_gentle_restoration_of_light_damage_is_more_than_adjusted(task: str) -> None:
    """A quarter of the way to the truth, 2.5 dB nearer than the photograph."""
    truth = sample("china")
    lq = damaged(truth, task, 0.1)
    gentle = np.rint(0.75 * lq + 0.25 * truth).astype(np.uint8)
    assert not adjusted(lq, truth) > 50
    assert not adjusted(lq, gentle) > 53


def test_colours_alone_and_noise_that_a_blur_took_away_are_not_called_adjusted() -> None:
    """Noise of the blue alone, of one level of the brightness; and white noise under a blur."""
    truth = sample("china")
    rng = np.random.default_rng(0)
    blue = truth + rng.normal(0, (0, 0, 9), truth.shape)
    white = truth + rng.normal(0, 9, truth.shape)
    blue, white = (np.clip(np.rint(one), 0, 255).astype(np.uint8) for one in (blue, white))
    assert adjusted(blue, truth) < 40
    assert math.isnan(adjusted(white, cv2.GaussianBlur(white, (0, 0), 0.8)))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_grid_shows_whatever_the_photograph_has_along_its_lines(axis: int) -> None:
    """Six levels at every eighth line, under noise. A grid that goes is none."""
    good = cv2.cvtColor(sample("china"), cv2.COLOR_RGB2GRAY)
    noise = np.random.default_rng(0).normal(0, 15, good.shape)
    lq = np.clip(good + noise, 0, 255).astype(np.uint8)
    gridded = good.astype(np.int16)
    np.moveaxis(gridded, axis, 0)[::8] += 6
    changed = np.clip(gridded, 0, 255).astype(np.uint8)
    assert grid(lq, changed) > 13
    assert grid(lq, good) < 5
    assert grid(changed, good) < 5


@pytest.mark.parametrize(
    ("fault", "category", "reason"),
    [
        (lambda p: (p * np.linspace([1.3, 1, 0.7], [0.7, 1, 1.3], SIDE)).clip(0, 255), "rain", "other hues"),
        (lambda p: in_a_place(p, [1.35, 1, 0.65]), "general", "other hues in a place"),
    ],
)
def test_colours_that_average_out_are_seen_all_the_same(
    fault: Callable[[np.ndarray], np.ndarray], category: str, reason: str, tmp_path: Path
) -> None:
    good = sample("china")
    found = verdict(damaged(good, "noise", 0.3), fault(good).astype(np.uint8), category, tmp_path)
    assert isinstance(found, Dropped) and found.reason == f"gate: {reason}"


def test_what_is_measured_of_a_pair_does_not_depend_on_its_neighbours() -> None:
    chelsea, rocket = sample("chelsea"), sample("rocket")
    sizes = [(64, 64)] * 9 + [(96, 64), (64, 64), (12, 40), (160, 160)]
    pairs = []
    for n, (height, width) in enumerate(sizes):
        gt = np.ascontiguousarray((chelsea, rocket)[n % 2][8 * n : 8 * n + height, 4 * n : 4 * n + width])
        pairs.append((cv2.GaussianBlur(gt, (0, 0), 1.5), gt))
    for told, pair in zip(measured_each(pairs), pairs, strict=True):
        assert told == pytest.approx(measured(*pair), abs=1e-8, nan_ok=True)  # sums in another order
        assert math.isnan(told["brisque"]) == (min(pair[0].shape[:2]) < 16)
