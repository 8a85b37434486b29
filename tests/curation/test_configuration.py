"""Configurations: what ships, what changes, and what is refused before anything is done."""

from pathlib import Path
from typing import get_args

import pytest

from ggt_hub.curation.askers import estimate, open_askers
from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.run import run
from ggt_hub.curation.stages.diagnose import Category
from ggt_hub.curation.stages.screen import Damage
from ggt_hub.curation.words import words
from ggt_hub.errors import CurationError, DatasetError, JudgeError, RestorerError
from ggt_hub.tasks import TASKS
from ggt_hub.vlm import Ledger, LocalChat
from tests.curation.genir import CONFIGURATION, Answers, write_configuration, write_photographs
from tests.servers.openai_chat import ChatServer


def test_the_preset_has_the_papers_numbers() -> None:
    genir = load_configuration("genir")
    stages = {stage.name: stage for stage in genir.stages}
    assert stages["spoil"].strength == 0.6
    assert stages["spoil"].side == 1024
    assert genir.pictures == "stabilityai/stable-diffusion-xl-base-1.0"


def test_values_are_set_by_their_places() -> None:
    places = {
        "seed": "7",
        "models.vision.price": "[1, 2]",
        "inspect": "{}",
        "generate.steps": "9",
        "unlike": "{}",
    }
    changed = load_configuration(
        "genir", {name: places[name] for name in places if "." in name or name == "seed"}
    )
    stages = {stage.name: stage for stage in changed.stages}
    assert (changed.seed, changed.models["vision"].price, stages["generate"].steps) == (7, (1.0, 2.0), 9)
    assert changed.told()["models"] == load_configuration("genir").told()["models"]  # prices are not recorded


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  - caption\n", "  - captoin\n", r"there is no stage 'captoin', only gather, .*did you mean 'caption'"),
        ("  - caption\n", "", "stage tune needs the column caption, which is not there"),
        ("  - caption\n", "  - {caption: {}, spoil: {}}\n", r"stage 2: write `- name: \{settings\}`"),
        ("  - caption\n", "  - caption: {lenght: 3}\n", "stage caption: there is no field 'lenght'"),
        ("{side: 32, steps: 2}", "{side: 30}", "stage spoil: side: input should be a multiple of 8, not 30"),
        ("  - learn-quality: {crop: 32, steps: 2, batch: 2}\n", "", "filter needs the stage learn-quality"),
        ("  - gather: {smallest: 32}\n", "", "a run begins with one of gather, write-prompts, not with caption"),
        ("  - unlike\n", "  - inspect\n", "the stage inspect stands there twice"),
        ("  - unlike\n  - pack: {rows: 6}", "  - pack\n  - unlike", "pack must be the last stage"),
        ("pictures: SDXL\n", "", "stage spoil needs the entry `pictures`"),
        ("  vision:", "  visoin:", "`models` are vision and language"),
        ("  language: {model: words, url: URL, workers: 2}\n", "", "needs the entry language under `models`"),
        ("slice: 4", "slice: 0", "slice: input should be greater than or equal to 1, not 0"),
        ("stages:\n", "stages: []\nrest:\n", "`stages` must be a list of at least one"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in CONFIGURATION
    (tmp_path / "run.yaml").write_text(CONFIGURATION.replace(old, new))
    with pytest.raises(CurationError, match=message):
        load_configuration(tmp_path / "run.yaml")


def test_an_unknown_preset_or_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match=r"no configuration genri: .*did you mean 'genir'"):
        load_configuration("genri")
    with pytest.raises(
        CurationError, match=r"there is no stage 'inspekt', only gather.*did you mean 'inspect'"
    ):
        load_configuration("genir", {"inspekt.least": "1"})
    with pytest.raises(CurationError, match=r"--set seed.x: there is no such place"):
        load_configuration("genir", {"seed": "3", "seed.x": "1"})


