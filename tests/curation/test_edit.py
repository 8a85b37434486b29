"""Diagnosis, instructions and candidates: what is asked, what is kept, and what the funnel says of the rest."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.curation.askers import bill, check_askers, estimate, open_askers
from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.generators import accept_terms
from ggt_hub.curation.run import run
from ggt_hub.curation.stages.compose import fixed_prompt
from ggt_hub.curation.tables import read_kept
from ggt_hub.curation.words import text_of, words
from ggt_hub.errors import CurationError, JudgeError
from ggt_hub.tasks import TASKS
from ggt_hub.vlm import Ledger, purse_of
from ggt_hub.vlm.ledger import Bill
from tests.curation.ggt import DIAGNOSIS, Eyes, write_configuration, write_photographs
from tests.servers.image_editors import (
    KEY,
    EditorServer,
    Step,
    google_error,
    google_reply,
    inline,
    picture,
)
from tests.servers.openai_chat import ChatServer

pytest.importorskip("google.genai")

COST = (1300 * 1.5 + 100 * 7.5 + 1120 * 30) / 1e6


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)


class Place:
    """A folder with photographs and a configuration between two servers."""

    def __init__(self, folder, eyes, maker, count=3, size=(64, 64), **changes):
        self.photographs = write_photographs(folder / "photographs", count, size)
        self.configuration = load_configuration(write_configuration(folder, eyes.url, maker.root, **changes))
        self.output, self.ledger = folder / "out", Ledger(folder / "ledger.sqlite")
        accept_terms(self.ledger, "google")

    def run(self, **more):
        self.askers = open_askers(self.configuration, self.output, self.ledger, **more)
        return {
            count.stage: count
            for count in run(self.configuration, str(self.photographs), self.output, self.askers)
        }

    def rows(
        self, stage="edit", columns=("candidate", "generator", "drawn_by", "prompt", "template", "category")
    ):
        tables = self.output / ".ggt-hub/curation"
        before = [one.name for one in self.configuration.stages]
        names = before[: before.index(stage) + 1]
        slices = sorted(path.name for path in (tables / stage).glob("*.arrow"))
        return [row for name in slices for row in read_kept([tables / one / name for one in names], columns)]


def test_every_candidate_is_a_row_with_what_it_was_asked_and_the_file_as_it_came(tmp_path):
    seen = iter(range(100))
    with (
        ChatServer(Eyes()) as eyes,
        EditorServer(lambda _: google_reply(inline(picture(seed=next(seen))))) as maker,
    ):
        place = Place(tmp_path, eyes, maker)
        counts = place.run()
        rows = place.rows()
    assert counts["edit"].kept == 6
    assert [row["id"] for row in rows[:3]] == ["0.png/0/banana-0", "0.png/0/banana-1", "1.png/0/banana-0"]
    assert {row["candidate"] for row in rows} == {picture(seed=n) for n in range(6)}
    assert {row["prompt"] for row in rows} == {"Clear the haze. Keep the street."}
    version = hashlib.sha256(text_of("instructions").encode()).hexdigest()[:8]
    assert {row["template"] for row in rows} == {f"adaptive-1-{version}"}
    assert {(row["generator"], row["drawn_by"], row["category"]) for row in rows} == {
        ("banana", "gemini-nano-banana-2.1", "haze")
    }
    assert maker.billed == 6
    assert bill(place.askers)[1] == f"gemini-nano-banana-2.1: 6 billed, {6 * COST:g}"


def test_a_second_run_asks_nobody(tmp_path):
    with ChatServer(Eyes()) as eyes, EditorServer() as maker:
        place = Place(tmp_path, eyes, maker)
        first = place.run()
        asked = len(eyes.requests), len(maker.requests)
        assert place.run() == first
        assert (len(eyes.requests), len(maker.requests)) == asked


def test_a_quota_of_one_model_that_is_used_up_holds_up_no_other(tmp_path):
    full = google_error(429, "RESOURCE_EXHAUSTED", "quota", headers={"Retry-After": "9000"})

    def answer(request):
        return full if "gemini-nano" in request["path"] else Step()

    with ChatServer(Eyes()) as eyes, EditorServer(answer) as maker:
        other = f"  other: {{provider: google, model: gemini-3-pro-image, url: {maker.root}}}\nslice: 4"
        place = Place(tmp_path, eyes, maker, **{"slice: 4": other})
        with pytest.warns(UserWarning, match=r"quota: it is asked nothing for 2\.5 hours"):
            edit = place.run()["edit"]
        assert (edit.kept, edit.later) == (6, {"banana: its quota is used up": 6})
        with pytest.warns(UserWarning, match="gemini-nano-banana-2.1 takes no more questions until"):
            assert place.run()["edit"] == edit
        assert maker.billed == 6
        assert sum("gemini-nano" in request["path"] for request in maker.asked) <= 3  # workers
        place.ledger.close_model("gemini-nano-banana-2.1", 0, "")
        full.status, full.body = 200, None
        assert place.run()["edit"].kept == 12


def test_the_funnel_counts_what_a_generator_refuses_by_its_own_reasons(tmp_path):
    script = [
        google_reply(reason="IMAGE_SAFETY"),
        google_reply({"text": "No."}),
        Step(cut=50),
        google_error(400, "INVALID_ARGUMENT", "Unable to process input image"),
        Step(),
    ]
    with ChatServer(Eyes()) as eyes, EditorServer(*script) as maker:
        place = Place(tmp_path, eyes, maker, **{"workers: 3": "workers: 1"})
        counts = place.run()
        edit = counts["edit"]
        assert (edit.rows, edit.kept) == (3, 2)
        assert edit.dropped == {"banana: IMAGE_SAFETY": 1, "banana: the model refuses": 2}
        assert edit.later == {"banana: possibly billed": 1}
        assert "; 1 possibly billed, of unknown cost" in bill(place.askers)[1]
        asked = len(maker.asked)
        assert place.run()["edit"].later == {"banana: possibly billed": 1}
        assert len(maker.asked) == asked  # not by itself
        assert place.run(ask_again=True)["edit"].kept == 6  # what was refused is asked again, too
        assert maker.billed == 5 + 4


def test_a_picture_of_a_shape_that_is_not_drawn_lies_on_a_canvas(tmp_path):
    """60 x 30 comes to 64 x 32, and 2:1 is not drawn: 16:9 is next."""
    with ChatServer(Eyes()) as eyes, EditorServer() as maker:
        place = Place(tmp_path, eyes, maker, 1, (60, 30), **{"smallest: 32": "smallest: 8"})
        place.run()
        shown = Image.open(io.BytesIO(maker.asked[0]["picture"]))
        row = place.rows(columns=("candidate", "lq"))[0]
    assert maker.asked[0]["content"]["generationConfig"]["imageConfig"]["aspectRatio"] == "16:9"
    assert shown.size == (64, 36)
    back, lq = (np.asarray(Image.open(io.BytesIO(row[name]))) for name in ("candidate", "lq"))
    assert lq.shape == (32, 64, 3)
    assert np.array_equal(back, lq)


def test_a_diagnosis_is_asked_for_by_its_schema_and_mended_once(tmp_path):
    fenced = "Here it is:\n```json\n" + json.dumps(DIAGNOSIS) + "\n```"
    lacking = {name: value for name, value in DIAGNOSIS.items() if name != "category"}
    wrong = DIAGNOSIS | {"face_count": "0"}
    answers = Eyes(fenced, lacking, DIAGNOSIS, wrong, "I cannot", DIAGNOSIS | {"category": "clean"})
    with ChatServer(answers) as eyes, EditorServer() as maker:
        place = Place(tmp_path, eyes, maker, 4, **{"workers: 2": "workers: 1"})
        diagnose = place.run()["diagnose"]
    assert (diagnose.kept, diagnose.dropped) == (2, {"no JSON as asked": 1, "diagnosis: clean": 1})
    asked = answers.asked[0]["response_format"]["json_schema"]
    assert (asked["name"], asked["strict"]) == ("diagnosis", True)
    assert set(asked["schema"]["required"]) == set(DIAGNOSIS)
    mended = answers.asked[2]["messages"]
    assert [message["role"] for message in mended] == ["system", "user", "assistant", "user"]
    assert mended[-1]["content"].startswith(
        "That is not the JSON that was asked for: category: field required"
    )


def test_an_adaptive_instruction_is_asked_for_with_strings_protections_and_the_rule_of_colours(tmp_path):
    answers = Eyes()
    with ChatServer(answers) as eyes, EditorServer() as maker:
        Place(tmp_path, eyes, maker, 1).run()
    request = answers.asked[-1]["messages"][-1]["content"][-1]["text"]
    for said in (
        "moderate haze, global, everywhere",
        '"\\"STOP\\"", "12"',
        "(wet ground)",
        "as the air clears",
    ):
        assert said in request


def test_a_known_category_overrides_the_model(tmp_path):
    clean = DIAGNOSIS | {"category": "clean"}
    changes = {"  - diagnose\n": "  - diagnose: {category: rain}\n", "compose-adaptive": "compose"}
    with ChatServer(Eyes(clean)) as eyes, EditorServer() as maker:
        place = Place(tmp_path, eyes, maker, 1, **changes)
        place.run()
        assert {row["category"] for row in place.rows()} == {"rain"}
        assert maker.asked[0]["prompt"] == fixed_prompt("rain")
        assert len(eyes.requests) == 1


def test_fixed_instructions_say_what_goes_what_stays_and_the_rule_of_colours():
    told = words("instructions")
    assert set(told["fixed"]) == set(told["colour"]) <= set(TASKS)
    assert fixed_prompt("snow") == " ".join([told["fixed"]["snow"], told["fidelity"], told["colour"]["snow"]])


def test_the_estimate_counts_candidates_and_asks_nobody(tmp_path):
    with ChatServer(Eyes()) as eyes, EditorServer() as maker:
        place = Place(tmp_path, eyes, maker)
        found = {one.stage: one for one in estimate(place.configuration, str(place.photographs))}
        assert (found["edit"].questions, found["edit"].model) == (6, "gemini-nano-banana-2.1")
        assert found["edit"].cost == pytest.approx(6 * (1400 * 1.5 + 1120 * 30) / 1e6)
        half = {one.stage: one for one in estimate(place.configuration, str(place.photographs), batch=True)}
        assert half["edit"].cost == pytest.approx(3 * (1400 * 1.5 + 1120 * 30) / 1e6)
        assert half["diagnose"] == found["diagnose"]  # which is asked at once
        assert maker.requests == eyes.requests == []


def test_a_budget_in_money_is_kept_though_nothing_is_priced_yet(tmp_path):
    with ChatServer(Eyes()) as eyes, EditorServer() as maker:
        place = Place(tmp_path, eyes, maker, **{"workers: 2}": "workers: 2, price: [0.0001, 0]}"})
        with pytest.raises(JudgeError, match=r"the budget of 0\.1 is spent"):
            place.run(max_cost=0.1)
        assert maker.billed == 2  # a third of 0.036 would not fit
        with pytest.raises(JudgeError, match=r"the budget of 0\.1 is spent"):
            place.run(max_cost=0.1)
        assert maker.billed == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("gemini-nano-banana-2.1", "gemini-3.8-flash"), "gemini-3.8-flash is no model of google that edits"),
        (("gemini-nano-banana-2.1", "gemini-3.1-flash-image"), "announced to end on 2026-10-29"),
        (("url: MAKER,", "url: MAKER, size: 8K,"), "draws 1K, 2K, 4K, not '8K'"),
        (("provider: google", "provider: gogle"), "generator banana: provider"),
        (("provider: google", "provider: server"), None),
        (("generators:\n  banana: {", "x: {"), "field 'x'"),
    ],
)  # fmt: skip
def test_bad_generators_are_named_before_anybody_is_asked(change, message, tmp_path):
    with ChatServer(Eyes()) as eyes, EditorServer() as maker:
        text = write_configuration(tmp_path, "EYES", "MAKER").read_text()
        assert change[0] in text
        path = tmp_path / "ggt.yaml"
        path.write_text(text.replace(*change).replace("EYES", eyes.url).replace("MAKER", maker.root))
        ledger = Ledger(tmp_path / "ledger")
        accept_terms(ledger, "google")
        if message is None:
            assert open_askers(load_configuration(path), tmp_path / "out", ledger)
            return
        with pytest.raises(CurationError, match=re.escape(message)):
            open_askers(load_configuration(path), tmp_path / "out", ledger)
        assert maker.requests == eyes.requests == []


def test_no_key_no_terms_a_rejected_key_and_an_unknown_model_are_one_clear_error_each(tmp_path, monkeypatch):
    with ChatServer(Eyes()) as eyes, EditorServer() as maker:
        path = write_configuration(tmp_path, eyes.url, maker.root)
        photographs = write_photographs(tmp_path / "photographs", 1)
        base = ["curate", "run", str(path), str(photographs), "-o", str(tmp_path / "out")]
        base += ["--ledger", str(tmp_path / "ledger")]

        def said(*more):
            result = CliRunner().invoke(app, [*base, *more])
            assert KEY not in result.output
            return result.exit_code, " ".join(str(result.exception or result.output).split())

        assert "give --accept-terms google, once" in said()[1]
        monkeypatch.delenv("GEMINI_API_KEY")
        assert (
            "google needs a key: set GOOGLE_API_KEY or GEMINI_API_KEY" in said("--accept-terms", "google")[1]
        )
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        maker.models["gemini-nano-banana-2.1"] = google_error(
            400, "INVALID_ARGUMENT", f"API key not valid: {KEY}"
        )
        assert "rejects the key" in said()[1]
        maker.models["gemini-nano-banana-2.1"] = google_error(404, "NOT_FOUND", "no such model")
        assert "has no model gemini-nano-banana-2.1" in said()[1]
        assert "--accept-terms gogle: choose one of" in said("--accept-terms", "gogle")[1]
        maker.models.clear()
        eyes.models["eyes"] = 401, {"error": {"message": "no", "code": "invalid_api_key"}}
        assert f"{eyes.url} rejects the key" in said()[1]
        eyes.models["eyes"] = 404, {"error": {"message": "no", "code": "model_not_found"}}
        assert f"{eyes.url} has no model eyes" in said()[1]
        eyes.models.clear()
        assert (maker.billed, maker.asked, eyes.requests) == (0, [], [])
        assert said()[0] == 0
        assert maker.billed == 2


KILLED = """
import sys
from pathlib import Path
from ggt_hub.curation.askers import open_askers
from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.run import run
from ggt_hub.vlm import Ledger, purse_of
configuration, source, output, ledger = sys.argv[1:]
configuration, output = load_configuration(configuration), Path(output)
run(configuration, source, output, open_askers(configuration, output, Ledger(ledger)))
"""


def test_after_a_kill_nothing_is_paid_twice_and_the_bill_is_the_servers(tmp_path):
    with ChatServer(Eyes()) as eyes, EditorServer(*[Step()] * 4, Step(delay=60)) as maker:
        place = Place(tmp_path, eyes, maker, 5)
        arguments = [tmp_path / "ggt.yaml", place.photographs, place.output, place.ledger.path]
        killed = subprocess.Popen([sys.executable, "-c", KILLED, *map(str, arguments)], env=os.environ)
        while len(maker.asked) < 7:  # three workers hang
            assert killed.poll() is None
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        maker.script = [Step()]
        edit = place.run()["edit"]
        assert (edit.kept, edit.later) == (7, {"banana: possibly billed": 3})
        assert maker.billed == len(maker.asked) == 10
        bills = {
            one.state: one.requests
            for one in place.ledger.bill(purse_of(place.output, place.ledger))
            if "banana" in one.model
        }
        assert bills == {"billed": 7, "possibly billed": 3}


def test_who_is_asked_to_end_keeps_what_was_sent_and_sends_nothing_more(tmp_path):
    with ChatServer(Eyes()) as eyes, EditorServer(Step(delay=1.5)) as maker:
        place = Place(tmp_path, eyes, maker, 5)
        command = [
            tmp_path / "ggt.yaml",
            place.photographs,
            "-o",
            place.output,
            "--ledger",
            place.ledger.path,
        ]
        asked = subprocess.Popen(
            [sys.executable, "-m", "ggt_hub", "curate", "run", *map(str, command)],
            env=os.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        while len(maker.asked) < 3:  # of three workers
            assert asked.poll() is None
            time.sleep(0.02)
        asked.send_signal(signal.SIGTERM)
        _, said = asked.communicate()
        assert asked.returncode == 130 and "stopping: what was sent is paid, and is waited for" in said
        assert [
            one.requests
            for one in place.ledger.bill(purse_of(place.output, place.ledger))
            if one.state == "billed"
        ][-1] == 3
        maker.script = [Step()]
        edit = place.run()["edit"]
        assert (edit.kept, edit.later) == (10, {})
        assert maker.billed == len(maker.asked) == 10


def test_the_key_is_in_no_file_of_a_run(tmp_path):
    def echoing(request):
        return google_reply({"text": f"refused for {request['headers']['x-goog-api-key']}"})

    with ChatServer(Eyes()) as eyes, EditorServer(echoing) as maker:
        place = Place(tmp_path, eyes, maker, 1)
        check_askers(open_askers(place.configuration, place.output, place.ledger))
        place.run()
        place.ledger.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_bill_says_known_and_unknown_costs_apart():
    told = [Bill("m", "billed", 3, 0.5, 0, 1.0), Bill("m", "possibly billed", 5, 0.3, 2, 1.0)]
    budget = SimpleNamespace(ledger=SimpleNamespace(bill=lambda _: told), purse="here")
    askers = {"vision": SimpleNamespace(service=SimpleNamespace(budget=budget))}
    assert bill(askers) == ["m: 3 billed, 0.5; 5 possibly billed, 0.3 and 2 of unknown cost"]
