"""Photographs leave a run, with all that was made of them: from what is packed, and from what stages have decided.

What is left stays as it was: nothing is decided anew, nobody is asked, no other pair changes. `OUT/takedown.json`
remembers hashes, so that no later run takes them in again; nothing else of the folder tells of them. Nothing is
taken from the ledger, which is the user's own.
"""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from ggt_hub.commit import RECORDS, check_results, commit_json, keep_json_lines, locked
from ggt_hub.curation.comparison import COMPARISON, REPORT
from ggt_hub.curation.decided import read_run
from ggt_hub.curation.ids import hash_of, hidden, is_of, roots
from ggt_hub.curation.labels import LABELS, forget
from ggt_hub.curation.run import FUNNEL, LEARNED, RUN, RUNS, TABLES, TAKEN, count_of, read_taken
from ggt_hub.curation.stages.crop import Crop
from ggt_hub.curation.stages.pack import Pack
from ggt_hub.curation.stages.pack_pairs import PackPairs
from ggt_hub.curation.tables import TAKEN_DOWN, read_columns, rewrite_without, tells_of
from ggt_hub.data.storage.trees import parquet_below
from ggt_hub.data.work.cards import write_card
from ggt_hub.data.work.export import features_of, write_rows, write_sums
from ggt_hub.errors import CurationError
from ggt_hub.evaluation.votes import VOTES, read_votes
from ggt_hub.shards import read_report, replace_result

_SHA256 = re.compile("[0-9a-fA-F]{64}")
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
    """Remove photographs from a run, or from all runs of a comparison.

    Args:
        output: the folder of the run, or of the comparison, whose page leaves: the next `compare` writes it anew.
        listed: a text file with an id or a SHA-256 in each line: of a photograph, or of a pair or a picture made of
            it; the whole photograph leaves. What follows a `#`, at the beginning or after a space, is a remark.

    Raises:
        CurationError: if the file cannot be read or lists nothing, or the folder is of no run, or of one whose
            pictures are not made of photographs.
        WriteError: if the page of the comparison was changed since.
        BusyError: if the run goes on.
    """
    names = _listed(listed)
    if not (output / COMPARISON).is_file():
        return _leave(output, names)
    check_results(output, [REPORT])
    runs = sorted(path.parent for path in (output / RUNS).glob(f"*/{RUN}"))
    ids = {name for run in runs for name in _find(run, names).ids}
    if (output / VOTES).is_file():
        read_votes(output / VOTES)
        keep_json_lines(output / VOTES, lambda told: not is_of(told["picture"], ids))
    (output / REPORT).unlink(missing_ok=True)
    left = [_leave(run, names) for run in runs]
    unknown = tuple(name for name in names if all(name in gone.unknown for gone in left))
    return Gone({name for gone in left for name in gone.photographs}, ids, 0, unknown)


def _leave(output: Path, names: Sequence[str]) -> Gone:
    """Take photographs out of one run."""
    stages = [next(iter(one)) for one in _told(output)["stages"]]
    with locked(output / RECORDS / "lock-of-the-run", waits=False):
        gone = _find(output, names)
        forget(output / LABELS, gone.ids)
        # Remembered before it is done: who is killed after this and calls again finds the same photographs.
        commit_json(output / TAKEN, sorted({*read_taken(output), *_hashes(names), *gone.photographs}))
        for path in parquet_below(output):
            gone.pairs += _leave_packed(output, path, gone.photographs)
        _leave_learned(output, gone.ids)
        _leave_tables(output, stages, gone.ids)
        if stages[-1] == PackPairs.name and parquet_below(output):  # else nothing is packed yet
            told = _told(output)
            write_card(output, **PackPairs(**told["stages"][-1][PackPairs.name]).card(told))
            write_sums(output)
    return gone


