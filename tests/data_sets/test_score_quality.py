"""Data sets that say how good their ground truths are: the same rows and bytes, and two more facts."""

import json

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.data.reading.mixture import Damage, Mixture
from ggt_hub.data.reading.opening import open_parts
from ggt_hub.data.reading.picture_sources import open_source
from ggt_hub.data.work.export import check_sums
from ggt_hub.data.work.verify import verify
from ggt_hub.degradations import load_preset
from ggt_hub.errors import DatasetError
from ggt_hub.metrics import compute
from ggt_hub.metrics.quality import quality, read_scale, shipped_scale
from tests.data_sets.test_export import contents
from tests.metrics.golden import noisy
from tests.photographs import photograph


def call(*arguments, code=0):
    outcome = CliRunner().invoke(app, ["data", "score-quality", *map(str, arguments)], env={"COLUMNS": "200"})
    assert outcome.exit_code == code, outcome.output
    return outcome.output


@pytest.fixture
def pairs(tmp_path):
    """Three pairs whose ground truths differ in noise, one of them too small to be judged."""
    for side in ("lq", "gt"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
    for name, picture in {
        "a": photograph(96),
        "b": noisy(photograph(96), 30),
        "c": photograph(64)[:12, :12],
    }.items():
        Image.fromarray(picture).save(tmp_path / f"pairs/gt/{name}.png")
        Image.fromarray(noisy(picture, 5)).save(tmp_path / f"pairs/lq/{name}.png")
    return tmp_path / "pairs"


def rows_of(folder):
    return pq.read_table(next(folder.glob("data/default/*.parquet"))).to_pylist()


def test_rows_get_quality_and_scores_and_keep_their_bytes(pairs, tmp_path):
    said = call(pairs, "-o", tmp_path / "out", code=1)
    assert "3 pairs, the quality of 2 by piqe, brisque" in said
    assert "no quality: c: PIQE needs a picture of 16 pixels" in said
    rows = {row["id"]: row for row in rows_of(tmp_path / "out")}
    assert rows["c"]["quality"] is None and "quality" not in json.loads(rows["c"]["meta"])
    for name in ("a", "b"):
        file = pairs / f"gt/{name}.png"
        assert rows[name]["gt"]["bytes"] == file.read_bytes()
        scores = compute(["piqe", "brisque"], [np.asarray(Image.open(file))])
        told = json.loads(rows[name]["meta"])["quality"]
        assert told == {expert: pytest.approx(float(of_one[0])) for expert, of_one in scores.items()}
        assert rows[name]["quality"] == quality(told, shipped_scale())
    assert rows["a"]["quality"] > rows["b"]["quality"] + 0.3
    assert read_scale(tmp_path / "out/quality.json") == shipped_scale()
    parts, folder = open_parts(str(tmp_path / "out"))
    assert verify(parts["train"], tmp_path / "v").problems == [] and check_sums(folder) == []
    stock = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert stock.features["quality"].dtype == "float64"
    assert "| `quality` |" in (tmp_path / "out/README.md").read_text()


def test_a_repeat_scores_nothing_again_and_another_scale_only_writes_again(pairs, tmp_path, monkeypatch):
    call(pairs, "-o", tmp_path / "out", code=1)
    before = contents(tmp_path / "out")
    monkeypatch.setattr("ggt_hub.data.work.score_quality.expert_scores", None)  # a call would fail
    call(pairs, "-o", tmp_path / "out", code=1)
    assert contents(tmp_path / "out") == before
    (tmp_path / "my.json").write_text('{"piqe": {"worst": 100, "best": 0}}')
    call(pairs, "-o", tmp_path / "out", "--scale", tmp_path / "my.json", code=1)
    (row, *_) = rows_of(tmp_path / "out")
    told = json.loads(row["meta"])["quality"]
    assert row["quality"] == quality(told, shipped_scale() | read_scale(tmp_path / "my.json"))


def test_an_expert_without_a_scale_gets_that_of_the_pictures(tmp_path):
    (tmp_path / "photos").mkdir()
    for sigma in (2, 10, 40):
        picture = noisy(photograph(128), sigma)
        Image.fromarray(picture).save(tmp_path / f"photos/{sigma:02d}.png")
    call(tmp_path / "photos", "-o", tmp_path / "out", "--expert", "niqe")
    rows = rows_of(tmp_path / "out")
    scores = [json.loads(row["meta"])["quality"]["niqe"] for row in rows]
    low, high = np.percentile(scores, [5, 95])
    assert [row["quality"] for row in rows] == pytest.approx(np.clip((high - scores) / (high - low), 0, 1))
    assert [row["id"] for row in rows] == ["02.png", "10.png", "40.png"]
    assert all(row["lq"] is None and row["source"] == "photos" for row in rows)


def test_the_source_is_never_written_into_and_experts_are_checked_first(pairs, tmp_path):
    before = contents(pairs)
    outcome = CliRunner().invoke(app, ["data", "score-quality", str(pairs), "-o", str(pairs)])
    assert outcome.exit_code != 0 and contents(pairs) == before
    outcome = CliRunner().invoke(app, ["data", "score-quality", str(pairs), "-o", "x", "--expert", "psnr"])
    assert "psnr compares with a reference" in str(outcome.exception)


def test_a_mixture_tells_the_quality_and_one_without_says_what_writes_it(pairs, tmp_path):
    call(pairs, "-o", tmp_path / "out", code=1)
    told = {row["quality"] for row in rows_of(tmp_path / "out")} - {None}
    scored = Mixture([(open_source(tmp_path / "out"), 1)], {}, crop=8, seed=0, needs_quality=True)
    with pytest.warns(UserWarning, match="of .*out: c: its quality is not known"):
        assert {scored[n].known_quality for n in range(12)} == told
    any_quality = Mixture([(open_source(tmp_path / "out"), 1)], {}, crop=8, seed=0)
    assert {any_quality[n].quality for n in range(12)} == told | {None}
    plain = Mixture([(open_source(pairs), 1)], {}, crop=32, seed=0)
    with pytest.raises(DatasetError, match=r"score-quality .*pairs --output DIR` writes"):
        _ = plain[0].known_quality
    with pytest.raises(DatasetError, match=r"pairs does not say how good its pictures are"):
        Mixture([(open_source(pairs), 1)], {}, crop=8, seed=0, needs_quality=True)


def test_clean_pictures_that_are_damaged_keep_the_quality_of_their_target(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(photograph(96)).save(tmp_path / "photos/a.png")
    call(tmp_path / "photos", "-o", tmp_path / "out")
    damage = {"noise": Damage(1, load_preset("noise"))}
    mixture = Mixture([(open_source(tmp_path / "out"), 1)], damage, crop=32, seed=0, needs_quality=True)
    (row,) = rows_of(tmp_path / "out")
    assert mixture[0].group == "noise" and mixture[0].known_quality == row["quality"]
    with pytest.raises(DatasetError, match="photos does not say how good"):
        Mixture([(open_source(tmp_path / "photos"), 1)], damage, crop=32, seed=0, needs_quality=True)
