"""GenIR from photographs to a data set, on a tiny SDXL and a server on the loopback interface."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from PIL import Image
from typer.testing import CliRunner

import ggt_hub
from ggt_hub.cli import app
from ggt_hub.curation.askers import open_askers
from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.run import Count, run
from ggt_hub.curation.tables import read_kept
from ggt_hub.curation.words import words
from ggt_hub.data.reading.clean import find_clean
from ggt_hub.errors import BusyError, CurationError, DatasetError, JudgeError
from ggt_hub.files import seed_of
from ggt_hub.images.shown import shown_rgb
from ggt_hub.pipelines.text_to_image import load_tuned
from ggt_hub.vlm import Ledger, purse_of
from tests.curation.genir import Answers, write_configuration, write_photographs
from tests.servers.openai_chat import ChatServer
from tests.tiny_sdxl import save_tiny_sdxl

QUESTIONS = {"caption": 6, "write": 3, "check": 3, "inspect": 12}


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("source") / "photographs")


def make(
    folder: Path, sdxl: Path, photographs: Path, answers: Any, ask_again: bool = False, **limits: Any
) -> dict[str, Count]:
    """A run in `folder/out`; on the port that comes."""
    folder.mkdir(exist_ok=True)
    with ChatServer(answers) as server:
        configuration = load_configuration(write_configuration(folder, sdxl, server.url))
        askers = open_askers(
            configuration, folder / "out", Ledger(folder / "ledger"), ask_again=ask_again, **limits
        )
        counts = run(configuration, str(photographs), folder / "out", askers)
    return {count.stage: count for count in counts}


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, sdxl: Path, photographs: Path
) -> tuple[Path, dict[str, Count], Answers]:
    folder, answers = (
        tmp_path_factory.mktemp("made"),
        Answers(
            check={0: "1. KEEP\n2. REMOVE: rule 1, a portrait\n3. KEEP\n4. KEEP"},
            inspect={2: "No: (privacy) a face that can be recognised", 5: "Perhaps."},
        ),
    )
    counts = make(folder, sdxl, photographs, answers)
    return folder / "out", counts, answers


def test_a_run_ends_in_clean_pictures_with_prompts_and_provenance(made: Any) -> None:
    folder, counts, answers = made
    assert answers.asked == QUESTIONS | {"inspect": 11}
    rows = ggt_hub.load_dataset("genir", data_dir=str(folder), split="train")
    assert len(rows) == counts["unlike"].kept >= 8
    row = rows[0]
    assert row["lq"] is None and row["gt"].size == (32, 32)
    assert row["prompt"] == "A photo of mountains and valleys, take 1"
    provenance = json.loads(row["meta"])["genir"]
    assert provenance["topic"] == "mountains and valleys"
    assert (provenance["inspected_by"], provenance["prompt_by"]) == ("eyes", "words")
    assert provenance["inspection"] == "YES"
    assert {clean.source for clean in find_clean(folder)} == {"genir"}


def stage_row(folder: Path, stage: str, columns: list[str]) -> dict[str, Any]:
    """The first row of the first slice after a stage."""
    return read_kept([folder / f".ggt-hub/curation/{stage}/000000.arrow"], columns)[0]


def test_a_picture_is_what_the_stock_pipeline_draws_between_the_two_prompts(made: Any, sdxl: Path) -> None:
    folder = made[0]
    pipe = StableDiffusionXLPipeline.from_pretrained(sdxl)
    load_tuned(pipe, next((folder / "learned").glob("tune-*")))
    drawn = pipe(
        "A <genir-positive> image. A photo of mountains and valleys, take 1",
        negative_prompt="A <genir-negative> image. A photo of mountains and valleys, take 1",
        width=32,
        height=32,
        guidance_scale=5.0,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(seed_of("prompt-0000000", 0)),
    ).images[0]
    row = stage_row(folder, "generate", ["picture", "seed"])
    assert row["seed"] == seed_of("prompt-0000000", 0)
    assert np.array_equal(np.asarray(drawn), shown_rgb(row["picture"]))


def test_a_photograph_is_spoilt_at_the_papers_strength_from_its_middle(
    made: Any, sdxl: Path, photographs: Path
) -> None:
    row = stage_row(made[0], "spoil", ["positive", "negative", "spoilt_by"])
    assert row["spoilt_by"] in words("spoiling")["prompts"]
    whole = Image.open(photographs / "0.png")  # 40x48
    square = whole.resize((32, 38), Image.Resampling.LANCZOS).crop((0, 3, 32, 35))
    assert np.array_equal(np.asarray(square), shown_rgb(row["positive"]))
    spoilt = StableDiffusionXLImg2ImgPipeline.from_pretrained(sdxl)(
        row["spoilt_by"],
        image=square,
        strength=0.6,
        num_inference_steps=2,
        guidance_scale=7.5,
        generator=torch.Generator().manual_seed(seed_of("0.png", 0)),
    ).images[0]
    assert np.array_equal(np.asarray(spoilt), shown_rgb(row["negative"]))


def test_without_a_folder_it_says_that_the_authors_pictures_are_not_published() -> None:
    with pytest.raises(
        DatasetError, match=r"million .* is not published: make some by `ggt-hub curate run genir`"
    ):
        ggt_hub.load_dataset("genir")


def test_the_funnel_says_where_every_row_went(made: Any) -> None:
    folder, counts, _ = made
    assert counts["caption"] == Count("caption", 6, 6)
    assert counts["check-prompts"] == Count("check-prompts", 12, 11, {"breaks a rule": 1})
    inspected = counts["inspect"]
    assert inspected.dropped == {"inspection: privacy": 1, "no verdict": 1}
    funnel = json.loads((folder / "funnel.json").read_text())
    assert [one["stage"] for one in funnel] == [
        "gather", "caption", "spoil", "write-prompts", "check-prompts", "generate", "filter", "inspect", "unlike",
    ]  # fmt: skip
    for one in funnel:
        left = one["kept"] + sum(one["dropped"].values()) + sum(one["later"].values())
        assert left == one["rows"]


def test_the_card_says_how_far_privacy_was_checked(made: Any) -> None:
    card = (made[0] / "README.md").read_text()
    for phrase in (
        "privacy-safe",
        "read against the same rules a second time by `words`",
        "inspected by `eyes`",
    ):
        assert phrase in " ".join(card.split())
    assert "paired" not in card.split("## Columns")[0].split("---")[2]
    assert yaml.safe_load((made[0] / "run.yaml").read_text())["stages"][1] == {"caption": {}}


def test_pairs_are_made_of_it(made: Any, tmp_path: Path) -> None:
    arguments = [
        "data",
        "make",
        "noise",
        "--clean",
        str(made[0]),
        "--count",
        "2",
        "-o",
        str(tmp_path / "pairs"),
    ]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    pairs = ggt_hub.load_dataset(str(tmp_path / "pairs"), split="train")
    assert len(pairs) == 2 and pairs[0]["source"] == "genir"


def test_a_run_that_is_done_asks_and_makes_nothing(
    made: Any, sdxl: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made[0]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    answers = Answers()
    counts = make(folder.parent, sdxl, photographs, answers)
    assert not answers.asked
    assert counts == made[1]
    ours = [path for path in before if path.suffix in (".arrow", ".parquet", ".safetensors")]
    assert len(ours) > 20
    assert {path: path.stat().st_mtime_ns for path in ours} == {path: before[path] for path in ours}


def test_another_configuration_or_source_is_refused_and_nothing_is_touched(
    made: Any, sdxl: Path, photographs: Path, tmp_path: Path
) -> None:
    folder = made[0]
    before = (folder / "run.yaml").read_bytes()
    path = write_configuration(tmp_path, sdxl, "http://localhost:1/v1")
    other = load_configuration(path, {"generate.steps": "3"})
    with pytest.raises(
        CurationError, match=r"of another run: stages\[8\]\.generate\.steps is 2 there, and 3 here"
    ):
        run(other, str(photographs), folder, {})
    with pytest.raises(CurationError, match="of another run: source is"):
        run(load_configuration(path), "elsewhere", folder, {})
    assert (folder / "run.yaml").read_bytes() == before


def test_the_budget_ends_a_run_and_more_lets_it_go_on_with_the_same_bytes(
    made: Any, sdxl: Path, photographs: Path, tmp_path: Path
) -> None:
    answers = Answers(**made[2].special)
    with pytest.raises(JudgeError, match="budget of 8 calls is spent"):
        make(tmp_path, sdxl, photographs, answers, max_calls=8)
    assert sum(answers.asked.values()) == 8
    make(tmp_path, sdxl, photographs, answers, max_calls=30)
    assert answers.asked == made[2].asked
    tables = sorted(path.relative_to(made[0]) for path in (made[0] / "data").rglob("*.parquet"))
    # Which of the pictures is refused depends on who is asked first, so these are compared up to there.
    inside = [
        path for path in (made[0] / ".ggt-hub/curation").rglob("*.arrow") if path.parent.name == "generate"
    ]
    assert tables and len(inside) == 3
    for path in inside:
        assert (tmp_path / "out" / path.relative_to(made[0])).read_bytes() == path.read_bytes()


def test_what_may_have_been_billed_waits_and_is_asked_on_demand(
    sdxl: Path, photographs: Path, tmp_path: Path
) -> None:
    answers = Answers(caption={1: "disconnect"}, inspect={3: 504})
    counts = make(tmp_path, sdxl, photographs, answers)
    assert counts["caption"].later == counts["inspect"].later == {"possibly billed": 1}
    kept = counts["unlike"].kept
    assert make(tmp_path, sdxl, photographs, answers)["caption"].later == {"possibly billed": 1}
    assert answers.asked == QUESTIONS
    again = make(tmp_path, sdxl, photographs, answers, ask_again=True)
    assert not any(count.later for count in again.values())
    # With the last caption training has another pair, so all is drawn, and inspected, anew.
    assert answers.asked["caption"] == QUESTIONS["caption"] + 1
    assert again["unlike"].kept == kept + 1


KILLED = """
import sys
from pathlib import Path
from ggt_hub.curation.askers import open_askers
from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.run import run
from ggt_hub.vlm import Ledger
configuration, folder = load_configuration(sys.argv[1]), Path(sys.argv[3])
askers = open_askers(configuration, folder / "out", Ledger(folder / "ledger"))
run(configuration, sys.argv[2], folder / "out", askers)
"""


@pytest.mark.parametrize("moment", [("caption", 4), ("inspect", 5)])
def test_a_killed_run_goes_on_and_pays_nothing_twice(
    moment: tuple[str, int], sdxl: Path, photographs: Path, tmp_path: Path
) -> None:
    kind, number = moment
    hanging = dict.fromkeys(range(number, number + 4), ("sleep", 60))
    answers = Answers(**{kind: hanging})
    with ChatServer(answers) as server:
        path = write_configuration(tmp_path, sdxl, server.url)
        arguments = [sys.executable, "-c", KILLED, path, photographs, tmp_path]
        killed = subprocess.Popen(arguments, env=os.environ, stderr=subprocess.PIPE, text=True)
        while answers.asked[kind] < number + 2:  # both workers hang
            assert killed.poll() is None, killed.stderr.read()
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        answers.special = {}
        configuration = load_configuration(path)
        askers = open_askers(configuration, tmp_path / "out", Ledger(tmp_path / "ledger"))
        counts = run(configuration, str(photographs), tmp_path / "out", askers)
    assert {count.stage: count.later for count in counts if count.later} == {kind: {"possibly billed": 2}}
    assert answers.asked == QUESTIONS  # the two that hung were sent, and not again
    bill = askers["caption"].ledger.bill(purse_of(tmp_path / "out", askers["caption"].ledger))
    assert sum(one.requests for one in bill) == sum(QUESTIONS.values())
    assert {one.state: one.requests for one in bill if one.model == "eyes"}["possibly billed"] == 2


def test_two_runs_in_one_folder_are_refused(sdxl: Path, photographs: Path, tmp_path: Path) -> None:
    def meanwhile(body: Any) -> str:
        configuration = load_configuration(tmp_path / "genir.yaml")
        with pytest.raises(BusyError, match="another process is writing"):
            run(configuration, str(photographs), tmp_path / "out", {})
        return 401  # type: ignore[return-value]

    with pytest.raises(JudgeError, match="AuthenticationError"):
        make(tmp_path, sdxl, photographs, meanwhile)
