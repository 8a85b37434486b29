"""Batches: half the price, fetched later by any process, and nothing of them lost or paid twice after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.curation.askers import fetch_batches
from ggt_hub.curation.generators import Price
from ggt_hub.curation.generators.batches import BatchAsker, Fetched
from ggt_hub.errors import CurationError, JudgeError
from ggt_hub.vlm import Ledger, Question, purse_of
from ggt_hub.vlm.ledger import Entry, Receipt
from tests.curation.generators.batching import COSTS, Place, age
from tests.curation.ggt import write_photographs
from tests.servers.image_editors import BatchServer, EditorServer, Step, google_reply

pytest.importorskip("google.genai")


@pytest.mark.parametrize("provider", ["google", "openai"])
def test_a_batch_is_sent_fetched_later_and_costs_half(provider, tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker, provider)
        assert place.run(eyes, batch=True)["edit"].later == {"banana: in a batch": 6}
        assert (len(maker.batches), maker.billed) == (1, 0)
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(0, 0, 0, 6)}
        assert place.run(eyes, batch=True)["edit"].later == {"banana: in a batch": 6}  # nothing is sent again
        maker.work()
        another = Ledger(place.ledger.path)
        assert fetch_batches(place.output, another) == {"banana": Fetched(6, 0, 0, 0)}
        assert fetch_batches(place.output, another) == {}
        edit = place.run(eyes, batch=True)["edit"]
        assert (edit.kept, edit.later) == (6, {})
        assert (len(maker.batches), maker.billed, maker.asked) == (1, 6, [])
        assert place.bills() == {"billed": (6, pytest.approx(6 * COSTS[provider]))}
        prompts = {str(line).count("no rain streak") for line in next(iter(maker.batches.values()))["lines"]}
        assert prompts == {1}


@pytest.mark.parametrize("provider", ["google", "openai"])
def test_lines_are_refused_billed_or_free_again_each_by_itself(provider, tmp_path, eyes):
    refusal = google_reply(reason="IMAGE_SAFETY") if provider == "google" else Step(body={"data": []})
    with BatchServer(refusal, Step(400, {}), Step(500, {}), Step()) as maker:
        place = Place(tmp_path, maker, provider)
        place.run(eyes, batch=True)
        maker.work("PARTIALLY_SUCCEEDED" if provider == "google" else "EXPIRED", leave_out=1)
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(2, 2, 2, 0)}
        edit = place.run(eyes)["edit"]  # what is free is now asked one by one
        assert (edit.kept, sum(edit.dropped.values()), edit.later) == (4, 2, {})
        assert len(maker.asked) == 2
        assert place.bills()["rejected"] == (3, 0)
        assert place.bills()["billed"][0] == 5 == maker.billed


@pytest.mark.parametrize("provider", ["google", "openai"])
def test_a_batch_whose_answer_was_lost_is_found_by_our_name(provider, tmp_path, eyes):
    with BatchServer() as maker:
        maker.lost = 1
        place = Place(tmp_path, maker, provider)
        with pytest.raises(JudgeError):
            place.run(eyes, batch=True)
        assert len(maker.batches) == 1
        assert place.run(eyes, batch=True)["edit"].later == {"banana: in a batch": 6}
        maker.work()
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6, 0, 0, 0)}
        assert (len(maker.batches), maker.billed) == (1, 6)


def test_a_batch_that_was_never_taken_frees_its_questions(tmp_path, eyes):
    with BatchServer() as maker:
        maker.down = True
        place = Place(tmp_path, maker)
        with pytest.raises(JudgeError, match="503"):
            place.run(eyes, batch=True)
        maker.down = False
        assert place.run(eyes)["edit"].kept == 6
        assert maker.billed == 6
        assert place.bills()["rejected"] == (6, 0)


def test_a_picture_that_is_not_taken_at_once_is_sent_again_and_not_all_of_the_batch(tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker, "openai")
        taken, uploads = maker.other, []

        def other(request, method):
            uploads.append(request["path"].endswith("/files"))
            return Step(503, {}) if uploads.count(True) == 4 and uploads[-1] else taken(request, method)

        maker.other = other
        assert place.run(eyes, batch=True)["edit"].later == {"banana: in a batch": 6}
        assert (len(maker.batches), uploads.count(True)) == (
            1,
            8,
        )  # six pictures, one of them twice, and the lines


def test_one_batch_that_cannot_be_fetched_holds_up_no_other(tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        place.run(eyes, batch=True)
        write_photographs(tmp_path / "more", 5)
        for name in ("3.png", "4.png"):
            (tmp_path / "more" / name).rename(place.photographs / name)
        place.run(eyes, batch=True)
        maker.work()
        first, second = maker.batches.values()
        there, first["output"] = first["output"], None
        with pytest.raises(JudgeError, match=r"1 of 2 batches could not be fetched: .* says not where it is"):
            fetch_batches(place.output, place.ledger)
        assert second["done"] and place.run(eyes)["edit"].later == {"banana: in a batch": 6}
        first["output"] = there
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6)}
        assert (place.run(eyes)["edit"].kept, maker.billed) == (10, 10)


def test_two_who_gather_the_same_questions_do_not_wait_for_each_other(tmp_path):
    service = SimpleNamespace(
        model="m",
        revision=None,
        parameters={},
        endpoint=None,
        budget=None,
        price=Price(),
        submit=lambda *_: "b-1",
    )
    askers = [BatchAsker("banana", service, Ledger(tmp_path / "ledger")) for _ in range(2)]
    states = []

    def ask():
        states.extend(
            askers[who].ask(Question(text)).reason for who, text in ((0, "a"), (1, "b"), (0, "b"), (1, "a"))
        )

    asking = threading.Thread(target=ask, daemon=True)  # a thread that hangs does not hold the tests
    asking.start()
    asking.join(20)
    assert states == ["it is in a batch: fetch it"] * 2 + ["another run is asking it: run again"] * 2


def test_a_batch_that_two_fetch_at_once_is_counted_once(tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        place.run(eyes, batch=True)
        maker.work()
        another = Ledger(place.ledger.path)
        purse = purse_of(place.output, another)
        (batch,) = place.ledger.open_batches(purse)
        lines = [*place.ledger.open_lines(batch.id)]
        assert fetch_batches(place.output, another) == {"banana": Fetched(6)}
        spent = place.ledger.spent(purse)
        for key, request in lines:  # as the other one, which has read the same lines, goes on
            receipt = Receipt("billed", 1.0)
            place.ledger.end_request(request, receipt, key=key, entry=Entry("refused"))
            place.ledger.end_request(request, Receipt("rejected", 0.0), key=key, free=True)
        assert place.ledger.spent(purse) == spent
        assert place.run(eyes)["edit"].kept == 6


def test_what_two_rows_have_in_common_is_one_line(tmp_path, eyes):
    """And does not wait for itself."""
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        for name in ("1.png", "2.png"):
            (place.photographs / name).write_bytes((place.photographs / "0.png").read_bytes())
        assert place.run(eyes, batch=True)["edit"].later == {"banana: in a batch": 6}
        maker.work()
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(2, 0, 0, 0)}
        assert (place.run(eyes)["edit"].kept, maker.billed) == (6, 2)


@pytest.mark.parametrize("provider", ["google", "openai"])
def test_a_batch_that_is_refused_outright_frees_its_questions_and_one_that_fails_once_it_would_be_listed(
    provider, tmp_path, eyes
):
    with BatchServer() as maker:
        place = Place(tmp_path, maker, provider)
        maker.refuses = 400
        with pytest.raises(JudgeError):
            place.run(eyes, batch=True)
        assert fetch_batches(place.output, place.ledger) == {}
        maker.refuses = 500
        with pytest.raises(JudgeError):
            place.run(eyes, batch=True)
        # It has none of that name, or none that it lists yet.
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(waiting=6)}
        age(place.ledger, 601)
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(free=6)}
        assert place.run(eyes)["edit"].kept == 6
        assert maker.billed == 6


def test_a_batch_as_a_whole_must_fit_the_budget(tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        place.text = place.text.replace("workers: 2}", "workers: 2, price: [0.0001, 0]}")
        with pytest.raises(JudgeError, match=r"a batch of 6 may cost 0\.1071, and of the budget of 0\.1"):
            place.run(eyes, batch=True, max_cost=0.1)
        with pytest.raises(JudgeError, match="a batch of 6 is more than the budget of 8 calls allows"):
            place.run(eyes, batch=True, max_calls=8)
        assert (maker.batches, maker.files) == ({}, {})
        assert place.run(eyes, batch=True, max_cost=0.12)["edit"].later == {"banana: in a batch": 6}


def test_who_takes_no_batches_is_named(tmp_path, eyes):
    with EditorServer() as maker:
        place = Place(tmp_path, maker)
        place.text = place.text.replace("provider: google", "provider: server")
        with pytest.raises(
            CurationError, match="banana cannot be asked in batches, as google and openai can"
        ):
            place.run(eyes, batch=True)
        with pytest.raises(CurationError, match="holds no run"):
            fetch_batches(tmp_path, place.ledger)


KILLED = """
import sys
from pathlib import Path
from ggt_hub.curation.askers import open_askers
from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.generators.google import GoogleEditor
from ggt_hub.curation.run import run
from ggt_hub.vlm import Ledger, Question, purse_of
import time
configuration, source, output, ledger, when = sys.argv[1:]
own = GoogleEditor.submit
def submit(self, batch, lines):
    name = own(self, batch, lines) if when == "after" else None
    Path(output, "here").touch()
    time.sleep(600)
