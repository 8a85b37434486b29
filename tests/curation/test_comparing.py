"""Generators compared: the same questions once, figures by hand, kills, budgets, and votes on what they drew."""

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.curation.comparing import entrants, estimate_entrants, run_entrants
from ggt_hub.curation.comparison import open_comparison, write_comparison
from ggt_hub.curation.configuration import GENERATOR, load_configuration
from ggt_hub.curation.decided import read_run
from ggt_hub.curation.figures import Passed
from ggt_hub.curation.stages.edit import asked
from ggt_hub.curation.tables import read_kept
from ggt_hub.errors import CurationError, JudgeError, QuestionRefusedError
from ggt_hub.evaluation.votes import read_votes
from ggt_hub.images.shown import png, shown_rgb
from ggt_hub.vlm import Asker, Ledger, Question, Reply
from ggt_hub.vlm.ledger import Receipt
from tests.curation.pairs import Eyes, Maker, Service, piece, write_photographs
from tests.curation.planted import shifted
from tests.servers.image_editors import KEY, EditorServer
from tests.servers.openai_chat import ChatServer

CONFIGURATION = """\
models:
  vision: {model: eyes, url: "http://127.0.0.1:9/v1", price: [1, 1]}
generators:
  maker: {provider: server, model: maker-1, url: "http://127.0.0.1:9/v1", per_picture: 0.04}
  copier: {provider: server, model: copier-1, url: "http://127.0.0.1:9/v1", per_picture: 0.01}
  refuser: {provider: server, model: refuser-1, url: "http://127.0.0.1:9/v1", per_picture: 0.02}
slice: 2
stages:
  - gather: {smallest: 128}
  - crop: {side: 256, count: 1}
  - diagnose
  - compose
  - edit: {candidates: 2}
  - register
  - measure
  - gate: {redegraded: 0}
  - judge: {audited: 0}
  - reviewed
  - pack-pairs
"""


class Seeing(Eyes):
    """Also writes instructions, and sees letters in all photographs."""

    def send(self, question: Any) -> Reply:
        if "Write the instruction" in question.text:
            self.count()
            return Reply("Remove the noise. Keep the rest.")
        return super().send(question)


class Copier(Service):
    def canvas(self, size: Any) -> Any:
        return size

    def send(self, question: Any) -> Reply:
        self.count()
        return Reply(pictures=(question.pictures[0],))


class Refuser(Copier):
    def send(self, question: Any) -> Reply:
        self.count()
        raise QuestionRefusedError("IMAGE_SAFETY")


def write_three(folder: Path) -> Path:
    write_photographs(folder)
    for name in ("chelsea", "flower"):
        (folder / f"{name}.png").unlink()
    return folder


class Place:
    """A comparison with everybody in this process; it may be made again."""

    def __init__(self, folder: Path, makers: tuple[str, ...] = ("maker", "copier", "refuser")) -> None:
        lines = CONFIGURATION.splitlines(keepends=True)
        left_out = tuple(f"{name}:" for name in ("maker", "copier", "refuser") if name not in makers)
        kept = [line for line in lines if not (left_out and line.strip().startswith(left_out))]
        (folder / "compare.yaml").write_text("".join(kept))
        self.configuration = load_configuration(folder / "compare.yaml")
        self.photographs = write_three(folder / "photographs")
        self.output, self.ledger = folder / "out", Ledger(folder / "ledger")
        known = {
            "maker": Maker(self.photographs),
            "copier": Copier("copier-1"),
            "refuser": Refuser("refuser-1"),
        }
        self.eyes, self.makers = Seeing(), {name: known[name] for name in makers}
        eyes = Asker(self.eyes, self.ledger, workers=2)
        self.askers = dict.fromkeys(("diagnose", "compose-adaptive", "judge"), eyes)
        self.askers |= {
            GENERATOR + name: Asker(one, self.ledger, workers=2) for name, one in self.makers.items()
        }
        self.found = entrants(self.configuration, self.output)

    def run(self) -> dict[str, Any]:
        run_entrants(self.found, str(self.photographs), self.askers)
        return {one.label: one for one in write_comparison(self.found, self.output, self.askers, self.ledger)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("comparison"))
    made.figures = made.run()  # type: ignore[attr-defined]
    return made


