"""Limits tried on labels: of planted faults, which are bad, and of good candidates."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.curation.calibration import Score, calibrate
from ggt_hub.curation.measures import measured
from ggt_hub.curation.stage import Dropped, Kept
from ggt_hub.curation.tables import write_table
from ggt_hub.errors import CurationError
from tests.curation.planted import barred, damaged, gridded, sample

GATE = {
    "bar": 0.02,
    "structure": 0.3,
    "mirrored": 0.05,
    "unchanged": 50.0,
    "colour": 0.1,
    "any_colour": 0.25,
    "worse": 2,
    "grid": 4.0,
    "redegraded": 0.05,
}
STAGES = [
    {"gather": {}},
    {"diagnose": {}},
    {"measure": {}},
    {"gate": GATE},
    {"judge": {"removed": 60, "faithful": 80}},
]


def write_run(
    folder: Path, measures: dict[str, Any], judged: dict[str, tuple[float, float]], **gate: float
) -> Path:
    """A run as it stands after the judge; candidates are good by their names."""
    tables, ids = folder / "run/.ggt-hub/curation", list(measures)
    for stage in ("gather", "diagnose", "measure", "judge"):
        (tables / stage).mkdir(parents=True)
    name = "000000.arrow"
    write_table(tables / "gather" / name, ids, [Kept()] * len(ids), {})
    write_table(
        tables / "diagnose" / name, ids, [Kept({"category": "general"})] * len(ids), {"category": pa.string()}
    )
    told = [Kept({"measures": json.dumps(measures[one])}) for one in ids]
    write_table(tables / "measure" / name, ids, told, {"measures": pa.string()})
    verdicts = {one: json.dumps({"D": d, "F": f, "DF": 0}) for one, (d, f) in judged.items()}
    outcomes = [
        Kept({"judgement": text}) if judged[one][1] >= 80 else Dropped("judge: unfaithful", text)
        for one, text in verdicts.items()
    ]
    write_table(tables / "judge" / name, list(verdicts), outcomes, {"judgement": pa.string()})
    stages = [{"gate": GATE | gate} if "gate" in one else one for one in STAGES]
    (folder / "run/run.yaml").write_text(
        yaml.safe_dump({"source": "photographs", "models": {}, "stages": stages})
    )
    return folder / "run"


def write_labels(folder: Path, names: Any) -> Path:
    said = [{"id": name, "label": "keep" if name.startswith("good") else "refuse"} for name in names]
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, said)))
    return folder / "labels.jsonl"


@pytest.fixture(scope="module")
def planted() -> dict[str, Any]:
    found = {}
    for name in ("chelsea", "china", "flower"):
        good = sample(name)
        lq = damaged(good, "noise")
        for kind, gt in (("good", good), ("bar", barred(good)), ("grid", gridded(good))):
            found[f"{kind}/{name}"] = measured(lq, gt)
    return found


def test_limits_that_let_planted_faults_pass_are_set_so_that_they_do_not(
    planted: Any, tmp_path: Path
) -> None:
    run = write_run(tmp_path, planted, {}, bar=0.5, grid=1000.0)
    labels = write_labels(tmp_path, planted)
    found = calibrate(run, labels, 0.02)
    assert found.now == Score(3, 6, 3, 6)
    assert found.then == Score(3, 6, 3, 0)
    assert (found.now.precision, found.then.precision, found.then.recall) == (pytest.approx(1 / 3), 1, 1)
    moved = {one.place: one.then for one in found.limits if one.then != one.now}
    assert set(moved) == {"gate.bar", "gate.grid"}
    assert 0 < moved["gate.bar"] < 24 / 512
    assert all(one.then == one.now for one in found.limits if one.place == "gate.worse")


def test_the_limits_that_ship_need_no_change_for_these(planted: Any, tmp_path: Path) -> None:
    found = calibrate(write_run(tmp_path, planted, {}), write_labels(tmp_path, planted), 0.02)
    assert found.now == found.then == Score(3, 6, 3, 0)


def values(names: Any) -> dict[str, Any]:
    plain = dict.fromkeys(("bar", "mirrored", "colour", "redegraded", "brisque", "piqe", "niqe", "grid"), 0.0)
    return {name: plain | {"structure": 0.9, "unchanged": 20.0} for name in names}


def test_the_judges_limits_lie_between_good_and_bad_also_of_what_it_refused(tmp_path: Path) -> None:
    judged = {"good0": (90.0, 70.0), "good1": (80.0, 75.0), "bad0": (90.0, 60.0), "bad1": (40.0, 65.0)}
    found = calibrate(write_run(tmp_path, values(judged), judged), write_labels(tmp_path, judged), 0.0)
    limits = {one.place: one for one in found.limits}
    assert limits["judge.faithful"].then == 67.5  # between 65 and 70; 80 had refused all
    assert limits["judge.faithful"].score_now == Score(2, 2, 0, 0)
    assert limits["judge.removed"].then == 60  # 40 is refused as it is
    assert (found.now, found.then) == (Score(2, 2, 0, 0), Score(2, 2, 2, 0))


@pytest.mark.parametrize(("lost", "limit"), [(0.0, 0.55), (0.25, 0.65)])
def test_a_share_of_the_good_ones_may_go(lost: float, limit: float, tmp_path: Path) -> None:
    """Structures of good ones are 0.6, 0.7, 0.8, 0.9; of bad ones 0.5 and, among them, 0.6."""
    told = values(("good0", "good1", "good2", "good3", "bad0", "bad1"))
    for name, value in zip(told, (0.6, 0.7, 0.8, 0.9, 0.5, 0.6), strict=True):
        told[name]["structure"] = value
    found = calibrate(write_run(tmp_path, told, {}), write_labels(tmp_path, told), lost)
    (structure,) = (one for one in found.limits if one.place == "gate.structure")
    assert structure.then == pytest.approx(limit)


def test_limits_stay_where_settings_may_be(tmp_path: Path) -> None:
    """Of the good ones one has F of 0, and all have become far weaker than the bad ones; both limits end at 0."""
    judged = {"good0": (90.0, 0.0), "good1": (80.0, 75.0), "bad0": (90.0, 60.0)}
    told = values(judged)
    for name, value in zip(told, (-0.4, -0.3, 0.02), strict=True):
        told[name]["weaker"] = value
    found = calibrate(write_run(tmp_path, told, judged, weaker=0.05), write_labels(tmp_path, judged), 0.0)
    moved = {one.place: one.then for one in found.limits if one.then != one.now}
    assert moved == {"judge.faithful": 0, "gate.weaker": 0}
    assert found.then == Score(2, 1, 2, 0)


def test_what_the_judge_has_seen_counts_where_its_limits_do_not(tmp_path: Path) -> None:
    """As in `harnessir`, whose limits are 0: the bad one is refused for a letter."""
    judged = {"good0": (90.0, 90.0), "bad0": (90.0, 30.0)}
    run = write_run(tmp_path, values(judged), judged)
    table = run / ".ggt-hub/curation/judge/000000.arrow"
    told = [Kept({"judgement": '{"D": 90, "F": 90}'}), Dropped("judge: text", '{"D": 90, "F": 30}')]
    write_table(table, [*judged], told, {"judgement": pa.string()})
    text = (run / "run.yaml").read_text().replace("faithful: 80", "faithful: 0")
    (run / "run.yaml").write_text(text)
    found = calibrate(run, write_labels(tmp_path, judged), 0.0)
    assert found.now == Score(1, 1, 1, 0)


def test_only_limits_of_what_was_measured_are_tried(tmp_path: Path) -> None:
    told = values(("good", "bad"))
    found = calibrate(write_run(tmp_path, told, {}, dists=0.3), write_labels(tmp_path, told), 0.0)
    assert "gate.dists" not in {one.place for one in found.limits}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "good", "label": "keep"}\n{"id": "bad", "label": "maybe"}', "line 2: label: .*not 'maybe'"),
        ('{"id": "good", "label": "keep"}\n{"id": "but", "label": "refuse"}', "but is no candidate of"),
        ('{"id": "good", "label": "keep"}', "has 1 candidates that most people keep and 0 that"),
        ("id,label\ngood,keep\n", "line 1: this is no JSON: id,label"),
        ('{"name": "good"}', "there is no field 'name'"),
        ("", "has 0 candidates that most people keep and 0 that"),
    ],
)
def test_labels_that_say_nothing_are_named(lines: str, message: str, tmp_path: Path) -> None:
    run = write_run(tmp_path, values(("good", "bad")), {})
    (tmp_path / "labels.jsonl").write_text(lines)
    with pytest.raises(CurationError, match=message):
        calibrate(run, tmp_path / "labels.jsonl", 0.02)


def test_of_several_people_the_majority_counts_and_a_tie_or_doubt_says_nothing(tmp_path: Path) -> None:
    said = [
        ("good0", "keep keep refuse"),
        ("bad0", "refuse unsure keep refuse"),
        ("good1", "keep refuse"),
        ("bad1", "unsure"),
    ]
    lines = [
        json.dumps({"id": name, "label": label, "reviewer": str(n)})
        for name, labels in said
        for n, label in enumerate(labels.split())
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    run = write_run(tmp_path, values(name for name, _ in said), {})
    assert calibrate(run, tmp_path / "labels.jsonl", 0.02).now == Score(1, 1, 1, 1)


def test_the_command_says_what_to_set(tmp_path: Path) -> None:
    judged = {"good0": (90.0, 70.0), "bad0": (90.0, 60.0)}
    run, labels = write_run(tmp_path, values(judged), judged), write_labels(tmp_path, judged)
    done = CliRunner().invoke(app, ["curate", "calibrate", str(run), str(labels)])
    assert done.exit_code == 0, done.output
    assert "as it is: precision nan, recall 0.000" in done.output
    assert "with these: precision 1.000, recall 1.000 (1 of 1 to keep pass, 0 of 1 to refuse)" in done.output
    assert "--set judge.faithful=65\n" in done.output
