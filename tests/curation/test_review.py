"""Who is shown which candidate, in which order, what is kept of what he says, and what follows from it."""

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.curation.labels import Label, add_label, agreements, read_labels, verdicts
from ggt_hub.curation.report import report_run
from ggt_hub.curation.review import Look, Review, Shares
from ggt_hub.curation.stage import Context, Dropped, Kept, Later
from ggt_hub.curation.stages.reviewed import Reviewed
from ggt_hub.curation.tables import rewrite_without
from ggt_hub.errors import CurationError
from ggt_hub.evaluation.statistics import cohens_kappa
from ggt_hub.vlm import Ledger
from tests.curation.pairs import Place, write_photographs
from tests.curation.planted import sample
from tests.curation.reviewing import PHOTOGRAPHS, write_run

NONE = Shares(0, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), count=40, reviewers=2)


@pytest.fixture
def labelled(run: Path) -> Any:
    """The run, whose labels are of one test."""
    yield run
    (run / "labels.jsonl").unlink(missing_ok=True)


def label_all(review: Review, reviewer: str, label: str = "keep") -> list[str]:
    """The ids that somebody is shown, who says always the same."""
    shown, place = [], review.first(reviewer)
    while place is not None:
        shown.append(review.order(reviewer)[place].id)
        review.say(reviewer, place, (label, ""))
        place = review.first(reviewer)
    return shown


def test_the_order_is_drawn_for_each_reviewer_and_stays(labelled: Path) -> None:
    orders = [Review(labelled, NONE).order(name) for name in ("anna", "anna", "ben")]
    assert orders[0] == orders[1] != orders[2]
    ids = [turn.id for turn in orders[0]]
    assert ids != sorted(ids) and sorted(ids) == sorted(turn.id for turn in orders[2])


def test_each_is_labelled_by_so_many_as_the_stage_wants_or_by_one_and_some_by_two(
    labelled: Path, tmp_path: Path
) -> None:
    people = ("anna", "ben", "carl")
    review = Review(labelled, Shares(double=0.25))
    by = Counter(name for who in people for name in label_all(review, who))
    assert set(by.values()) == {2} and len(by) == 40
    review = Review(write_run(tmp_path, count=40), Shares(double=0.25))
    by = Counter(name for who in people for name in label_all(review, who))
    assert set(by.values()) == {1, 2} and len(by) == 40
    assert 2 <= sum(count == 2 for count in by.values()) <= 18  # of 40 a quarter; 3 deviations are 8


def test_labels_may_be_written_by_editors_of_windows(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_bytes(
        b'\xef\xbb\xbf{"id": "a", "label": "keep"}\r\n\r\n{"id": "b", "label": "unsure"}'
    )
    assert read_labels(tmp_path / "labels.jsonl") == [Label("a", "keep"), Label("b", "unsure")]


def test_of_what_has_left_the_run_meanwhile_nothing_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path, count=2)
    review = Review(run, NONE)
    turn = review.order("anna")[0]
    for path in (run / ".ggt-hub/curation/register").glob("*.arrow"):
        rewrite_without(path, {turn.id}, False, path)
    for look in (review.pictures, lambda turn: review.say("anna", 0, ("keep", ""))):
        with pytest.raises(CurationError, match="has left the run: start") as refused:
            look(turn)
        assert turn.id not in str(refused.value)
    assert not (run / "labels.jsonl").exists()


def test_somebody_is_shown_a_share_again_at_the_end(labelled: Path) -> None:
    shown = label_all(Review(labelled, Shares(0, again=0.3)), "anna")
    assert sorted(shown[:40]) == sorted(set(shown)) and 4 <= len(shown[40:]) <= 20
    looks = Counter(label.look for label in read_labels(labelled / "labels.jsonl"))
    assert looks == {1: 40, 2: len(shown[40:])}