def test_what_all_share_is_asked_once_and_nothing_twice(place: Place) -> None:
    # Three diagnoses, three instructions; judged are the maker's three good candidates, for each kind of prompts
    # the same pictures, so the same question.
    assert place.eyes.asked == 9
    assert {name: maker.asked for name, maker in place.makers.items()} == {
        "maker": 12,
        "copier": 12,
        "refuser": 12,
    }
    before = (place.output / "comparison.json").read_text()
    place.run()
    assert place.eyes.asked == 9 and place.makers["maker"].asked == 12
    assert (place.output / "comparison.json").read_text() == before


def test_figures_are_those_that_one_counts_by_hand(place: Place) -> None:
    figures = place.figures  # type: ignore[attr-defined]
    assert [*figures] == [f"{name}, {prompts}" for name in place.makers for prompts in ("fixed", "adaptive")]
    maker = figures["maker, fixed"]
    assert (maker.photographs, maker.drawn, maker.refusals) == (3, Passed(6, 5), {"IMAGE_SAFETY": 1})
    assert maker.registered == Passed(5, 5) and maker.corner < 6 and maker.residual < 1  # of 256 pixels
    assert maker.gated == Passed(5, 3)  # two are graded
    assert (maker.judged, maker.d) == (3, 90.0)
    assert maker.df[0] == pytest.approx((2 * 90 + (90 * 30) ** 0.5) / 3, abs=0.01)
    assert maker.f == (2 * 90 + 30) / 3  # in china a letter was changed: F is 30 at most
    assert maker.text == Passed(3, 2) and maker.faces == Passed(1, 1)
    assert maker.pairs == 2 and maker.spread is None
    copier = figures["copier, adaptive"]
    assert (copier.drawn, copier.gated, copier.pairs, copier.df) == (Passed(6, 6), Passed(6, 0), 0, None)
    refuser = figures["refuser, fixed"]
    assert (refuser.drawn, refuser.registered, refuser.judged) == (Passed(6, 0), Passed(0, 0), 0)
    told = json.loads((place.output / "comparison.json").read_text())
    assert told["entrants"][0]["gated"] == {"came": 5, "passed": 3}
    assert "OCR" in told["not measured"]


def test_the_page_says_so_too_and_needs_no_other_file(place: Place) -> None:
    page = (place.output / "report.html").read_text()
    section = next(part for part in page.split("<section>") if "<h2>From the request to a pair</h2>" in part)
    row = re.findall(
        r"<t[hd][^>]*>(.*?)</t[hd]>", section.partition("<tbody>")[2].split("</tr>")[0], re.DOTALL
    )
    assert row[:5] == ["maker, fixed", "maker-1", "3", "83 %\n5 of 6", "100 %\n5 of 5"]
    assert row[7:9] == ["60 %\n3 of 5", "2"]
    assert "are not measured" in page
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)


def test_people_vote_on_a_candidate_of_each_and_the_page_shows_it(place: Place) -> None:
    voting = open_comparison(place.output)
    order = voting.order("anna")
    pairs = {frozenset((one.left, one.right)) for one in order}
    assert len(order) == 3 * 6 and len(pairs) == 6  # the refuser has nothing to show
    for number, one in enumerate(order):
        maker = next((side for side in ("left", "right") if getattr(one, side).startswith("maker")), "tie")
        both = one.left.split(",")[0] == one.right.split(",")[0]
        voting.say("anna", number, "tie" if both else maker)  # type: ignore[arg-type]
    place.run()
    page = (place.output / "report.html").read_text()
    section = next(part for part in page.split("<section>") if "<h2>What people prefer</h2>" in part)
    names = re.findall(r'<th scope="row">(.*?)</th>', section)
    assert {*names[:2]} == {"maker, fixed", "maker, adaptive"} and len(names) == 4
    assert "18 votes on pairs." in section
    (place.output / "votes.jsonl").unlink()


