"""Slices go through stages: what asks stays here, what computes goes elsewhere, at the same time."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from ggt_hub.curation.slices import Slice, Step, flow, through
from ggt_hub.curation.stage import Beginning, Context, Deciding, Kept, Later, Outcome, Role, Row, Seed
from ggt_hub.curation.tables import read_kept

HERE = threading.main_thread()
done: list[tuple[str, int, bool]] = []
"""Stage, number of the row, and whether it was done in the main thread."""
before: dict[tuple[str, int], Callable[[], Any]] = {}
"""What happens first."""


def note(name: str, rows: list[Row]) -> None:
    for row in rows:
        before.get((name, int(row["id"])), int)()
        done.append((name, int(row["id"]), threading.current_thread() is HERE))


@dataclass(frozen=True)
class Begins(Beginning):
    name: ClassVar[str] = "begins"
    gives: ClassVar[Mapping[str, pa.DataType]] = {"number": pa.int64()}

    def seeds(self, source: str) -> list[Seed]:
        return [Seed(str(n), "1", n) for n in range(int(source))]

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        note(self.name, rows)
        return [Kept({"number": row["seed"]}) for row in rows]


@dataclass(frozen=True)
class Asks(Deciding):
    name: ClassVar[str] = "asks"
    needs: ClassVar[tuple[str, ...]] = ("number",)
    gives: ClassVar[Mapping[str, pa.DataType]] = {"number": pa.int64()}
    asks: ClassVar[Role | None] = "language"

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        note(self.name, rows)
        return [Kept({"number": row["number"] + 100}) for row in rows]


@dataclass(frozen=True)
class Computes(Deciding):
    postponed: tuple[int, ...] = ()

    name: ClassVar[str] = "computes"
    needs: ClassVar[tuple[str, ...]] = ("number",)
    gives: ClassVar[Mapping[str, pa.DataType]] = {"number": pa.int64()}

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        note(self.name, rows)
        return [
            Later("waits") if int(row["id"]) in self.postponed else Kept({"number": 2 * row["number"]})
            for row in rows
        ]


@pytest.fixture(autouse=True)
def _nothing_yet() -> None:
    done.clear()
    before.clear()


def steps(folder: Path, *stages: Deciding) -> list[Step]:
    return [Step(stage, Context(0), (), frozenset(), folder) for stage in stages]


def slices(count: int) -> list[Slice]:
    return [Slice(f"{n:06d}", [seed]) for n, seed in enumerate(Begins().seeds(str(count)))]


def numbers(one: Slice) -> list[int]:
    return [row["number"] for row in read_kept(one.tables, ["number"])]


def test_what_asks_is_done_here_and_what_computes_elsewhere(tmp_path: Path) -> None:
    made = slices(5)
    with ThreadPoolExecutor(2) as pool:
        ends = list(flow(made, steps(tmp_path, Begins(), Asks(), Computes()), pool, 3))
    assert len(ends) == 5
    assert [numbers(one) for one in made] == [[2 * (100 + n)] for n in range(5)]
    assert sorted(done) == sorted(
        (name, n, name == "asks") for name in ("begins", "asks", "computes") for n in range(5)
    )


def test_both_go_on_at_the_same_time(tmp_path: Path) -> None:
    begun = threading.Event()
    before["computes", 0] = begun.set
    before["asks", 1] = lambda: begun.wait(60) or pytest.fail("nothing computes while it asks")
    made = slices(3)
    with ThreadPoolExecutor(1) as pool:
        list(flow(made, steps(tmp_path, Begins(), Asks(), Computes()), pool, 2))
    assert [numbers(one) for one in made] == [[200], [202], [204]]


def test_without_other_processes_each_slice_goes_through_before_the_next(tmp_path: Path) -> None:
    made = slices(2)
    list(flow(made, steps(tmp_path, Begins(), Asks(), Computes()), None, 1))
    names = ("begins", "asks", "computes")
    assert done == [(name, n, True) for n in range(2) for name in names]


def test_no_more_slices_are_under_way_than_are_allowed(tmp_path: Path) -> None:
    made, most = slices(6), 0
    with ThreadPoolExecutor(4) as pool:
        for ended, _ in enumerate(flow(made, steps(tmp_path, Begins(), Asks(), Computes()), pool, 2), 1):
            most = max(most, len({number for _, number, _ in done}) - ended)
    assert most <= 2


def test_what_is_done_stays_and_an_error_ends_it(tmp_path: Path) -> None:
    def fails() -> None:
        raise RuntimeError("no paper left")

    before["asks", 1] = fails
    path = steps(tmp_path, Begins(), Asks(), Computes())
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="no paper left"):
        list(flow(slices(8), path, pool, 2))
    assert max(number for _, number, _ in done) < 4  # the last ones never began
    first = [one for one in done if one[1] == 0]
    done.clear()
    before.clear()
    made = slices(8)
    list(flow(made, path, None, 1))
    assert [numbers(one) for one in made] == [[2 * (100 + n)] for n in range(8)]
    assert not [one for one in first if one[0] != "computes" and (one[0], 0, True) in done]


def test_rows_that_wait_are_tried_again_and_others_are_not(tmp_path: Path) -> None:
    path = steps(tmp_path, Begins(), Computes(postponed=(1,)))
    made = [through(path, one) for one in slices(3)]
    assert [one.reports[1]["later"] for one in made] == [{}, {"waits": 1}, {}]
    done.clear()
    again = [through(path, one) for one in slices(3)]
    assert done == [("computes", 1, True)]
    assert again == made


def test_a_table_depends_on_what_was_learned_and_on_the_tables_before(tmp_path: Path) -> None:
    (one,) = slices(1)
    for learned in ((), ("limits-1",), ("limits-1",), ("limits-2",)):
        step = Step(Begins(), Context(0), learned, frozenset(), tmp_path)
        through([step], one)
    assert len(done) == 3
    begun = through(steps(tmp_path, Begins()), one)
    assert begun.hashes == (begun.reports[0]["sha256"],)
    rewritten = {**begun.reports[0], "sha256": "another", "made_as": "as it was"}
    assert Step(Begins(), Context(0), (), frozenset(), tmp_path).after(one, rewritten).hashes == (
        "as it was",
    )
    versions = {Step(Asks(), Context(0), (), frozenset(), tmp_path).shard(other).version
                for other in (begun, Slice(begun.name, (), begun.tables, ("another",)))}  # fmt: skip
    assert len(versions) == 2
