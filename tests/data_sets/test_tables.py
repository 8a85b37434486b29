"""Tables and tars of other people: sides decided or refused, ids unique, read by everything that reads pairs."""

import io
import json
import tarfile

import datasets
import numpy as np
import pytest

from ggt_hub import iter_pairs, load_dataset
from ggt_hub.data.reading.opening import open_parts, open_splits
from ggt_hub.data.recognising.told import Told
from ggt_hub.data.work.describing import describe_source
from ggt_hub.data.work.export import export
from ggt_hub.data.work.verify import verify
from ggt_hub.errors import DatasetError
from tests.cli.test_data import run
from tests.data_sets.layouts import picture


def table(folder, name="train", **columns):
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {key: datasets.Image() for key, values in columns.items() if isinstance(values[0], bytes)}
    rows = [
        {
            key: {"bytes": value, "path": None} if isinstance(value, bytes) else value
            for key, value in zip(columns, row, strict=True)
        }
        for row in zip(*columns.values(), strict=True)
    ]
    made = datasets.Dataset.from_list(rows)
    for key, kind in kinds.items():
        made = made.cast_column(key, kind)
    made.to_parquet(folder / f"{name}.parquet")
    return folder


LQ, GT = [picture(n) for n in range(3)], [picture(n + 1000) for n in range(3)]


def check(source, tmp_path, **options):
    """Everything that reads pairs gives these three."""
    rows = open_splits(source, **options)["train"]
    found = list(iter_pairs(rows))
    decoded = [np.asarray(_image(data)) for data in (*LQ, *GT)]
    assert [pair["lq"].tobytes() for pair in found] == [pixels.tobytes() for pixels in decoded[:3]]
    assert [pair["gt"].tobytes() for pair in found] == [pixels.tobytes() for pixels in decoded[3:]]
    assert len({pair["id"] for pair in found}) == 3
    parts, _ = open_parts(source, **options)
    assert verify(parts["train"], tmp_path / "verified").is_good
    (report,) = export({"train": rows}, tmp_path / "out")
    assert report["rows"] == 3
    return found


def _image(data):
    from PIL import Image

    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("lq", "gt"), [("input", "target"), ("degraded", "clean"), ("LR", "HR"), ("image", "ground_truth")]
)
def test_tables_with_other_column_names_work_everywhere(lq, gt, tmp_path):
    source = str(table(tmp_path / "t", **{gt: GT, lq: LQ, "category": ["hazy", "rainy", "fog"]}))
    found = check(source, tmp_path)
    assert [pair["task"] for pair in found] == ["haze", "rain", "haze"]
    assert describe_source(source)["columns"] == {
        "lq": lq,
        "gt": gt,
        "task": "category",
        "prompt": None,
        "id": None,
    }
    assert len(load_dataset("pairs", data_dir=source, split="train")) == 3


@pytest.mark.parametrize(
    "columns", [{"restored": LQ}, {"restored": LQ, "gt": GT}, {"a": LQ, "b": GT}, {"sr": LQ}]
)
def test_a_column_that_is_no_low_quality_picture_for_certain_is_refused_until_told(columns, tmp_path):
    source = str(table(tmp_path / "t", **columns))
    with pytest.raises(DatasetError, match=r"nothing says which of the columns .* is the low-quality one"):
        open_splits(source)
    first, *others = columns
    told = Told(lq=first, gt=others[0] if others else None)
    assert len(open_splits(source, told=told)["train"]) == 3
    with pytest.raises(DatasetError, match="there is no column of pictures 'nope'"):
        open_splits(source, told=Told(lq="nope"))
    with pytest.raises(DatasetError, match="include cannot be told, only lq and gt"):
        open_splits(source, told=Told(lq=first, include="x"))


@pytest.mark.parametrize(
    ("names", "tasks", "wanted"),
    [
        (["1", "2", "3"], ["rain", "rain", "haze"], ["1", "2", "3"]),
        (["1", "2", "1"], ["rain", "rain", "haze"], ["rain/1", "rain/2", "haze/1"]),
        (["1", "1", "1"], ["rain", "rain", "haze"], ["train-0000-00", "train-0000-01", "train-0000-02"]),
    ],
)
def test_ids_are_unique_though_names_begin_again_with_each_task(names, tasks, wanted, tmp_path):
    source = str(table(tmp_path / "t", image=LQ, image_name=names, task=tasks))
    for name in ("pairs", "realir-bench"):
        assert load_dataset(name, data_dir=source, split="train")["id"][:] == wanted