def _hashes(names: Collection[str]) -> set[str]:
    """Of what was listed: of ids, and those that are hashes already."""
    return {name if _SHA256.fullmatch(name) else hash_of(name) for name in names}


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # editors of Windows begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise CurationError(f"{path} cannot be read: {error}") from error
    names = [name for line in lines if (name := _REMARK.split(line)[0].strip())]
    if not names:
        raise CurationError(f"{path} lists nothing: write an id or a SHA-256 in each line")
    return [name.lower() if _SHA256.fullmatch(name) else name for name in names]


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
    if last == Pack.name:
        raise CurationError(f"{output} holds no pairs made of photographs: its last stage is {last}")
    return told


def _find(output: Path, names: Sequence[str]) -> Gone:
    """The photographs that are named, or of which something is, and those that were to leave before."""
    stages = [next(iter(one)) for one in _told(output)["stages"]]
    gone, hits, taken = Gone(), set[str](), read_taken(output)
    by_root = defaultdict(set)
    for name in names:
        for root in roots(name):
            by_root[root].add(name)
            by_root[hidden(root)].add(name)  # it has left before
    hashes, packed = {*names, *taken}, [*_records(output)]
    for row in packed:
        sha256 = _photograph_of(row)
        if found := {*names} & {*roots(row["id"])} | hashes & {row["lq_sha256"], row["gt_sha256"], sha256}:
            hits |= found
            gone.photographs.add(sha256)
    gathered = [
        row
        for path in sorted((output / TABLES / stages[0]).glob("*.arrow"))
        for row in read_columns(path, ["id", "sha256"])
    ]
    for row in gathered:
        found = by_root[row["id"]] | (hashes & {row["sha256"]})
        if found or hash_of(row["id"]) in taken:
            hits |= found
            gone.photographs |= {row["sha256"]} - {None}
            gone.ids.add(row["id"])
    gone.ids |= {row["id"] for row in gathered if row["sha256"] in gone.photographs}
    # Who has removed what the stages decided has the ids of pairs left.
    gone.ids |= {_id_of(row["id"], stages) for row in packed if _photograph_of(row) in gone.photographs}
    gone.unknown = tuple(name for name in names if name not in hits)
    return gone


def _id_of(pair: str, stages: Sequence[str]) -> str:
    """The id of the photograph that a pair was made of: without patch, candidate and crop."""
    parts = pair.split("/")
    made = 1 + parts[-1].startswith("@") + (Crop.name in stages)
    return "/".join(parts[:-made])


def _leave_learned(output: Path, gone: Collection[str]) -> None:
    """Take ids out of what stages have learned, which is JSON where it is of single rows."""
    for path in sorted((output / LEARNED).glob("*/*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        if (left := _forgetting(told, gone)) != told:
            commit_json(path, left)


def _forgetting(told: Any, gone: Collection[str]) -> Any:
    """JSON without what is said of some ids, and with other words where they are said."""
    if isinstance(told, dict):
        return {key: _forgetting(value, gone) for key, value in told.items() if not is_of(key, gone)}
    if isinstance(told, list):
        return [_forgetting(value, gone) for value in told]
    return TAKEN_DOWN.reason if isinstance(told, str) and is_of(told, gone) else told


def _leave_tables(output: Path, stages: Sequence[str], gone: Collection[str]) -> None:
    """Take rows out of the tables of all stages, and count again.

    The one with which rows begin is the last, since it tells who is called again after a kill what is to leave.
    """
    for stage in reversed(stages):
        for path in sorted((output / TABLES / stage).glob("*.arrow")):
            if tells_of(path, gone):
                work = partial(rewrite_without, path, gone, stage == stages[0])
                replace_result(output / TABLES, f"{stage}/{path.name}", work)
    commit_json(output / FUNNEL, [_counted(output / TABLES, one) for one in read_run(output).funnel])


def _counted(tables: Path, before: dict[str, Any]) -> dict[str, Any]:
    """What became of the rows in a stage, counted again where its tables are there."""
    names = [f"{before['stage']}/{path.name}" for path in (tables / before["stage"]).glob("*.arrow")]
    reports = [report for name in sorted(names) if (report := read_report(tables, name))]
    return vars(count_of(before["stage"], reports)) if reports else before


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
