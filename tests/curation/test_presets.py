"""Presets of pairs from photographs to packed files, with everybody who is asked in this process."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ggt_hub.curation.askers import estimate
from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.labels import Label, add_label
from ggt_hub.curation.takedown import take_down
from ggt_hub.images.shown import png, shown_rgb
from ggt_hub.metrics.registry import METRICS
from ggt_hub.vlm import Reply
from tests.curation.nearness import nearness
from tests.curation.pairs import NAMES, Eyes, Maker, Place, digest, is_of, piece, write_photographs
from tests.curation.planted import graded
from tests.documents import read
from tests.tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("source") / "photographs")


def packed(place: Place, config: str = "default") -> dict[str, dict[str, Any]]:
    """What is told of each pair, by its id."""
    paths = place.output.glob(f"data/{config}/*.parquet")
    found = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return {row["id"]: row | {"told": json.loads(row["meta"])["curation"]} for row in found}


class Screener(Eyes):
    """Sees a watermark on china, and little damage in chelsea; otherwise it judges."""

    def send(self, question: Any) -> Reply:
        if '"watermark"' not in question.text:
            return super().send(question)
        shown = shown_rgb(question.pictures[0])
        severity = "mild" if is_of(shown, "chelsea") else "severe"
        return Reply(json.dumps({"watermark": is_of(shown, "china"), "severity": severity, "what": "noise"}))


class Grader(Maker):
    """The other generator of the pool: gives every picture a warm grade."""

    def __init__(self, photographs: Path) -> None:
        super().__init__(photographs)
        self.model = "maker-2"

    def send(self, question: Any) -> Reply:
        self.count()
        name = self.names[digest(shown_rgb(question.pictures[0]))]
        return Reply(pictures=(png(Image.fromarray(graded(piece(name)))),))


def test_realrestorer_real_from_photographs_to_three_reviewers(photographs: Path, tmp_path: Path) -> None:
    changes = {
        "resemble.category": "blur",
        "resemble.model": str(write_tiny_clip(tmp_path / "clip")),
        "resemble.least": "0",
        "judge.audited": "2",
    }
    place = Place.of_preset(tmp_path, photographs, "realrestorer-real", changes, Screener())
    place.makers["gpt"] = Grader(photographs)
    counts = place.run()
    assert counts["screen"].dropped == {"screen: watermark": 1, "screen: barely damaged": 1}
    assert (counts["edit"].rows, counts["edit"].kept) == (3, 6)
    assert counts["gate"].dropped == {"gate: other hues": 2, "gate: a cast": 1}
    assert counts["reviewed"].later == {"to be reviewed": 3} and "pack-pairs" not in counts
    for who in ("anna", "ben"):
        add_label(place.output / "labels.jsonl", Label("coffee.png/0/banana-0", "keep", who))
        add_label(place.output / "labels.jsonl", Label("flower.png/0/banana-0", "refuse", who))
    asked = place.maker.asked, place.eyes.asked
    counts = place.run()
    assert (counts["reviewed"].kept, counts["reviewed"].dropped) == (1, {"reviewed: refused": 1})
    assert (place.maker.asked, place.eyes.asked) == asked
    (row,) = packed(place).values()
    assert (row["id"], row["task"]) == ("coffee.png/0/banana-0", "blur")
    assert "nothing is blurred" in row["prompt"]
    told = row["told"]
    assert told["screening"]["severity"] == "severe" and set(told["resemblance"]["shares"]) == {
        "blur",
        "plain",
    }
    assert told["review"] == {"keep": 2} and told["judgement"]["D"] == 90


class Comparer(Eyes):
    """Wants another attempt of the coffee, and prefers the second one; otherwise it diagnoses and judges."""

    def send(self, question: Any) -> Reply:
        if '"redo"' not in question.text:
            return super().send(question)
        shown = [shown_rgb(data) for data in question.pictures]
        again = len(shown) == 2 and is_of(shown[0], "coffee")
        return Reply(
            json.dumps({"redo": again, "best": len(shown) - 1, "defect": "a grade" if again else ""})
        )


class Slow(Maker):
    """Its first attempt at the coffee is graded."""

    def send(self, question: Any) -> Reply:
        self.count()
        name = self.names[digest(shown_rgb(question.pictures[0]))]
        bad = name == "coffee" and question.number[0] == 0
        return Reply(pictures=(png(Image.fromarray(graded(piece(name)) if bad else piece(name))),))


def test_harnessir_keeps_the_attempt_that_the_model_prefers(photographs: Path, tmp_path: Path) -> None:
    place = Place.of_preset(tmp_path, photographs, "harnessir", {"judge.audited": "2"}, Comparer())
    place.makers["banana"] = maker = Slow(photographs)
    counts = place.run()
    assert maker.asked == 6  # five photographs, one of them twice
    assert counts["judge"].dropped == {"judge: text": 1}
    found = packed(place)
    assert set(found) == {f"{name}.png/0/banana" for name in ("astronaut", "chelsea", "coffee", "flower")}
    coffee = shown_rgb(found["coffee.png/0/banana"]["gt"]["bytes"])
    assert (
        np.abs(coffee.astype(float) - piece("coffee")).mean() < 3
    )  # the channels' means and spreads move a little
    assert "a grade" in found["coffee.png/0/banana"]["prompt"]


class Flat(Maker):
    """Draws what was asked for without its noise, but for some of it, in levels, in one half or all over."""

    def __init__(self, photographs: Path, name: str, half: slice, noise: float = 20) -> None:
        super().__init__(photographs)
        self.model, self.half, self.noise = name, half, noise

    def send(self, question: Any) -> Reply:
        self.count()
        pixels = piece(self.names[digest(shown_rgb(question.pictures[0]))]).astype(float)
        noisy = pixels[:, self.half]
        pixels[:, self.half] = np.random.default_rng(0).normal(noisy, self.noise)
        return Reply(pictures=(png(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))),))


@pytest.fixture
def screens(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A run of `wildmoire` on small patches, with another metric in place of A-FINE."""
    monkeypatch.setitem(METRICS, "near", nearness(*map(piece, NAMES)))
    changes = {"choose-patches.metric": "near", "choose-patches.gain": "5", "choose-patches.side": "96"}
    return Place.of_preset(
        tmp_path, photographs, "wildmoire", changes | {"screen.least": "moderate"}, Screener()
    )