def test_a_photograph_leaves_all_runs_the_votes_and_the_page(place: Place, tmp_path: Path) -> None:
    output = tmp_path / "compared"
    shutil.copytree(place.output, output, ignore=shutil.ignore_patterns("votes.jsonl"))
    voting = open_comparison(output)
    for number, duel in enumerate(voting.order("anna")):
        voting.say("anna", number, "left")
        assert duel.picture in ("astronaut.png/0", "china.png/0", "coffee.png/0")
    (tmp_path / "gone.txt").write_text("coffee.png/0\ndog.png\n")
    call = ["curate", "compare", "ggt", str(tmp_path), "--output", str(output), "--takedown"]
    call += [str(tmp_path / "gone.txt"), "--ledger", str(tmp_path / "own")]
    page = (output / "report.html").read_bytes()
    (output / "report.html").write_bytes(page + b"a remark of mine")
    refused = CliRunner().invoke(app, call)
    assert "or was changed since, so it is not replaced" in str(refused.exception)
    assert (output / "report.html").read_bytes() == page + b"a remark of mine"
    (output / "report.html").write_bytes(page)
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 1 and "dog.png: nothing of this run" in done.output
    assert "coffee.png" not in done.output and "1 photographs and 0 pairs" in done.output
    assert not [path for path in output.rglob("*") if path.is_file() and b"coffee" in path.read_bytes()]
    assert {vote.picture for vote in read_votes(output / "votes.jsonl")} == {"astronaut.png/0", "china.png/0"}
    assert not (output / "report.html").exists()
    assert open_comparison(output).progress("anna") == (12, 0)


def test_who_is_killed_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    made = Place(tmp_path, ("maker",))
    maker, send = made.makers["maker"], made.makers["maker"].send

    def spent(question: Any) -> Reply:
        if maker.asked == 7:
            raise JudgeError("the budget is spent")
        return send(question)

    maker.send = spent  # type: ignore[method-assign]
    with pytest.raises(JudgeError, match="the budget is spent"):
        made.run()
    assert maker.asked == 7
    maker.send = send  # type: ignore[method-assign]
    assert made.run()["maker, fixed"].drawn == Passed(6, 5)
    assert maker.asked == 12 and made.eyes.asked == 9


def test_what_a_candidate_is_moved_by_counts_also_where_it_is_refused(tmp_path: Path) -> None:
    made = Place(tmp_path, ("copier",))
    copier = made.makers["copier"]

    def shift(question: Any) -> Reply:
        big = Image.fromarray(shown_rgb(question.pictures[0])).resize((512, 512))
        moved = Image.fromarray(shifted(np.asarray(big), 20, 0)).resize((256, 256))
        return Reply(pictures=(png(moved),))

    copier.send = shift  # type: ignore[method-assign]
    figures = made.run()["copier, fixed"]
    assert figures.registered.passed == 0
    assert figures.corner == pytest.approx(40, abs=2)  # 20 of 512 are 40 of 1024


def test_cost_and_time_are_those_of_the_requests_whoever_paid_them(place: Place, tmp_path: Path) -> None:
    ledger = place.ledger
    entrant, asker = place.found[2], place.askers[GENERATOR + "copier"]
    run = read_run(entrant.folder)
    row = read_kept(next(iter(run.slices("compose"))), ("lq", "prompt"))[0]
    key = asker.key(asked(row, asker)[0], (1, 0))
    for cost, seconds in ((None, 30.0), (0.01, 2.0), (0.02, 4.0)):
        request = ledger.begin_request("another purse", None, None, key=key, model="copier-1")
        ledger.end_request(request, Receipt("billed", cost, seconds=seconds))
    figures = {one.label: one for one in write_comparison(place.found, place.output, place.askers, ledger)}
    assert figures["copier, fixed"].cost == pytest.approx(0.03) and figures["copier, fixed"].seconds == 4.0
    assert figures["copier, adaptive"].cost is None