def test_ids_are_unique_across_files(tmp_path):
    for name in ("rain", "haze"):
        table(tmp_path / "t", name, image=LQ, image_name=["1", "2", "3"])
    rows = load_dataset("realir-bench", data_dir=str(tmp_path / "t"), split="train")
    assert len(set(rows["id"])) == 6


def test_pictures_of_one_stem_have_ids_of_their_own(tmp_path):
    (tmp_path / "t/rain").mkdir(parents=True)
    for name in ("1.png", "1.webp", "2.png"):
        (tmp_path / "t/rain" / name).write_bytes(picture(1))
    rows = load_dataset("realir-bench", data_dir=str(tmp_path / "t"), split="train")
    assert sorted(rows["id"]) == ["rain/1.png", "rain/1.webp", "rain/2"]


def test_describe_shows_what_the_columns_are(tmp_path):
    text = run("describe", table(tmp_path / "t", target=GT, input=LQ, prompt=["a", "b", "c"]))
    assert "3 rows in 1 tables" in text
    assert "lq: column input, gt: column target, prompt: column prompt" in text


def tar(path, count=3, **further):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for n in range(count):
            about = json.dumps({"task": "rain", "prompt": f"p{n}"}).encode()
            for name, data in (("lq.png", LQ[n]), ("gt.png", GT[n]), ("json", about), *further.items()):
                entry = tarfile.TarInfo(f"{n:06d}.{name}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))


def test_webdataset_archives_on_disk_are_read_in_place(tmp_path):
    tar(tmp_path / "t/train-0000.tar")
    found = check(str(tmp_path / "t"), tmp_path)
    assert [(pair["task"], pair["prompt"]) for pair in found] == [("rain", f"p{n}") for n in range(3)]
    rows = load_dataset(str(tmp_path / "t"), split="train")
    assert np.asarray(rows[0]["gt"]).tobytes() == np.asarray(_image(GT[0])).tobytes()  # by the stock library


def test_a_tar_that_is_cut_off_or_none_is_named(tmp_path):
    tar(tmp_path / "t/train.tar")
    whole = (tmp_path / "t/train.tar").read_bytes()
    (tmp_path / "t/train.tar").write_bytes(whole[:5000])
    with pytest.raises(DatasetError, match="train"):
        open_splits(str(tmp_path / "t"))
    (tmp_path / "t/train.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DatasetError, match=r"train\.tar.*not a readable tar archive"):
        open_splits(str(tmp_path / "t"))


def test_an_image_folder_with_metadata_of_pairs_works_everywhere(tmp_path):
    for n in range(3):
        for side, data in (("a", LQ[n]), ("b", GT[n])):
            (tmp_path / "t" / side).mkdir(parents=True, exist_ok=True)
            (tmp_path / "t" / side / f"{n}.png").write_bytes(data)
    lines = [
        json.dumps({"lq_file_name": f"a/{n}.png", "gt_file_name": f"b/{n}.png", "task": "rain"})
        for n in range(3)
    ]
    (tmp_path / "t/metadata.jsonl").write_text("\n".join(lines))
    assert [pair["task"] for pair in check(str(tmp_path / "t"), tmp_path)] == ["rain"] * 3


def test_describe_counts_tasks_and_shows_how_quality_is_spread(tmp_path):
    folder = table(tmp_path / "t", lq=LQ, gt=GT, task=["rain", "rain", "odd"], quality=[0.25, 0.75, 0.5])
    found = describe_source(str(folder))
    assert found["tasks"] == {"rain": 2, "unknown": 1}
    assert found["quality"] == {"known": 3, "unknown": 0, "quartiles": [0.25, 0.375, 0.5, 0.625, 0.75]}
    assert "tasks: rain 2, unknown 1" in run("describe", folder)


def test_describe_shows_sizes_and_scales(tmp_path):
    for n, (small, large) in enumerate([(16, 16), (16, 32), (8, 16)]):
        for side, size in (("lq", small), ("gt", large)):
            (tmp_path / "t" / side).mkdir(parents=True, exist_ok=True)
            (tmp_path / "t" / side / f"{n}.png").write_bytes(picture(n, size))
    found = describe_source(str(tmp_path / "t"))["sizes"]
    assert found["lq"] == {"smallest": (8, 8), "median": (16, 16), "largest": (16, 16)}
    assert (found["looked_at"], found["scales"]) == (3, {1.0: 1, 2.0: 2})
    text = run("describe", tmp_path / "t")
    assert "sizes of 3 gt: smallest 16x16, median 16x16, largest 32x32" in text
    assert "gt is so many times as wide as lq: 1 1, 2 2" in text
