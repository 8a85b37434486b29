"""The ledger as paid calls of all kinds use it: pictures, bills, pace, closed models, what kills leave behind."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from ggt_hub.errors import (
    JudgeError,
    ModelClosedError,
    PossiblyBilledError,
    QuestionRefusedError,
    RejectedError,
)
from ggt_hub.vlm import Asker, Budget, Ledger, Question, Reply, ServerChat, owners
from ggt_hub.vlm import asking as asking_module
from ggt_hub.vlm.asking import at_once
from ggt_hub.vlm.ledger import Entry, Receipt
from tests.servers.openai_chat import ChatServer


class Painter:
    """A service that does what its script says, and counts."""

    model, revision, endpoint, parameters = "painter", None, "http://here", {}

    def __init__(self, *script, per_minute=None, **budget):
        self.budget, self.per_minute, self.max_retries = Budget(**budget), per_minute, 3
        self.script, self.calls = list(script), 0

    def send(self, question):
        self.calls += 1
        step = self.script[0] if len(self.script) == 1 else self.script.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.sqlite")


@pytest.fixture
def waits(monkeypatch):
    """The pauses that were made, none of which is."""
    made = []
    monkeypatch.setattr(
        asking_module.time, "sleep", lambda seconds: made.append(seconds) if seconds else None
    )
    return made


def bills(ledger, purse=""):
    return {bill.state: (bill.requests, bill.cost, bill.unknown) for bill in ledger.bill(purse)}


def test_pictures_are_kept_with_the_reply_as_they_came(ledger):
    painter = Painter(Reply("done", (b"one", b"two"), cost=0.04, usage={"images": 2}, request_id="r-1"))
    first = Asker(painter, ledger).ask(Question("paint"))
    again = Asker(painter, Ledger(ledger.path)).ask(Question("paint"))
    assert first == again == Entry("answered", "done", None, "http://here", (b"one", b"two"))
    assert painter.calls == 1
    row = ledger._connection.execute("SELECT model, state, cost, usage, request_id FROM requests").fetchone()
    assert row == ("painter", "billed", 0.04, '{"images": 2}', "r-1")


def test_a_picture_that_was_damaged_is_not_handed_out(ledger):
    asker = Asker(Painter(Reply(pictures=(b"one",))), ledger)
    asker.ask(Question("paint"))
    ledger._connection.execute("UPDATE pictures SET data = ?", (b"two",))
    with pytest.raises(JudgeError, match="is damaged or gone"):
        asker.ask(Question("paint"))


def test_a_refusal_that_looks_like_success_is_billed_and_no_answer(ledger):
    asker = Asker(Painter(Reply("{}", refusal="IMAGE_SAFETY", cost=0.03)), ledger)
    assert asker.ask(Question("paint")) == Entry("refused", "{}", "IMAGE_SAFETY", "http://here")
    assert bills(ledger) == {"billed": (1, 0.03, 0)}


def test_without_a_budget_too_every_question_is_settled_and_may_be_asked_again(ledger):
    """A claim that stays open would have the same process wait for itself."""
    painter = Painter(PossiblyBilledError("cut"), QuestionRefusedError("IMAGE_SAFETY"), Reply("done"))
    painter.budget = None
    asker, insisting = Asker(painter, ledger), Asker(painter, ledger, ask_again=True)
    cut, refused = (
        Entry("possibly billed", None, "cut", "http://here"),
        Entry("refused", None, "IMAGE_SAFETY", "http://here"),
    )
    assert asker.ask(Question("paint")) == asker.ask(Question("paint")) == cut
    assert insisting.ask(Question("paint")) == asker.ask(Question("paint")) == refused
    again = Asker(painter, ledger, ask_again=True)
    assert again.ask(Question("paint")) == Entry("answered", "done", None, "http://here")
    assert painter.calls == 3


def test_each_way_to_fail_is_billed_as_it_is(ledger, waits):
    painter = Painter(
        RejectedError("busy", passes=True),
        RejectedError("slower", passes=True, wait=7),
        QuestionRefusedError("not this"),
        PossiblyBilledError("cut"),
        Reply("fine", cost=1.0),
    )
    asker = Asker(painter, ledger)
    states = [asker.ask(Question(text)).state for text in ("a", "b", "c")]
    assert states == ["refused", "possibly billed", "answered"]
    assert bills(ledger) == {"rejected": (3, 0.0, 0), "possibly billed": (1, 0.0, 1), "billed": (1, 1.0, 0)}
    assert 0.5 <= waits[0] <= 1  # jittered
    assert waits[1] == 7  # as asked for
    assert painter.budget.cost == 2.0  # what is not known counts as much as the dearest


def test_while_it_waits_for_another_try_a_question_is_not_in_flight(ledger, monkeypatch):
    """So that a kill meanwhile leaves it free."""
    states = []

    def sleep(seconds):
        if seconds:
            states.extend(ledger._connection.execute("SELECT state FROM questions").fetchone())

    monkeypatch.setattr(asking_module.time, "sleep", sleep)
    painter = Painter(RejectedError("busy", passes=True), Reply("fine"))
    assert Asker(painter, ledger).ask(Question("paint")).state == "answered"
    assert states == ["claimed"]


def test_pauses_grow_until_no_try_is_left_and_the_question_stays_free(ledger, waits):
    painter = Painter(RejectedError("busy", passes=True))
    with pytest.raises(RejectedError, match="busy"):
        Asker(painter, ledger).ask(Question("paint"))
    assert painter.calls == 4
    assert [low <= wait <= 2 * low for low, wait in zip((0.5, 1, 2), waits, strict=True)] == [True] * 3
    painter.script = [Reply("fine")]
    assert Asker(painter, ledger).ask(Question("paint")).state == "answered"


def test_a_reply_that_a_full_disk_cannot_hold_is_billed_and_not_asked_again(ledger):
    painter = Painter(Reply(pictures=(bytes(1 << 20),), cost=0.04, request_id="r-1"))
    size = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
    ledger._connection.execute(f"PRAGMA max_page_count = {size + 20}")
    with pytest.raises(JudgeError, match=r"ledger\.sqlite cannot be used .*full"):
        Asker(painter, ledger).ask(Question("paint"))
    assert bills(ledger) == {"billed": (1, 0.04, 0)}
    entry = Asker(painter, Ledger(ledger.path)).ask(Question("paint"))
    assert (entry.state, painter.calls) == ("possibly billed", 1)
    assert "its reply could not be kept" in entry.reason


def test_a_reply_is_kept_though_somebody_holds_the_ledger_for_a_while(ledger, monkeypatch):
    holder = sqlite3.connect(ledger.path, isolation_level=None)
    ledger._connection.execute("PRAGMA busy_timeout = 100")

    class Held(Painter):
        def send(self, question):
            holder.execute("BEGIN IMMEDIATE")
            return super().send(question)

    end = Ledger.end_request
    tries = []

    def end_request(*args, **more):
        tries.append(len(tries))
        if len(tries) == 2:
            holder.execute("ROLLBACK")
        return end(*args, **more)

    monkeypatch.setattr(Ledger, "end_request", end_request)
    assert Asker(Held(Reply("done", cost=0.5)), ledger).ask(Question("paint")).content == "done"
    assert (tries, bills(ledger)) == ([0, 1], {"billed": (1, 0.5, 0)})


def test_nothing_is_asked_where_the_reply_could_not_be_kept(ledger, monkeypatch):
    free = {"bytes": 99_000_000}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free["bytes"]))
    painter = Painter(Reply("done"))
    with pytest.raises(JudgeError, match=r"ledger\.sqlite has 99 MB left.*make room for 100 MB"):
        Asker(painter, ledger).ask(Question("paint"))
    free["bytes"] = 100_000_000
    assert Asker(painter, ledger).ask(Question("paint")).content == "done"
    assert (painter.calls, bills(ledger)) == (1, {"billed": (1, 0.0, 0)})


def test_what_is_asked_is_never_given_back(ledger):
    ledger.claim("k")
    ledger.begin_request("", None, None, key="k")
    ledger.release("k")
    assert ledger._connection.execute("SELECT state FROM questions").fetchall() == [("asked",)]


def test_a_reply_that_comes_after_it_was_given_up_is_kept_and_counted_once(ledger):
    ledger.claim("k")
    request = ledger.begin_request("", None, None, key="k")
    ledger.end_request(request, Receipt("possibly billed"), key="k", entry=Entry("possibly billed"))
    assert ledger.end_request(request, Receipt("billed", 2.0), key="k", entry=Entry("answered", "late"))
    assert not ledger.end_request(request, Receipt("billed", 2.0), key="k", entry=Entry("answered", "later"))
    assert (ledger.claim("k").content, ledger.spent("")) == ("late", (1, 2.0))


def test_a_clock_that_is_set_back_makes_nobody_wait(ledger, monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    for _ in range(10):
        ledger.reserve("m", 60)
    assert ledger.reserve("m", 60) == 4  # of 10 in a second, beyond those of six
    now[0] -= 86400
    assert [ledger.reserve("m", 60) for _ in range(8)] == [0, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="psutil reads the clock elsewhere")
def test_who_has_claimed_a_question_lives_on_when_the_clock_is_set(monkeypatch):
    me = owners.owner()
    ours = json.loads(me)
    boot = psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot - 3600)
    assert owners.lives(me)
    assert not owners.lives(json.dumps([*ours[:2], ours[2] - 50, ours[3] - 50]))  # another of that number
    assert not owners.lives(json.dumps([ours[0], ours[1], ours[2] + 5]))  # as ledgers of 0.1 have them


def test_what_a_container_that_is_gone_was_asking_is_not_waited_for_in_silence(ledger):
    ledger.claim("k")
    there = json.dumps(["another", 1, 0.0])
    ledger._connection.execute(
        "UPDATE questions SET owner = ?, at = datetime('now', '-30 minutes')", (there,)
    )
    with pytest.raises(JudgeError, match=r"another machine or container 30 minutes ago.*in 90 minutes"):
        ledger.claim("k")
    ledger._connection.execute("UPDATE questions SET at = datetime('now', '-121 minutes')")
    assert ledger.claim("k") is None


def test_when_one_fails_nobody_waits_for_another_try_or_sends_one(ledger):
    class Closing(Painter):
        def send(self, question):
            super().send(question)
            if question.text == "fails":
                while self.calls < 2:
                    time.sleep(0.01)
                raise RejectedError("the account is closed", passes=False)
            raise RejectedError("later", passes=True, wait=60)

    painter, began = Closing(None), time.monotonic()
    asker = Asker(painter, ledger)
    with pytest.raises(RejectedError, match="the account is closed"):
        at_once(lambda text: asker.ask(Question(text)), ["waits", "fails", "later"], 2, "asking", "question")
    assert painter.calls == 2
    assert time.monotonic() - began < 30  # of the minute that it was asked to wait
    assert bills(ledger) == {"rejected": (2, 0.0, 0)}
    assert ledger._connection.execute("SELECT count(*) FROM questions").fetchone() == (0,)


def test_repeats_are_questions_of_their_own(ledger):
    painter = Painter(Reply("a"), Reply("b"), Reply("c"))
    asker = Asker(painter, ledger)
    texts = [asker.ask(Question("paint"), number).content for number in ([0], [1], [0], [1])]
    assert texts == ["a", "b", "a", "b"]


def test_a_service_is_told_the_number_of_the_repeat(ledger):
    """Which is how one that draws here draws another picture."""
    told = []
    painter = Painter(Reply("fine"))
    painter.send = lambda question: told.append(question.number) or Reply("fine")
    asker = Asker(painter, ledger)
    for number in ([0, 0], [2, 1]):
        asker.ask(Question("paint"), number)
    assert told == [(0, 0), (2, 1)]


def test_what_is_expected_of_a_price_counts_before_any_is_known(ledger):
    painter = Painter(Reply(cost=0.25), max_cost=0.5, expected=0.3)
    asker = Asker(painter, ledger)
    asker.ask(Question("paint"))
    with pytest.raises(JudgeError, match=r"budget of 0\.5 is spent \(0\.25, and a request may cost 0\.3\)"):
        asker.ask(Question("another"))
    assert painter.calls == 1
    with pytest.raises(
        JudgeError, match=r"a request may cost 0\.6"
    ):  # of a purse that nothing was taken from
        Asker(Painter(Reply(), max_cost=0.5, expected=0.6, purse="new"), ledger).ask(Question("third"))


def test_a_quota_that_is_used_up_closes_the_model_for_everybody(ledger):
    painter = Painter(RejectedError("429", passes=True, wait=3600), Reply("fine"))
    with pytest.raises(ModelClosedError, match=r"429: it is asked nothing for 1\.0 hours"):
        Asker(painter, ledger).ask(Question("paint"))
    with pytest.raises(ModelClosedError, match=r"painter takes no more questions until .*quota is used up"):
        Asker(painter, Ledger(ledger.path)).ask(Question("paint"))
    assert painter.calls == 1
    other = Painter(Reply("fine"))
    other.model = "other"
    assert Asker(other, ledger).ask(Question("paint")).state == "answered"
    assert Asker(painter, ledger, ask_again=True).ask(Question("paint")).state == "answered"


def test_requests_keep_the_pace_also_across_processes(ledger, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("ggt_hub.vlm.ledger.time.time", lambda: now[0])
    both = [ledger, Ledger(ledger.path)]
    # 20 a minute are one in 3 s; those of 6 s may go at once
    waits = [both[n % 2].reserve("m", 20) for n in range(6)]
    assert waits == [0, 0, 0, 3, 6, 9]
    assert ledger.reserve("another", 20) == 0
    now[0] += 100
    assert ledger.reserve("m", 20) == 0


def test_a_budget_holds_over_all_processes_and_all_models(ledger):
    cheap, dear = Painter(Reply(cost=0.1), max_cost=0.75), Painter(Reply(cost=0.3), max_cost=0.75)
    dear.model = "dear"
    for painter, number in ((cheap, 0), (dear, 1), (cheap, 2)):
        Asker(painter, Ledger(ledger.path)).ask(Question("paint"), [number])
    with pytest.raises(JudgeError, match=r"budget of 0\.75 is spent \(0\.5, and a request may cost 0\.3\)"):
        Asker(cheap, ledger).ask(Question("paint"), [3])


def test_a_ledger_of_0_1_is_brought_up_to_date_and_its_replies_are_found(tmp_path):
    path = tmp_path / "old.sqlite"
    painter = Painter(Reply("new"))
    parameters = {"model": "painter", "revision": None, "parameters": {}, "system": "s", "question": "q"}
    key = Ledger.key(**parameters, image=b"png", later=[], number=(0, 0))
    with sqlite3.connect(path) as old:
        old.executescript(
            "CREATE TABLE questions (key TEXT PRIMARY KEY, state TEXT NOT NULL, content TEXT, reason TEXT, "
            "source TEXT, owner TEXT, at TEXT NOT NULL);"
            "CREATE TABLE requests (id INTEGER PRIMARY KEY, purse TEXT NOT NULL, state TEXT NOT NULL, cost REAL, "
            "at TEXT NOT NULL);"
            "INSERT INTO requests VALUES (1, '', 'billed', 0.5, 'then');"
        )
        old.execute("INSERT INTO questions VALUES (?, 'answered', 'old', NULL, NULL, NULL, 'then')", (key,))
    asker = Asker(painter, Ledger(path))
    assert asker.ask(Question("q", "s", (b"png",))).content == "old"
    assert painter.calls == 0
    assert bills(asker.ledger) == {"billed": (1, 0.5, 0)}
    assert (painter.budget.calls, painter.budget.cost) == (1, 0.5)


KILLED = """
import sys
from ggt_hub.vlm import Asker, Budget, Ledger, Question, ServerChat
from ggt_hub.vlm.asking import at_once
chat = ServerChat("m", sys.argv[1], budget=Budget(purse="run"), per_minute=float(sys.argv[3]))
asker = Asker(chat, Ledger(sys.argv[2]))
at_once(lambda n: asker.ask(Question(f"question {n}")), range(12), 3, "asking", "question")
"""


def test_after_a_kill_nothing_stored_is_paid_twice_and_what_was_in_flight_is_reported(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with ChatServer("a", "b", "c", "d", ("sleep", 60)) as server:
        # 12 may go at once, so all workers are inside of a request when the server hangs
        run = subprocess.Popen([sys.executable, "-c", KILLED, server.url, str(path), "120"], env=os.environ)
        while len(server.requests) < 7:
            assert run.poll() is None
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
        run.wait()
        server.script = ["again"]
        asker = Asker(ServerChat("m", server.url, budget=Budget(purse="run")), Ledger(path))
        entries = [asker.ask(Question(f"question {n}")) for n in range(12)]
        asked = [request["messages"][0]["content"][-1]["text"] for request in server.requests]
    lost = [n for n, entry in enumerate(entries) if entry.state == "possibly billed"]
    assert len(lost) == 3
    assert len(asked) == 12 == len(set(asked))
    assert {bill.state: bill.requests for bill in asker.ledger.bill("run")} == {
        "billed": 9,
        "possibly billed": 3,
    }


def test_what_waited_for_its_turn_when_it_was_killed_is_asked_again(tmp_path):
    path = tmp_path / "ledger.sqlite"
    watched = Ledger(path)
    with ChatServer("answer") as server:
        run = subprocess.Popen([sys.executable, "-c", KILLED, server.url, str(path), "20"], env=os.environ)
        states: list[str] = []
        while sorted(states) != ["answered"] * 3 + ["claimed"] * 3:  # 3 at once, then one in 3 s
            assert run.poll() is None
            time.sleep(0.02)
            rows = watched._connection.execute("SELECT state FROM questions").fetchall()
            states = [state for (state,) in rows]
        run.send_signal(signal.SIGKILL)
        run.wait()
        asker = Asker(ServerChat("m", server.url, budget=Budget(purse="run")), Ledger(path))
        entries = [asker.ask(Question(f"question {n}")).state for n in range(12)]
    assert entries == ["answered"] * 12
    assert len(server.requests) == 12
