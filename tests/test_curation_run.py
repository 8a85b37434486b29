"""The run without money: its plan, how it counts, and, where there is time, all of it on a few photographs."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from benchmarks import curation_others
from benchmarks import curation_run as benchmark
from benchmarks.curation_faults import FAULTS, Scene, plant, with_sign
from benchmarks.curation_run import Case, Fate, Fault
from benchmarks.curation_servers import REPLIES, likeness
from ggt_hub.curation.configuration import load_configuration
from tests.curation.planted import damaged, sample


def test_the_plan_names_what_there_is_and_leaves_five_faults_at_most_to_nobody() -> None:
    plan = benchmark.read_plan()
    stages = {stage.name for stage in load_configuration("ggt").stages}
    for fault in plan["faults"]:
        assert fault.fault in (*FAULTS, "") and fault.reply in REPLIES
        assert fault.caught_by in (None, "nobody", *stages), fault
    assert sum(fault.caught_by is None for fault in plan["faults"]) <= 5


def test_every_fault_changes_the_candidate_and_is_the_same_again() -> None:
    good, box = with_sign(sample("chelsea"), "HARBOR")
    for fault in benchmark.read_plan()["faults"]:
        if not fault.fault:
            continue
        planted = [
            plant(
                fault.fault,
                fault.size,
                Scene(damaged(good, "noise"), good, sample("china"), box, np.random.default_rng(0)),
            )
            for _ in range(2)
        ]
        assert np.array_equal(*planted), fault
        assert planted[0].shape != good.shape or not np.array_equal(planted[0], good), fault
        assert planted[0].dtype == np.uint8


def test_faults_between_and_beyond_the_plan_change_what_they_say() -> None:
    """Colours of the flower are strong, so that eight bits keep a hue to two levels."""
    good = sample("flower")

    def planted(fault: str, size: float) -> np.ndarray:
        scene = Scene(good, good, good, (0, 0, 1, 1), np.random.default_rng(0))
        return curation_others.planted(fault, size, scene).astype(int) - good

    assert abs(planted("other hues", 360)).mean() < 2 < abs(planted("other hues", 90)).mean()
    for fault in ("copied", "moved in a place", "graded in a place"):
        changed = np.argwhere(abs(planted(fault, 0.25)).sum(2))
        assert (np.ptp(changed, axis=0) < 0.25 * good.shape[0]).all() and len(changed) > 1000, fault
    rows = planted("gridded across", 6)
    assert not rows[1:8].any() and rows[0].max() == 6
    assert {fault for fault, _ in curation_others.FAULTS} <= {*FAULTS, *curation_others.OTHERS}


def test_only_ways_and_casts_that_were_undone_count_as_mended() -> None:
    told = curation_others.report(
        [
            curation_others.Found("shifted 4", "", "noise", "", 2.0),
            curation_others.Found("shifted 4", "", "noise", "", 0.1),
            curation_others.Found("removed 0.15", "", "noise", "", 2.0),
            curation_others.Found("good", "softer", "noise", "a cast", 2.0),
        ]
    )
    assert told["faults"]["shifted 4"] == {"planted": 2, "passed": 1, "mended": 1, "refused": {}}
    assert told["faults"]["removed 0.15"]["passed"] == 1
    assert told["by candidate"]["softer"]["refused"] == {"a cast": 1}


def test_the_judge_sees_scenes_and_nothing_finer() -> None:
    good = sample("chelsea")
    assert likeness(good, damaged(good, "noise")) > 0.95
    assert likeness(good, sample("china")) < 0.5


def fate(fault: Fault | None, stage: str = "", gain: float = 2.0, *, is_mended: bool = False) -> Fate:
    flat = np.zeros((8, 8, 3), np.uint8)
    return Fate(Case("a", flat, flat, "noise", flat, (0, 0, 1, 1), fault), stage, stage, gain, is_mended)


def test_what_counts_as_good_as_passed_and_as_mended() -> None:
    planted, odd = Fault("blurred", 3, caught_by="gate"), Fault(reply="JPEG", caught_by="nobody")
    told = benchmark.report(
        [
            fate(None),
            fate(None, "gate"),
            fate(None, gain=0.4),  # not nearer: neither good nor a fault
            fate(odd),  # looks odd, and is good
            fate(planted),
            fate(planted, "gate"),
            fate(planted, is_mended=True),
            fate(Fault("textured", 12)),  # nobody was to catch it
        ]
    )
    assert (told["good"], told["good_kept"], told["good_lost"]) == (3, 2, {"gate": 1})
    assert (told["assigned"], told["assigned_passed"]) == (3, 1)
    assert told["faults"]["blurred 3"]["by"] == {"passed": 1, "gate": 1, "mended": 1}


@pytest.mark.slow
def test_planted_faults_are_caught_and_good_candidates_stay(tmp_path: Path) -> None:
    """The benchmark's own code, on the photographs of the package; about two minutes on one core."""
    pytest.importorskip("google.genai")
    with_colours = ("astronaut", "chelsea", "china", "coffee", "flower", "rocket")
    sources = [Path(str(files("ggt_hub.samples") / f"{name}.jpg")) for name in with_colours]
    found = list(benchmark.cases(sources, 320, benchmark.read_plan(), 16, 3))
    generator = benchmark.run_once(found, 320, tmp_path, 3)
    told = benchmark.report(benchmark.fates(found, tmp_path, generator))
    assert told["assigned"] >= 25 and told["good"] >= 15
    assert told["assigned_passed"] <= max(1, 0.02 * told["assigned"]), benchmark.in_words(told)
    # a twentieth, and of some thirty candidates three standard deviations more
    assert told["good_kept"] >= 0.85 * told["good"], told["good_lost"]
