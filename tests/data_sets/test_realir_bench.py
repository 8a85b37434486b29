"""RealIR-Bench: whatever its columns are called, from Arrow, Parquet or folders."""

import hashlib
import io

import datasets
import numpy as np
import pytest
from PIL import Image

from ggt_hub import iter_pairs, load_dataset
from ggt_hub.data.sources.realir_bench import REPOSITORY
from ggt_hub.errors import DatasetError, HubError
from tests.data_sets.layouts import picture

FOLDERS = ("blur", "compression", "demoire", "noise", "deflare", "hazy", "lowlight", "rain", "reflection")
TASKS = ("blur", "compression", "moire", "noise", "flare", "haze", "low_light", "rain", "reflection")


def image(seed: int) -> Image.Image:
    return Image.open(io.BytesIO(picture(seed)))


COLUMNS = {
    "plain": {"image": image, "task": lambda n: FOLDERS[n]},
    "class labels": {"img": image, "label": lambda n: n},
    "a task column of any name": {"picture": image, "kind_of_damage": lambda n: FOLDERS[n]},
    "instructions in two languages": {
        "input": image,
        "category": lambda n: FOLDERS[n],
        "instruction_en": lambda n: f"Please fix {n}.",
        "instruction_zh": lambda n: f"请修复 {n}。",
        "image_name": lambda n: f"{n:03d}.jpg",
        "difficulty": lambda n: n / 2,
    },
}


def table(kind: str) -> datasets.Dataset:
    columns = {name: [value(n) for n in range(9)] for name, value in COLUMNS[kind].items()}
    made = datasets.Dataset.from_dict(columns)
    made = made.cast_column(next(iter(columns)), datasets.Image())
    if kind == "class labels":
        made = made.cast_column("label", datasets.ClassLabel(names=list(FOLDERS)))
    return made


def check(rows) -> None:
    assert [row["task"] for row in rows] == list(TASKS)
    assert len({row["id"] for row in rows}) == 9
    for number, pair in enumerate(iter_pairs(rows)):
        assert np.array_equal(pair["lq"], np.asarray(image(number)))
        assert pair["gt"] is None
        assert pair["source"] == "realir-bench"


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_columns_are_recognised_by_type_and_name(kind, form, hub, tmp_path):
    if form == "arrow":
        table(kind).save_to_disk(tmp_path / "repository")
    else:
        table(kind).to_parquet(tmp_path / "repository/data/train-00000-of-00001.parquet")
    hub.add("dataset", REPOSITORY, tmp_path / "repository")
    rows = load_dataset("realir-bench", split="train")
    check(rows)
    check(list_dataset(load_dataset("realir-bench", split="train", streaming=True)))


def list_dataset(stream) -> datasets.Dataset:
    return datasets.Dataset.from_list(list(stream.decode(False)), stream.features)


def test_everything_else_that_is_known_is_kept(tmp_path):
    table("instructions in two languages").to_parquet(tmp_path / "x.parquet")
    rows = load_dataset("realir-bench", split="train", data_dir=str(tmp_path))
    assert (rows[3]["prompt"], rows[3]["id"]) == ("Please fix 3.", "003.jpg")
    assert rows[3]["meta"] == '{"instruction_zh": "请修复 3。", "difficulty": 1.5}'
    data = rows.cast_column("lq", datasets.Image(decode=False))[3]["lq"]["bytes"]
    assert rows[3]["lq_sha256"] == hashlib.sha256(data).hexdigest()


def test_a_folder_for_each_task(tmp_path):
    for number, folder in enumerate(FOLDERS):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(picture(number))
    rows = load_dataset("realir-bench", split="train", data_dir=str(tmp_path))
    assert {row["id"]: row["task"] for row in rows} == {
        f"{folder}/1": task for folder, task in zip(FOLDERS, TASKS, strict=True)
    }


def test_tables_without_pictures_say_what_was_found(tmp_path):
    datasets.Dataset.from_dict({"url": ["x"], "score": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DatasetError, match=r"no column holds pictures .* url \(string\), score \(int64\)"):
        load_dataset("realir-bench", data_dir=str(tmp_path))


def test_an_empty_folder_says_so(tmp_path):
    with pytest.raises(DatasetError, match="neither Parquet nor Arrow files nor pictures"):
        load_dataset("realir-bench", data_dir=str(tmp_path))


def test_cut_connections_are_resumed_and_wrong_bytes_found(hub, tmp_path):
    table("plain").to_parquet(tmp_path / "repository/data/train-00000-of-00001.parquet")
    hub.add("dataset", REPOSITORY, tmp_path / "repository")
    hub.break_next("Signature", flip_byte=True)
    with pytest.raises(HubError, match="wrong bytes"):
        load_dataset("realir-bench", split="train")
    hub.break_next("Signature", drop_after=4000)
    check(load_dataset("realir-bench", split="train"))