def test_who_comes_back_goes_on_where_he_was_and_may_change_his_mind(labelled: Path) -> None:
    review = Review(labelled, NONE)
    for place in range(3):
        review.say("anna", place, ("refuse", "DF"))
    back = Review(labelled, NONE)
    assert (back.first("anna"), back.progress("anna")) == (3, (3, 37))
    assert back.beside("anna", 3, -1) == 2
    back.say("anna", 2, ("keep", ""))
    said = {label.id: label for label in read_labels(labelled / "labels.jsonl")}
    assert said[back.order("anna")[2].id] == Label(back.order("anna")[2].id, "keep", "anna")
    assert said[back.order("anna")[1].id].fault == "DF"


def test_what_others_have_done_is_left_out_but_not_what_is_ones_own(labelled: Path) -> None:
    review = Review(labelled, NONE)
    done = review.order("carl")[1].id
    for who in ("anna", "ben"):
        review.say(who, [turn.id for turn in review.order(who)].index(done), ("keep", ""))
    assert review.beside("carl", 0, 1) == 2
    mine = [turn.id for turn in review.order("anna")].index(done)
    assert mine in (review.beside("anna", mine - 1, 1), review.beside("anna", mine + 1, -1))


def test_the_pictures_are_those_of_the_row_and_their_files_tell_nothing(labelled: Path) -> None:
    review = Review(labelled, NONE)
    lq, gt = review.pictures(Look("photo1/0/banana-0", 1))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(gt))), sample(PHOTOGRAPHS[1]))
    assert not np.array_equal(np.asarray(Image.open(io.BytesIO(lq))), sample(PHOTOGRAPHS[1]))
    assert not Image.open(io.BytesIO(gt)).info


def test_what_a_kill_cuts_is_lost_alone(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    for name in ("a", "b"):
        add_label(path, Label(name, "keep", "anna"))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": "c", "lab')
    assert [label.id for label in read_labels(path)] == ["a", "b"]
    add_label(path, Label("d", "refuse", "anna", "F"))
    assert path.read_bytes() == whole + b'{"id": "d", "label": "refuse", "reviewer": "anna", "fault": "F"}\n'


def test_a_line_that_is_no_label_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text('{"id": "a", "label": "keep"}\n{"id": "b", "label": "good"}\n')
    with pytest.raises(CurationError, match=r"labels.jsonl, line 2: label: .*not 'good'"):
        read_labels(tmp_path / "labels.jsonl")


def test_labels_that_are_not_there_are_told_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(
        CurationError, match=r"is not there: label candidates by `ggt-hub curate review` first"
    ):
        read_labels(tmp_path / "labels.jsonl")


def test_kappa_is_that_of_cohens_paper_and_of_scikit_learn() -> None:
    # Of 50: both yes 20, first alone 5, second alone 10, both no 15: p_o = 0.7, p_e = 0.5, so 0.4.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(first, second) == pytest.approx(0.4, abs=1e-12)
    assert cohens_kappa(["a", "b"], ["b", "a"]) == pytest.approx(-1)
    assert cohens_kappa(["a", "b"], ["a", "b"]) == 1
    assert np.isnan(cohens_kappa(["a"], ["a"])) and np.isnan(cohens_kappa([], []))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        a, b = (list(rng.choice(["keep", "refuse", "unsure"], 60, p=[0.6, 0.3, 0.1])) for _ in range(2))
        assert cohens_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)


def test_people_are_compared_with_each_other_and_with_themselves() -> None:
    told = [("anna", 1, "krkr"), ("ben", 1, "krrk"), ("anna", 2, "kr"), ("carl", 1, "....k")]
    labels = [
        Label(f"{n}", {"k": "keep", "r": "refuse"}[letter], who, look=look)  # type: ignore[arg-type]
        for who, look, said in told
        for n, letter in enumerate(said)
        if letter != "."
    ]
    assert [tuple(one) for one in agreements(labels)] == [("anna", "anna", 2, 1.0), ("anna", "ben", 4, 0.0)]
    assert verdicts(labels) == {"0": True, "1": False, "4": True}  # of 2 and 3 one keeps and one refuses


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({}, Later),
        ({"keep": 1, "refuse": 1}, Later),
        ({"keep": 2}, Kept),
        ({"refuse": 1, "unsure": 1}, Dropped),
        ({"keep": 2, "refuse": 1}, Kept),
        ({"keep": 2, "refuse": 2}, Dropped),  # four have looked: half is no majority
        ({"keep": 3, "refuse": 2}, Kept),
    ],
)
def test_most_of_three_decide_once_it_is_decided(said: dict[str, int], kind: type) -> None:
    (outcome,) = Reviewed(3).decide([{"id": "a"}], Context(0, labels={"a": said}))
    assert isinstance(outcome, kind)
    if isinstance(outcome, Kept):
        assert json.loads(outcome.values["review"]) == said