def test_wildmoire_packs_each_patch_from_who_draws_it_best(photographs: Path, screens: Place) -> None:
    place = screens
    place.makers = {
        "banana": Flat(photographs, "left", slice(0, 128)),
        "gpt": Flat(photographs, "right", slice(128, 256)),
        "qwen": Flat(photographs, "all", slice(0, 256)),
    }
    counts = place.run()
    assert counts["screen"].kept == 3 and counts["edit"].kept == 9
    assert counts["choose-patches"].dropped["another candidate is better"] > 0
    found = packed(place)
    # Who has noise on the left wins on the right.
    assert {(name.split("/")[2], name[-1]) for name in found} == {("banana-0", "1"), ("gpt-0", "0")}
    row = found["coffee.png/0/gpt-0/@1-0"]
    assert row["task"] == "moire" and "no moire is left" in row["prompt"]
    choice = row["told"]["choice"]
    assert set(choice["candidates"]) == {f"coffee.png/0/{name}-0" for name in place.makers}
    assert choice["metric"] == "near" and row["told"]["generator"]["drawn_by"] == "right"
    left, top, right, bottom = choice["place"]
    assert shown_rgb(row["gt"]["bytes"]).shape == (bottom - top, right - left, 3) == (96, 96, 3)
    # A patch takes its photograph down, also where only what is packed is left.
    shutil.rmtree(place.output / ".ggt-hub/curation")
    (gone := place.output.parent / "gone.txt").write_text(row["id"])
    assert take_down(place.output, gone).ids == {"coffee.png"}
    assert found.keys() - packed(place).keys() == {name for name in found if name.startswith("coffee.png/")}


def test_patches_that_nobody_draws_better_are_packed_as_negatives(photographs: Path, screens: Place) -> None:
    screens.makers = {name: Flat(photographs, name, slice(0, 128), 60) for name in ("banana", "gpt", "qwen")}
    counts = screens.run()
    assert counts["choose-patches"].dropped["choose-patches: not better than the photograph"] > 0
    refused = packed(screens, "negatives")
    reason = "choose-patches: not better than the photograph"
    name, row = next((name, row) for name, row in refused.items() if row["reason"] == reason)
    assert name.endswith("-0") and row["task"] == "moire"
    assert row["told"]["refused"]["refused_by"] == "choose-patches"
    left, top, right, bottom = row["told"]["choice"]["place"]
    drawn, clean = shown_rgb(row["gt"]["bytes"]), piece(name.partition(".")[0])
    assert drawn.shape == shown_rgb(row["lq"]["bytes"]).shape == (96, 96, 3)
    assert np.abs(drawn - clean[top:bottom, left:right].astype(float)).mean() > 20
    assert name not in packed(screens) and packed(screens)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (
            "realrestorer-real",
            [("screen", 5), ("edit", 5), ("edit", 5), ("judge", 15)],
        ),
        (
            "wildmoire",
            [("diagnose", 10), ("screen", 10), ("edit", 10), ("edit", 10), ("edit", 10)],
        ),
    ],
)
def test_a_preset_says_what_it_would_ask(name: str, asked: list[tuple[str, int]], photographs: Path) -> None:
    found = estimate(load_configuration(name), str(photographs))
    assert [(one.stage, one.questions) for one in found] == asked
    assert all(one.cost > 0 for one in found if one.model.startswith(("gemini", "gpt")))


def test_a_thousand_photographs_cost_what_the_documentation_says(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    for number in range(1000):
        (tmp_path / f"photographs/{number}.png").hardlink_to(tmp_path / "one.png")
    found = estimate(
        load_configuration("ggt", {"models.vision.price": "[0.2, 0.6]"}), str(tmp_path / "photographs")
    )
    drawn = sum(one.cost for one in found if one.stage == "edit")
    looked = sum(one.cost for one in found if one.stage != "edit")
    page = read("docs/concepts/checked-pairs.md").replace("\n", " ")
    assert f"cost about {drawn:.0f} dollars for candidates and {looked:.0f} for the model that looks" in page