def test_estimates_count_once_what_is_asked_once(place: Place) -> None:
    found = {one.stage: one for one in estimate_entrants(place.found, str(place.photographs))}
    assert (found["diagnose"].questions, found["compose-adaptive"].questions) == (3, 3)
    edits = {name: one for name, one in found.items() if name.startswith("edit")}
    assert len(edits) == 6 and all(one.questions == 6 for one in edits.values())
    assert edits["edit (maker, fixed)"].cost == pytest.approx(0.24)
    assert sum(name.startswith("judge") for name in found) == 6


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  - compose\n", "", "needs the column prompt"),
        ("  - diagnose\n", "", "needs the column category"),
        (
            "generators:\n",
            "generators:\n" + "".join(f"  g{n}: {{provider: local, model: x}}\n" for n in range(7)),
            "of 9",
        ),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_asked(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "compare.yaml").write_text(CONFIGURATION.replace(old, new))
    with pytest.raises(CurationError, match=message):
        entrants(load_configuration(tmp_path / "compare.yaml"), tmp_path / "out")


def test_the_command_by_real_clients_stops_at_its_budget_and_goes_on(
    tmp_path: Path, monkeypatch: Any
) -> None:
    pytest.importorskip("google.genai")
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("GGT_HUB_LEDGER", str(tmp_path / "ledger.sqlite"))
    photographs = write_three(tmp_path / "photographs")
    (photographs / "china.png").unlink()
    eyes, known = Seeing(), {shown_rgb(str(path)).tobytes(): path.stem for path in photographs.glob("*.png")}

    def answer(body: dict[str, Any]) -> str:
        content = body["messages"][-1]["content"]
        pictures = [
            base64.b64decode(part["image_url"]["url"].partition(",")[2])
            for part in content
            if "image_url" in part
        ]
        text = next(part["text"] for part in content if "text" in part)
        return eyes.send(Question(text, pictures=tuple(pictures))).text

    with ChatServer(answer) as chat, EditorServer() as maker:
        maker.edit = lambda data: png(Image.fromarray(piece(known[shown_rgb(data).tobytes()])))
        text = CONFIGURATION.replace("http://127.0.0.1:9/v1", chat.url).replace(
            "candidates: 2", "candidates: 1"
        )
        start, end = text.index("  maker:"), text.index("slice:")
        google = f"  banana: {{provider: google, model: gemini-nano-banana-2.1, url: {maker.root}}}\n"
        (tmp_path / "compare.yaml").write_text(text[:start] + google + text[end:])
        words = [
            "curate",
            "compare",
            str(tmp_path / "compare.yaml"),
            str(photographs),
            "-o",
            str(tmp_path / "out"),
        ]
        told = CliRunner().invoke(app, [*words, "--dry-run"])
        assert "edit (banana, fixed) gemini-nano-banana-2.1: at most 2 questions" in told.output
        assert not maker.asked and not (tmp_path / "out").exists()
        stopped = CliRunner().invoke(app, [*words, "--accept-terms", "google", "--max-calls", "5"])
        assert isinstance(stopped.exception, JudgeError) and "budget of 5 calls is spent" in str(
            stopped.exception
        )
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        # Two diagnoses, two instructions, four candidates, and two judgements of pictures that are the same.
        assert (maker.billed, eyes.asked) == (4, 6)
    assert re.search(r"banana, adaptive +2 of 2 drawn, DF 90.0, 2 pairs", done.output)
    told = json.loads((tmp_path / "out/comparison.json").read_text())["entrants"]
    price = (1300 * 1.5 + 100 * 7.5 + 1120 * 30) / 1e6
    assert [one["cost"] for one in told] == [pytest.approx(price)] * 2
    assert all(0 < one["seconds"] < 60 for one in told)
