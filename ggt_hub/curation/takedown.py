"""Photographs leave a run, with all that was made of them: from what is packed, and from what stages have decided.

What is left stays as it was: nothing is decided anew, nobody is asked, no other pair changes. `OUT/takedown.json`
remembers them, so that no later run takes them in again. Nothing is taken from the ledger, which is the user's own.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from ggt_hub.commit import RECORDS, commit_json, locked
from ggt_hub.curation.labels import LABELS, forget
from ggt_hub.curation.run import RUN, TABLES, TAKEN, read_taken
from ggt_hub.curation.stages.pack_pairs import PackPairs
from ggt_hub.curation.tables import read_columns, rewrite_without
from ggt_hub.data.storage.trees import parquet_below
from ggt_hub.data.work.cards import write_card
from ggt_hub.data.work.export import features_of, write_rows, write_sums
from ggt_hub.errors import CurationError
from ggt_hub.shards import replace_result

_REMARK = re.compile(r"(?:^|\s)#")
_TELLING = ["id", "lq_sha256", "gt_sha256", "meta"]


@dataclass
class Gone:
    """What has left.

    Attributes:
        photographs: their SHA-256.
        ids: of those of which the run has decided something.
        pairs: how many packed records, negatives too.
        unknown: what was listed, and is nothing of this run.
    """

    photographs: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    pairs: int = 0
    unknown: tuple[str, ...] = ()


def take_down(output: Path, listed: Path) -> Gone:
    """Remove photographs from a run.

    Args:
        output: the folder of the run.
        listed: a text file with an id or a SHA-256 in each line: of a photograph, or of a pair or a picture made of
            it; the whole photograph leaves. What follows a `#`, at the beginning or after a space, is a remark.

    Raises:
        CurationError: if the file cannot be read or lists nothing, or the folder is not of a run that packs pairs.
        BusyError: if the run goes on.
    """
    told, names = _told(output), _listed(listed)
    with locked(output / RECORDS / "lock-of-the-run", waits=False):
        gone = _find(output, told, {*names, *read_taken(output)})
        gone.unknown = tuple(name for name in names if name in gone.unknown)
        # Remembered first: who is killed after this and calls again finds the same photographs.
        commit_json(output / TAKEN, sorted({*names, *read_taken(output), *gone.photographs}))
        for path in parquet_below(output):
            gone.pairs += _leave_packed(output, path, gone.photographs)
        for path in sorted((output / TABLES).glob("*/*.arrow")):
            name = path.relative_to(output / TABLES).as_posix()
            replace_result(output / TABLES, name, partial(rewrite_without, path, gone.ids))
        forget(output / LABELS, gone.ids)
        if parquet_below(output):  # a run that has not come so far has packed nothing yet
            packing = PackPairs(**told["stages"][-1][PackPairs.name])
            write_card(output, **packing.card(told))
            write_sums(output)
    return gone


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # editors of Windows begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise CurationError(f"{path} cannot be read: {error}") from error
    names = [name for line in lines if (name := _REMARK.split(line)[0].strip())]
    if not names:
        raise CurationError(f"{path} lists nothing: write an id or a SHA-256 in each line")
    return names


def _told(output: Path) -> dict[str, Any]:
    """What a run records of itself.

    Raises:
        CurationError: if it is none, or packs no pairs.
    """
    try:
        told = yaml.safe_load((output / RUN).read_text(encoding="utf-8"))
        last = next(iter(told["stages"][-1]))
    except (OSError, yaml.YAMLError, TypeError, LookupError) as error:
        raise CurationError(f"{output} is the folder of no run: {RUN} cannot be read") from error
    if last != PackPairs.name:
        raise CurationError(f"{output} holds no pairs made of photographs: its last stage is {last}")
    return told


def _find(output: Path, told: dict[str, Any], names: set[str]) -> Gone:
    """The photographs that are named, or of which something is."""
    gone, hits = Gone(), set()
    by_part = defaultdict(set)
    for name in names:
        for part in _roots(name):
            by_part[part].add(name)
    for row in _records(output):
        sha256 = _photograph_of(row)
        if found := names & {*_roots(row["id"]), row["lq_sha256"], row["gt_sha256"], sha256}:
            hits |= found
            gone.photographs.add(sha256)
    first = next(iter(told["stages"][0]))
    gathered = [
        row
        for path in sorted((output / TABLES / first).glob("*.arrow"))
        for row in read_columns(path, ["id", "sha256"])
    ]
    for row in gathered:
        if found := by_part[row["id"]] | (names & {row["sha256"]}):
            hits |= found
            gone.photographs |= {row["sha256"]} - {None}
            gone.ids.add(row["id"])
    gone.ids |= {row["id"] for row in gathered if row["sha256"] in gone.photographs}
    gone.unknown = tuple(names - hits)
    return gone


def _roots(name: str) -> list[str]:
    """An id, and the ids of what it may have been made of."""
    parts = name.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _records(output: Path) -> Iterator[dict[str, Any]]:
    for path in parquet_below(output):
        yield from pq.read_table(path, columns=_TELLING).to_pylist()


def _photograph_of(record: dict[str, Any]) -> str:
    return json.loads(record["meta"])["curation"]["photograph"]["sha256"]


def _leave_packed(output: Path, path: Path, photographs: set[str]) -> int:
    """Write a file of pairs again without some photographs; returns how many pairs left."""
    ours = [_photograph_of(row) in photographs for row in pq.read_table(path, columns=["meta"]).to_pylist()]
    if any(ours):
        replace_result(output, path.relative_to(output).as_posix(), partial(_without, path, photographs))
    return sum(ours)


def _without(path: Path, photographs: set[str], unfinished: Path) -> dict[str, Any]:
    file = pq.ParquetFile(path)
    rows = (row for n in range(file.num_row_groups) for row in file.read_row_group(n).to_pylist())
    left = (row for row in rows if _photograph_of(row) not in photographs)
    return {"rows": write_rows(unfinished, left, features_of(file.schema_arrow))}
