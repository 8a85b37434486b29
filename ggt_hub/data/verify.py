"""`verify`: every row decodes, sizes agree, and every byte of every picture is the one it was.

No decoder notices a single changed byte (Pillow does for 1 of 200 in a JPEG), so hashes decide: the SHA-256 in
the row, or the CRC-32 of the archive that it points into.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ggt_hub.commit import check_results, committed_result, to_json
from ggt_hub.data.archives import NO_CRC
from ggt_hub.data.iterate import Undecoded, decode
from ggt_hub.data.pairs import PICTURES
from ggt_hub.data.parts import Part, rows_of
from ggt_hub.data.versions import code_hash
from ggt_hub.errors import DatasetError, HubError
from ggt_hub.shards import Shard, run_shards

SUMMARY = "verification.json"
_SCHEMA = pa.schema([("id", pa.string()), ("lq_sha256", pa.string()), ("gt_sha256", pa.string())])


@dataclass
class Verification:
    """What `verify` found.

    Attributes:
        rows: how many rows were looked at.
        unhashed: of how many pictures nothing but their decoding could be checked, for want of a hash.
        problems: what is wrong, each with the id of its row.
        duplicates: ids of rows whose low-quality pictures are the same file, and ids that occur more than once.
    """

    rows: int = 0
    unhashed: int = 0
    problems: list[str] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether there are neither problems nor duplicates."""
        return not self.problems and not self.duplicates

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def verify(parts: Sequence[Part], folder: Path, workers: int = 1) -> Verification:
    """Verify the parts of a data set; what was verified before, and has not changed since, is not read again.

    Args:
        parts: the data; see `parts.py`.
        folder: where the hashes that were found, and what is wrong, are kept.
        workers: processes.
    """
    check_results(folder, [SUMMARY])
    shards = [Shard(f"part-{number:05d}.parquet", (part,), part.id) for number, part in enumerate(parts)]
    reports = run_shards(
        verify_part, shards, folder, settings=code_hash(), workers=workers, title="Verifying"
    )
    found = Verification(
        rows=sum(report["rows"] for report in reports),
        unhashed=sum(report["unhashed"] for report in reports),
        problems=[problem for report in reports for problem in report["problems"]],
        duplicates=_duplicates(folder / shard.name for shard in shards),
    )
    with committed_result(folder, SUMMARY) as path:
        path.write_text(to_json(found.to_json()), encoding="utf-8")
    return found


def verify_part(part: Part, path: Path) -> dict[str, Any]:
    """Verify one part; writes the hashes of its pictures to `path`."""
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    unhashed = 0
    for item in rows_of(part):
        hashes = {side: _sha256(item.files[side]) for side in PICTURES}
        problems += _what_is_wrong(item, hashes)
        unhashed += sum(_is_unhashed(item, side) for side in PICTURES)
        rows.append({"id": item.row["id"]} | {f"{side}_sha256": hashes[side] for side in PICTURES})
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), path, compression="zstd")
    return {"rows": len(rows), "unhashed": unhashed, "problems": problems}


def _sha256(data: object) -> str | None:
    return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else None


def _is_unhashed(item: Undecoded, side: str) -> bool:
    has_crc = item.row.get(f"{side}_archive") and item.row.get(f"{side}_crc32") != NO_CRC
    has_hash = item.row.get(f"{side}_sha256") or has_crc
    return item.files[side] is not None and not has_hash


def _what_is_wrong(item: Undecoded, hashes: dict[str, str | None]) -> list[str]:
    problems = []
    shapes = {}
    for side in PICTURES:
        wanted = item.row.get(f"{side}_sha256")
        if wanted and hashes[side] and hashes[side] != wanted:
            problems.append(f"{side} of {item.row['id']!r}: SHA-256 is {hashes[side]}, the row says {wanted}")
        try:
            pixels = decode(item, side)
        except (DatasetError, HubError) as error:
            problems.append(str(error))
            continue
        if pixels is not None:
            shapes[side] = pixels.shape[:2]
    if item.files["lq"] is None:
        problems.append(f"lq of {item.row['id']!r}: there is none")
    if len(shapes) == len(PICTURES) and not _fits(shapes["lq"], shapes["gt"]):
        sizes = {side: f"{shape[1]}x{shape[0]}" for side, shape in shapes.items()}
        problems.append(f"{item.row['id']!r}: gt is {sizes['gt']}, no multiple of lq, which is {sizes['lq']}")
    return problems


def _fits(lq: tuple[int, ...], gt: tuple[int, ...]) -> bool:
    scale = gt[0] // lq[0]
    return scale >= 1 and gt == (lq[0] * scale, lq[1] * scale)


def _duplicates(paths: Iterable[Path]) -> list[list[str]]:
    tables = [pq.read_table(path) for path in paths]
    seen: dict[str, list[str]] = {}
    for table in tables:
        for row_id, sha256 in zip(table["id"].to_pylist(), table["lq_sha256"].to_pylist(), strict=True):
            for key in (f"id {row_id}", sha256):
                if key:
                    seen.setdefault(key, []).append(row_id)
    return sorted(ids for ids in seen.values() if len(ids) > 1)
