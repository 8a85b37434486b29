"""What came of a batch, line by line: cut, doubled, strange, lost; nothing of it is paid twice."""

import json
import sqlite3
from contextlib import closing, suppress

import pytest

from ggt_hub.curation.askers import fetch_batches
from ggt_hub.curation.generators import wire
from ggt_hub.curation.generators.batches import Fetched
from ggt_hub.errors import JudgeError
from tests.curation.generators.batching import Place, age
from tests.servers.image_editors import BatchServer, Step

pytest.importorskip("google.genai")


@pytest.mark.parametrize("provider", ["google", "openai"])
def test_what_came_of_a_batch_and_was_cut_on_its_way_is_fetched_again(provider, tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker, provider)
        place.run(eyes, batch=True)
        maker.work()
        maker.cut = 2000
        with pytest.raises(JudgeError):
            fetch_batches(place.output, place.ledger)
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6)}
        assert (place.run(eyes)["edit"].kept, maker.billed, len(maker.asked)) == (6, 6, 0)


def test_what_came_of_a_batch_may_be_longer_than_a_reply(tmp_path, eyes, monkeypatch):
    monkeypatch.setattr(wire, "LONGEST_REPLY", 1000)
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        place.run(eyes, batch=True)
        maker.work()
        assert len(maker.files[next(iter(maker.batches.values()))["output"]]) > 1000
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6)}


@pytest.mark.parametrize("provider", ["google", "openai"])
@pytest.mark.parametrize(
    "change",
    [
        lambda file: file[file.index(b"\n") + 1 :],
        lambda file: file.replace(b'key": "', b'key": ["', 1).replace(b'custom_id": "', b'custom_id": ["', 1),
    ],
)
def test_a_line_that_is_lost_may_have_been_billed_and_is_not_asked_again(change, provider, tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker, provider)
        place.run(eyes, batch=True)
        maker.work()
        maker.spoil(change)
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(5, lost=1)}
        edit = place.run(eyes)["edit"]
        assert (edit.kept, edit.later) == (5, {"banana: possibly billed": 1})
        assert (maker.billed, maker.asked) == (6, [])
        assert place.bills()["possibly billed"] == (1, 0)


def failed_line(line):
    """The same line as if it had failed."""
    told = json.loads(line)
    if "key" in told:
        return json.dumps({"key": told["key"], "error": {"code": 13, "message": "failed"}}).encode()
    return json.dumps(told | {"response": None, "error": {"message": "failed"}}).encode()


@pytest.mark.parametrize("provider", ["google", "openai"])
@pytest.mark.parametrize("order", ["a failure first", "a failure last"])
def test_of_two_lines_of_one_question_the_reply_counts(order, provider, tmp_path, eyes):
    def doubled(file):
        lines = file.splitlines()
        both = [failed_line(lines[0]), lines[0]][:: 1 if order == "a failure first" else -1]
        return b"\n".join([*both, *lines[1:], lines[2]])

    with BatchServer() as maker:
        place = Place(tmp_path, maker, provider)
        place.run(eyes, batch=True)
        maker.work()
        maker.spoil(doubled)
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6)}
        assert (place.run(eyes)["edit"].kept, maker.billed, maker.asked) == (6, 6, [])


@pytest.mark.parametrize("provider", ["google", "openai"])
@pytest.mark.parametrize("what", ["another name", "nothing"])
def test_a_line_that_says_nothing_known_is_somebodys_who_is_not_asked_again(what, provider, tmp_path, eyes):
    """Also where the server says that it has not done all."""

    def spoilt(file):
        told = json.loads(file.splitlines()[0])
        name = "key" if "key" in told else "custom_id"
        told = told | {name: "stranger"} if what == "another name" else {name: told[name], "response": None}
        return b"\n".join([json.dumps(told).encode(), *file.splitlines()[1:]])

    with BatchServer() as maker:
        place = Place(tmp_path, maker, provider)
        place.run(eyes, batch=True)
        maker.work("PARTIALLY_SUCCEEDED" if provider == "google" else "EXPIRED")
        maker.spoil(spoilt)
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(5, lost=1)}
        assert (place.run(eyes)["edit"].kept, maker.billed, maker.asked) == (5, 6, [])


@pytest.mark.parametrize("provider", ["google", "openai"])
def test_what_the_server_has_counted_as_done_and_does_not_send_is_not_asked_again(provider, tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker, provider)
        place.run(eyes, batch=True)
        maker.work("EXPIRED", leave_out=1)
        (batch,) = maker.batches.values()
        batch["completed"] = 6
        there, batch["output"] = batch["output"], None
        with pytest.raises(JudgeError, match="says not where it is"):
            fetch_batches(place.output, place.ledger)
        batch["output"] = there
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(5, lost=1)}
        assert place.run(eyes)["edit"].later == {"banana: possibly billed": 1}


@pytest.mark.parametrize("provider", ["google", "openai"])
@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"[]", b'{"done": true}', b"{}", b"null"])
def test_whatever_is_said_of_a_batch_that_is_not_understood_settles_nothing(body, provider, tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker, provider)
        place.run(eyes, batch=True)
        maker.says = Step(body=body)
        with suppress(JudgeError):  # or it waits
            assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(waiting=6)}
        maker.says = None
        maker.work()
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6)}


@pytest.mark.parametrize("provider", ["google", "openai"])
def test_a_list_of_batches_that_is_none_frees_nothing(provider, tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker, provider)
        maker.lost = 1
        with pytest.raises(JudgeError):
            place.run(eyes, batch=True)
        age(place.ledger, 700)
        maker.says = Step(body=b"<html>sign in</html>")
        with pytest.raises(JudgeError):
            fetch_batches(place.output, place.ledger)
        maker.says = None
        maker.work()
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6)}


def test_a_container_that_is_gone_while_it_sent_a_batch_is_waited_for_two_hours(tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        maker.lost = 1
        with pytest.raises(JudgeError):
            place.run(eyes, batch=True)
        with closing(sqlite3.connect(place.ledger.path)) as connection, connection:
            connection.execute("UPDATE batches SET owner = '[\"another\", 1, 1.0, 1.0]'")
        maker.work()
        age(place.ledger, 7100)
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(waiting=6)}
        age(place.ledger, 7300)
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6)}


def test_a_page_in_place_of_what_came_settles_nothing(tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        place.run(eyes, batch=True)
        maker.work()
        there = maker.files[(name := next(iter(maker.batches.values()))["output"])]
        maker.spoil(lambda _: b"<html>\nsign in\n</html>")
        with pytest.raises(JudgeError, match="cannot be read: fetch again"):
            fetch_batches(place.output, place.ledger)
        maker.files[name] = maker.files[name[6:]] = there
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6)}


def test_done_without_a_file_settles_nothing(tmp_path, eyes):
    with BatchServer() as maker:
        place = Place(tmp_path, maker)
        place.run(eyes, batch=True)
        maker.work()
        (batch,) = maker.batches.values()
        there, batch["output"] = batch["output"], None
        with pytest.raises(JudgeError, match="says not where it is: fetch again"):
            fetch_batches(place.output, place.ledger)
        batch["output"] = there
        assert fetch_batches(place.output, place.ledger) == {"banana": Fetched(6)}