def test_a_run_waits_for_its_reviewers_and_goes_on_with_what_they_keep(tmp_path: Path) -> None:
    photographs = write_photographs(tmp_path / "photographs")
    changes = {
        "judge: {audited: 2}": "  - reviewed: {reviewers: 1}\n",
        "edit: {candidates: 2}": "  - edit: {candidates: 1}\n",
    }
    place = Place(tmp_path, photographs, **changes)
    waiting = place.run()
    assert list(waiting)[-1] == "reviewed" and waiting["reviewed"].later == {"to be reviewed": 5}
    review = Review(place.output, NONE)
    asked = place.maker.asked
    for n, label in enumerate(("keep", "refuse", "keep", "unsure")):
        review.say("anna", n, (label, ""))
    done = place.run()["reviewed"]
    assert (done.kept, done.dropped, done.later) == (2, {"reviewed: refused": 2}, {"to be reviewed": 1})
    assert place.maker.asked == asked
    from datasets import load_dataset

    kept, refused = (
        load_dataset(str(place.output), name, split="train", cache_dir=str(tmp_path))
        for name in ("default", "negatives")
    )
    order = [turn.id for turn in review.order("anna")]
    assert {*kept["id"]} == {order[0], order[2]} and {*refused["id"]} == {order[1], order[3]}
    assert json.loads(kept[0]["meta"])["curation"]["review"] == {"keep": 1}
    review.say("anna", 0, ("refuse", ""))  # a mind that is changed afterwards
    review.say("anna", 4, ("keep", ""))
    assert place.run()["reviewed"].kept == 2
    # Whoever takes a photograph down takes down what was said of it.
    (tmp_path / "gone.txt").write_text(order[2])
    down = CliRunner().invoke(
        app,
        [
            "curate",
            "run",
            "ggt",
            "photographs",
            "-o",
            str(place.output),
            "--takedown",
            str(tmp_path / "gone.txt"),
        ],
    )
    assert down.exit_code == 0, down.output
    assert {label.id for label in read_labels(place.output / "labels.jsonl")} == {*order} - {order[2]}


def test_the_report_says_how_far_people_agree(labelled: Path, tmp_path: Path) -> None:
    for who, said in (("anna", "kkr"), ("ben", "krr")):
        for n, letter in enumerate(said):
            add_label(
                labelled / "labels.jsonl",
                Label(f"photo{n}/0/banana-0", {"k": "keep", "r": "refuse"}[letter], who),  # type: ignore[arg-type]
            )
    page = report_run(labelled, tmp_path / "page.html", Ledger(":memory:")).read_text()
    section = next(part for part in page.split("<section>") if "<h2>How far people agree</h2>" in part)
    assert re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", section.partition("<tbody>")[2]) == [
        "anna, ben",
        "3",
        "0.4000",
    ]


def test_a_run_without_pairs_and_one_that_does_not_wait_are_named(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("source: photographs\nstages: [{gather: {}}]\n")
    with pytest.raises(CurationError, match="has no pairs yet that one could look at"):
        Review(tmp_path)
    (tmp_path / "run.yaml").write_text(
        "source: photographs\nstages: [{gather: {}}, {reviewed: {reviewers: 3}}]\n"
    )
    with pytest.raises(CurationError, match="nothing has come to the stage reviewed yet"):
        Review(tmp_path)
