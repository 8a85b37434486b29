"""The dataset repositories as they are published: cards that pass the Hub's rules, scripts that build them."""

import re
import runpy
from pathlib import Path

import datasets
import pytest
from huggingface_hub import DatasetCard

from ggt_hub.data.sources.ggt_100k import CATEGORIES, REPOSITORY
from ggt_hub.data.sources.realir_bench import REPOSITORY as REALIR_BENCH
from tests.data_sets.layouts import LAYOUTS, pairs, picture

SCRIPTS = Path(__file__).resolve().parents[1] / "dataset_scripts"
NAMES = sorted(path.name for path in SCRIPTS.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_the_card_has_what_the_hub_and_people_ask_for(name):
    card = DatasetCard.load(SCRIPTS / name / "README.md")
    header = card.data.to_dict()
    assert header["task_categories"] == ["image-to-image"]
    assert header["license"] in ("cc-by-nc-nd-4.0", "other")
    assert header["license"] != "other" or {"license_name", "license_link"} <= set(header)
    assert re.fullmatch(r"(n|\d+K)<n?<?\d*[KM]|n<1K", header["size_categories"][0])
    assert sum(bool(config.get("default")) for config in header["configs"]) == 1
    for heading in ("Columns", "How it was made", "Limits", "Licence and removal", "Citation"):
        assert f"\n## {heading}\n" in card.text
    assert "@article{" in card.text
    assert "{{" not in card.text


def test_no_repository_holds_a_script_of_its_own_name():
    assert not [path for path in SCRIPTS.rglob("*.py") if path.stem == path.parent.name]


def build(name: str, *arguments: str) -> None:
    runpy.run_path(str(SCRIPTS / name / "build.py"))["main"](*arguments)


def test_the_index_of_ggt_100k_is_built_and_loads(hub, tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "repository")
    hub.add("dataset", REPOSITORY, tmp_path / "repository", tags=["v1"])
    build("ggt-100k", str(tmp_path / "ggt-100k"), "v1")
    hub.add("dataset", "ggt-hub/ggt-100k", tmp_path / "ggt-100k")
    assert len(datasets.load_dataset("ggt-hub/ggt-100k", split="train")) == len(pairs())
    names = datasets.get_dataset_config_names("ggt-hub/ggt-100k")
    assert names == ["all", "haze", "low_light", "rain"]
    assert set(names) <= {"all", *CATEGORIES}
    text = (tmp_path / "ggt-100k/README.md").read_text()
    assert "This repository holds **no pictures**" in text
    assert "num_examples: 9" in text


def test_realir_bench_is_built_and_loads(hub, tmp_path):
    rows = {
        "image": [{"bytes": picture(n), "path": None} for n in range(3)],
        "task": ["rain", "hazy", "blur"],
    }
    features = datasets.Features({"image": datasets.Image(), "task": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "repository/train.parquet")
    hub.add("dataset", REALIR_BENCH, tmp_path / "repository")
    build("realir-bench", str(tmp_path / "out"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train")
    assert loaded["task"][:] == ["rain", "haze", "blur"]
    assert "must not be uploaded" in (tmp_path / "out/README.md").read_text()