def test_what_can_be_known_to_be_wrong_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    answers, photographs = Answers(), write_photographs(tmp_path / "photographs", 1)
    (tmp_path / "none").mkdir()
    with ChatServer(answers) as server:
        configuration = load_configuration(write_configuration(tmp_path, tmp_path / "none", server.url))
        askers = open_askers(configuration, tmp_path / "out", Ledger(tmp_path / "ledger"))
        with pytest.raises(
            RestorerError, match=r"none is no text-to-image pipeline: it has no model_index\.json"
        ):
            run(configuration, str(photographs), tmp_path / "out", askers)
        (tmp_path / "none/model_index.json").write_text('{"_class_name": "FluxPipeline", "tokenizer": []}')
        with pytest.raises(RestorerError, match="is a FluxPipeline: dual prompts are tuned on"):
            run(configuration, str(photographs), tmp_path / "out", askers)
        for attempt in (
            lambda: estimate(configuration, "missing"),
            lambda: run(configuration, "missing", tmp_path / "out", askers),
        ):
            with pytest.raises(DatasetError, match="no clean pictures in missing"):
                attempt()
        assert not (tmp_path / "out/run.yaml").exists()  # so that the right source is not another one
        with pytest.raises(
            CurationError, match=r"limits nothing where vision has no price: give --set models\.vision"
        ):
            open_askers(configuration, tmp_path / "out", Ledger(":memory:"), max_cost=1)
    assert not answers.asked
    other = load_configuration(tmp_path / "genir.yaml", {"models.language.url": "localhost:80"})
    with pytest.raises(JudgeError, match="is no address of a server"):
        open_askers(other, tmp_path / "out", Ledger(":memory:"))


def test_what_is_not_installed_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photographs = write_photographs(tmp_path / "photographs", 1)
    monkeypatch.setattr("ggt_hub.curation.stages.tune.find_spec", lambda name: None)
    with pytest.raises(CurationError, match=r"stage tune needs peft: pip install 'ggt-hub\[curation\]'"):
        run(load_configuration("genir"), str(photographs), tmp_path / "out", {})


def test_models_run_here_unless_a_server_is_named(tmp_path: Path) -> None:
    askers = open_askers(load_configuration("genir"), tmp_path, Ledger(":memory:"))
    assert {name: type(asker.service) for name, asker in askers.items()} == dict.fromkeys(
        ("caption", "write-prompts", "check-prompts", "inspect"), LocalChat
    )
    assert askers["write-prompts"].service.parameters == {"temperature": 1, "max_tokens": 1024}
    assert askers["inspect"].service.parameters == {"temperature": 0, "max_tokens": 128}


def test_an_estimate_is_of_what_would_be_asked_at_most(tmp_path: Path) -> None:
    photographs = write_photographs(tmp_path / "photographs", 3)
    (tmp_path / "run.yaml").write_text(CONFIGURATION.replace("URL, workers: 2}", "URL, price: [1, 10]}", 1))
    found = estimate(load_configuration(tmp_path / "run.yaml"), str(photographs))
    assert [(one.stage, one.questions) for one in found] == [
        ("caption", 3), ("write-prompts", 3), ("check-prompts", 3), ("inspect", 12),
    ]  # fmt: skip
    # 1500 tokens at 1 a million, and 128 at 10
    assert found[0].cost == pytest.approx(3 * 0.00278)
    assert found[1].cost == 0


@pytest.mark.parametrize("name", ["ggt", "harnessir", "realrestorer-real"])
def test_presets_of_pairs_have_all_that_their_stages_need(name: str) -> None:
    stages = {stage.name: stage for stage in load_configuration(name).stages}
    assert list(stages)[-1] == "pack-pairs"
    assert {"unlike", "apart", "register", "gate", "judge"} <= set(stages)


def test_all_categories_are_known_to_every_stage_that_has_rules_for_them() -> None:
    known = set(TASKS)
    assert {*get_args(Category)} - {"clean", "reject"} <= known
    assert set(words("resemblance")["prompts"]) == set(get_args(Damage))
    for text, parts in (("judging", ("categories", "rules")), ("instructions", ("fixed", "colour"))):
        for part in parts:
            assert set(words(text)[part]) == known


def test_the_stated_rule_is_the_preset_of_ggt() -> None:
    (judge,) = (stage for stage in load_configuration("ggt").stages if stage.name == "judge")
    assert (judge.removed, judge.faithful) == (60, 80)
