"""What a run reads: pieces of one size, each example once, and after a restart the very next one."""

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from ggt_hub.data.pairs import PAIR_FEATURES, pair_row
from ggt_hub.data.reading.mixture import Example
from ggt_hub.data.reading.picture_sources import STREAM
from ggt_hub.data.work.export import write_rows
from ggt_hub.errors import TrainingError
from ggt_hub.images import encode_image, read_image
from ggt_hub.training import Recipe, Stage
from ggt_hub.training import reading as module
from ggt_hub.training.reading import Reading, open_mixtures

SHAPES = ((32, 32), (16, 48), (48, 16))


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` waits five seconds after each epoch."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)


def levels(example: Example) -> dict[str, torch.Tensor]:
    """A pair is known by its level of grey."""
    return {"gt": torch.from_numpy(example.cut()[1].copy())}


@pytest.fixture
def tables(tmp_path: Path) -> str:
    """Two Parquet files of six pairs of three shapes."""
    (tmp_path / "tables").mkdir()
    for part in range(2):
        rows = []
        for number in range(6 * part, 6 * part + 6):
            pixels = np.full((*SHAPES[number % 3], 3), 10 * number, np.uint8)
            picture = {"bytes": encode_image(read_image(pixels), ".png").data, "path": "a.png"}
            rows.append(pair_row(f"{number:02d}", picture, picture, source="x", task="rain"))
        write_rows(tmp_path / f"tables/train-{part:05d}-of-00002.parquet", rows, PAIR_FEATURES)
    return str(tmp_path / "tables")


def reading(source: str, workers: int = 0, **changes: Any) -> Reading:
    buckets = tuple((width, height) for height, width in SHAPES)
    told = {"buckets": buckets, "aligned": True, "batch": 4, "at_once": 2, "steps": 12} | changes
    stage = Stage(data={source: 1.0}, **told)
    recipe = Recipe(model={}, stages=(stage, replace(stage, steps=3)), workers=workers)
    return Reading(recipe, open_mixtures(recipe, needs_quality=False), levels)


def read(reader: Reading, stage: int, step: int, steps: int) -> list[list[int]]:
    """The pairs of so many batches."""
    batches = reader.batches(stage, step)
    found = [next(batches) for _ in range(steps)]
    for batch in found:
        assert [piece["gt"].shape[0] for piece in batch] == [2, 2]
        assert all((piece["gt"] == piece["gt"][:, :1, :1]).all() for piece in batch)
    pieces = [[piece["gt"][:, 0, 0, 0] for piece in batch] for batch in found]
    return [(torch.cat(batch) * 25.5).round().int().tolist() for batch in pieces]


def known(gt: torch.Tensor) -> int:
    return round(float(gt.mean()) * 25.5)


def through_json(reader: Reading) -> Any:
    return json.loads(json.dumps(reader.state_dict()))


def test_a_piece_has_one_size_and_each_example_comes_once(tables: str) -> None:
    """Those of the stream are each of twelve pairs once; four at most wait for others of their size."""
    reader = reading(f"{STREAM}{tables}")
    seen = [*chain(*read(reader, 0, 0, 3))]
    waiting = [known(one.content["gt"]) for one in reader._waiting]
    assert len({*seen}) == len(seen) == 12 - len(waiting) and {*seen, *waiting} == {*range(12)}


@pytest.mark.parametrize("kind", ["", STREAM])
def test_a_restart_goes_on_with_the_very_next_pieces(kind: str, tables: str) -> None:
    """With something that waits: 3 or 4 of a size, of which two are taken."""
    whole = read(reading(f"{kind}{tables}"), 0, 0, 9)
    stopped = 0
    for steps in (2, 3, 5):
        first = reading(f"{kind}{tables}")
        begun = read(first, 0, 0, steps)
        stopped += len(first._waiting)
        second = reading(f"{kind}{tables}")
        second.load_state_dict(through_json(first))
        assert begun + read(second, 0, steps, 9 - steps) == whole
    assert stopped > 0


def test_a_stage_begins_with_nothing_that_waits_and_streams_go_on(tables: str) -> None:
    reader = reading(f"{STREAM}{tables}", steps=1)
    (first,) = read(reader, 0, 0, 1)
    waited = [known(one.content["gt"]) for one in reader._waiting]
    (second,) = read(reader, 1, 0, 1)
    assert waited and len({*first, *waited, *second}) == 8 + len(waited)


def in_turn(examples: Any, workers: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What a DataLoader gives, in this process."""
    readers = [iter(pickle.loads(pickle.dumps(examples))) for _ in range(workers)]
    for turn in count():
        about = SimpleNamespace(id=turn % workers)
        monkeypatch.setattr(module, "get_worker_info", lambda about=about: about)
        yield next(readers[turn % workers])


@pytest.mark.parametrize("in_processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_workers_have_shares_of_a_stream_and_a_restart_knows_them(
    in_processes: bool, tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file each, in turn; after five examples the next one is the second reader's."""
    if not in_processes:
        monkeypatch.setattr(Reading, "_loader", lambda _, examples, **how: in_turn(examples, 2, monkeypatch))
    how = {"batch": 1, "at_once": 1, "steps": 24}
    reader = reading(f"{STREAM}{tables}", workers=2, **how)
    batches = reader.batches(0, 0)
    whole = [known(next(batches)[0]["gt"]) for _ in range(5)]
    state = through_json(reader)
    whole += [known(next(batches)[0]["gt"]) for _ in range(8)]
    assert {*whole[:12]} == {*range(12)}
    files = [{number // 6 for number in whole[first:12:2]} for first in (0, 1)]
    assert sorted(files, key=min) == [{0}, {1}]
    again = reading(f"{STREAM}{tables}", workers=2, **how)
    again.load_state_dict(state)
    batches = again.batches(0, 5)
    assert [known(next(batches)[0]["gt"]) for _ in range(8)] == whole[5:]
    with pytest.raises(
        TrainingError, match=r"2 readers had shares of the streams, and now there are 3: go on"
    ):
        reading(f"{STREAM}{tables}", workers=3).load_state_dict(state)


@pytest.mark.slow
def test_workers_change_nothing_of_what_is_read_by_number(tables: str) -> None:
    assert read(reading(tables, workers=2), 0, 0, 3) == read(reading(tables), 0, 0, 3)
