"""Streams among the sources of a mixture: read in order, gone on with exactly, shared out among processes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ggt_hub.data.pairs import PAIR_FEATURES, pair_row
from ggt_hub.data.reading.mixture import Damage, Mixture
from ggt_hub.data.reading.picture_sources import STREAM, Stream, open_source, open_stream
from ggt_hub.data.work.export import write_rows
from ggt_hub.degradations.presets import load_preset
from ggt_hub.errors import DatasetError
from ggt_hub.images import encode_image, read_image
from ggt_hub.training import load_recipe, plan, train
from ggt_hub.training import run as module
from tests.photographs import photograph

COUNT, SIDE = 12, 48


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` waits five seconds after each epoch."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)


def level(number: int) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), 10 * number, np.uint8)


def png(pixels: np.ndarray) -> dict[str, Any]:
    return {"bytes": encode_image(read_image(pixels), ".png").data, "path": "a.png"}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Two Parquet files of six pairs; each is one level of grey, by which it is known."""
    (tmp_path / "tables").mkdir()
    for part in range(2):
        rows = [
            pair_row(f"{n:02d}", png(level(n)), png(level(n)), source="x", task="rain")
            for n in range(6 * part, 6 * part + 6)
        ]
        write_rows(tmp_path / f"tables/train-{part:05d}-of-00002.parquet", rows, PAIR_FEATURES)
    return tmp_path / "tables"


def number_of(pixels: np.ndarray) -> int:
    return int(pixels[0, 0, 0]) // 10


def numbers(stream: Stream, count: int) -> list[int]:
    return [number_of(stream.read().gt) for _ in range(count)]


def test_each_pair_comes_once_in_each_epoch_in_another_order(tables: Path) -> None:
    stream = open_stream(str(tables), seed=3)
    first, second = numbers(stream, COUNT), numbers(stream, COUNT)
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert first != second and first != sorted(first)
    assert numbers(open_stream(str(tables), seed=3), COUNT) == first
    found = stream.read()
    assert (found.task, stream.is_clean, stream.tells_quality) == ("rain", False, False)