GoogleEditor.submit = submit
configuration, output = load_configuration(configuration), Path(output)
run(configuration, source, output, open_askers(configuration, output, Ledger(ledger), batch=True))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_while_a_batch_is_sent_loses_nothing_and_pays_nothing_twice(when, tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        place.path.write_text(place.text.replace("http://127.0.0.1:9/v1", eyes.url))
        arguments = [place.path, place.photographs, place.output, place.ledger.path, when]
        killed = subprocess.Popen([sys.executable, "-c", KILLED, *map(str, arguments)], env=os.environ)
        while not (place.output / "here").exists():
            assert killed.poll() is None
            time.sleep(0.05)
        assert fetch_batches(place.output, place.ledger) == {
            "banana": Fetched(0, 0, 0, 6)
        }  # it is still at it
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        (place.output / "here").unlink()
        if when == "after":
            assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(0, 0, 0, 6)}
            maker.work()
            assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6, 0, 0, 0)}
        else:
            age(place.ledger, 590)
            assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(waiting=6)}
            age(place.ledger, 610)
            assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(free=6)}
        assert place.run(eyes)["edit"].kept == 6
        assert maker.billed == 6


def test_the_command_says_what_came_and_what_waits(tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        place.path.write_text(place.text.replace("http://127.0.0.1:9/v1", eyes.url))
        asked = ["curate", "run", str(place.path), str(place.photographs), "-o", str(place.output), "--batch"]
        kept = ["--ledger", place.ledger.path]
        sent = CliRunner().invoke(app, [*asked, *kept])
        assert (sent.exit_code, "later: banana: in a batch 6" in sent.stdout) == (1, True)
        assert "gemini-nano-banana-2.1: 6 in a batch" in sent.stdout
        fetch = ["curate", "fetch", str(place.output), *kept]
        shutil.copytree(place.output, tmp_path / "another")
        (tmp_path / "another/.ggt-hub/purse").unlink()  # as of another run
        another = CliRunner().invoke(app, ["curate", "fetch", str(tmp_path / "another"), *kept])
        name = (place.output / ".ggt-hub/purse").read_text().strip()
        assert another.stdout == f"{tmp_path / 'another'} has no batches out; {name} has\n"
        fetch[2] = str(place.output.rename(tmp_path / "moved"))
        asked[5] = fetch[2]
        waiting = CliRunner().invoke(app, fetch)
        assert (waiting.exit_code, waiting.stdout.split(maxsplit=1)) == (
            1, ["banana", "0 answered, 0 refused, 0 not done and free again, 6 waiting\n"],
        )  # fmt: skip
        maker.work()
        assert CliRunner().invoke(app, fetch).exit_code == 0
        assert "has no batches out" in CliRunner().invoke(app, fetch).stdout
        assert CliRunner().invoke(app, [*asked, *kept]).exit_code == 0


def test_a_comparison_too_is_asked_in_batches_and_fetched(tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        text = f"{place.text.replace('http://127.0.0.1:9/v1', eyes.url)}  - register\n"
        place.path.write_text(text.replace("candidates: 2", "candidates: 1"))
        named = [str(place.path), str(place.photographs), "-o", str(place.output)]
        compare = ["curate", "compare", *named, "--batch", "--ledger", place.ledger.path]
        sent = CliRunner().invoke(app, compare)
        assert (sent.exit_code, len(maker.batches)) == (1, 2)  # of fixed prompts, and of adaptive ones
        assert "banana, fixed            0 of 0 drawn" in sent.stdout
        maker.work()
        fetched = CliRunner().invoke(
            app, ["curate", "fetch", str(place.output), "--ledger", place.ledger.path]
        )
        assert (fetched.exit_code, "banana         6 answered" in fetched.stdout) == (0, True)
        done = CliRunner().invoke(app, compare)
        assert (done.exit_code, maker.billed, maker.asked) == (0, 6, [])
        assert "banana, adaptive         3 of 3 drawn" in done.stdout
    told = json.loads((place.output / "comparison.json").read_text())["entrants"]
    assert [one["cost"] for one in told] == [pytest.approx(COSTS["google"])] * 2