@pytest.mark.parametrize("done", [0, 5, COUNT, COUNT + 7])
def test_a_stream_goes_on_where_another_one_was(done: int, tables: Path) -> None:
    whole = open_stream(str(tables), seed=1)
    numbers(whole, done)
    state = json.loads(json.dumps(whole.state_dict()))
    other = open_stream(str(tables), seed=1)
    other.load_state_dict(state)
    assert numbers(other, COUNT + 3) == numbers(whole, COUNT + 3)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_read_shares_that_do_not_meet(processes: int, tables: Path) -> None:
    """Two files are shared out whole among two, pair by pair among three."""
    shares = [
        numbers(open_stream(str(tables), 0, process, processes), COUNT // processes)
        for process in range(processes)
    ]
    assert sorted(chain(*shares)) == list(range(COUNT))


def test_shares_count_for_streams_and_bad_pairs_are_left_out(tables: Path, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    Image.fromarray(photograph(96)).save(tmp_path / "clean/a.png")
    broken = [
        pair_row("small", png(level(0)[:8, :8]), png(level(0)[:8, :8]), source="x"),
        pair_row("cut", {"bytes": b"no picture", "path": "a.png"}, png(level(1)), source="x"),
        pair_row("good", png(level(2)), png(level(2)), source="x"),
    ]
    write_rows(tmp_path / "broken.parquet", broken, PAIR_FEATURES)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken.parquet").rename(tmp_path / "broken/train.parquet")
    clean = open_source(tmp_path / "clean")
    noise = {"noise": Damage(1.0, load_preset("noise"))}
    stream = open_stream(str(tmp_path / "broken"), 0)
    mixture = Mixture([(clean, 1), (stream, 3)], noise, crop=32, seed=0)
    assert mixture.streams == [stream]
    with pytest.warns(UserWarning, match="that is skipped"):
        examples = [mixture[n] for n in range(80)]
    streamed = [one for one in examples if one.source == f"{STREAM}{tmp_path / 'broken'}"]
    assert abs(len(streamed) - 60) < 3 * np.sqrt(80 * 0.75 * 0.25)
    assert {round(float(one.gt.mean()) * 255) for one in streamed} == {20}
    assert len(mixture.skipped) == 2 and (f"{STREAM}{tmp_path / 'broken'}", "small") in mixture.skipped


def test_streams_that_are_none(tmp_path: Path, tables: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere cannot be streamed"):
        open_stream(str(tmp_path / "nowhere"), 0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match=r"other has no pairs, only the columns a, b: a stream"):
        open_stream(str(tmp_path / "other"), 0)
    small = Mixture([(open_stream(str(tables), 0), 1)], {}, crop=64, seed=0)
    with pytest.raises(DatasetError, match=r"none of 1000 pairs of stream:.* in a row can be used"):
        small[0]


# By task


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Two files: nine pairs of rain, two of haze, and one of a task that nobody knows."""
    (tmp_path / "tasks").mkdir()
    named = ["rain"] * 6 + ["rain", "haze", "rain", "haze", "rain", "scratches"]
    for part in range(2):
        numbered = [*enumerate(named)][6 * part : 6 * part + 6]
        rows = [
            pair_row(f"{n:02d}", png(level(n)), png(level(n)), source="x", task=task) for n, task in numbered
        ]
        write_rows(tmp_path / f"tasks/train-{part:05d}-of-00002.parquet", rows, PAIR_FEATURES)
    return tmp_path / "tasks"


def test_a_stream_knows_its_tasks_from_their_column_alone(tasks: Path) -> None:
    stream = open_stream(str(tasks), 0)
    assert stream.tasks == ["general", "haze", "rain"]
    assert stream._column is not None and stream._column().column_names == ["task"]


def test_tasks_of_a_stream_are_drawn_equally_each_in_an_order_of_its_own(tasks: Path) -> None:
    """Within three deviations of 90 draws. Of nine pairs of rain each comes once before one comes again."""
    mixture = Mixture([(open_stream(str(tasks), 3), 1)], {}, crop=32, seed=0, balanced=True)
    mixture.check()
    drawn = [mixture[number] for number in range(90)]
    of = {task: [number_of(one.gt * 255) for one in drawn if one.task == task] for task in ("rain", "haze")}
    for found in of.values():
        assert abs(len(found) - 30) < 3 * np.sqrt(90 * 2 / 9)
    assert sorted(of["rain"][:9]) == sorted(of["rain"][9:18]) == [0, 1, 2, 3, 4, 5, 6, 8, 10]
    assert of["rain"][:9] != of["rain"][9:18]
    assert {*of["haze"][::2], *of["haze"][1::2]} == {7, 9} and {*of["haze"][:2]} == {7, 9}


def test_a_balanced_stream_goes_on_where_another_one_was(tasks: Path) -> None:
    def opened() -> tuple[Stream, Mixture]:
        stream = open_stream(str(tasks), 3)
        return stream, Mixture([(stream, 1)], {}, crop=32, seed=0, balanced=True)

    whole, mixture = opened()
    for number in range(17):
        mixture[number]
    other, again = opened()
    other.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    for number in range(17, 40):
        assert np.array_equal(again[number].gt, mixture[number].gt)


def test_a_share_without_a_task_says_so(tasks: Path) -> None:
    """The first of two files has rain alone."""
    shares = [open_stream(str(tasks), 0, process, 2) for process in range(2)]
    (without,) = [one for one in shares if one.read("haze") is None]
    mixture = Mixture([(without, 1)], {}, crop=32, seed=0, balanced=True)
    with pytest.raises(DatasetError, match=r"share of stream:.* has no pairs of general: take fewer workers"):
        mixture.check()


# In a run


@pytest.fixture
def recipe(tables: Path) -> Any:
    tiny = {"channels": [8, 8, 8], "blocks": [1, 1, 1], "condition_width": 8}
    recipe = replace(load_recipe("compact"), model=tiny, ema_decay=0.5, save_minutes=0.0)
    (stage,) = recipe.stages
    stage = replace(stage, data={f"{STREAM}{tables}": 1.0}, groups={}, crop=32, batch=2, warmup_steps=0)
    return replace(recipe, stages=(replace(stage, steps=4), replace(stage, steps=5, batch=1)))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The pairs of each batch that is learned from."""
    update, found = module._Run._update, list[int]()

    def watched(run: module._Run, batch: list[dict[str, torch.Tensor]], *rest: Any) -> None:
        if run.step == 6 and not (run.output / "go on").exists():
            raise KeyboardInterrupt
        found.extend((torch.cat([piece["gt"][:, 0, 0, 0] for piece in batch]) * 25.5).round().int().tolist())
        update(run, batch, *rest)

    monkeypatch.setattr(module._Run, "_update", watched)
    return found


def test_a_stopped_run_goes_on_with_the_very_next_pairs(recipe: Any, seen: list[int], tmp_path: Path) -> None:
    """In the second stage, which goes on with the stream of the first; to the bit."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/go on").touch()
    whole = load_file(train(recipe, tmp_path / "whole", cpu=True) / "diffusion_pytorch_model.safetensors")
    straight, seen[:] = [*seen], []
    assert sorted(straight[:COUNT]) == list(range(COUNT))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", cpu=True)
    (tmp_path / "parts/go on").touch()
    again = load_file(train(recipe, tmp_path / "parts", cpu=True) / "diffusion_pytorch_model.safetensors")
    assert seen == straight
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


def test_the_plan_looks_at_the_first_pairs_of_a_stream(recipe: Any, tables: Path) -> None:
    lines = plan(recipe).splitlines()
    assert lines[0] == f"{STREAM}{tables}: a stream of pairs; 48x48 to 48x48 pixels"
    assert lines[2] == f"  {STREAM}{tables}: 100%, 8 examples"
