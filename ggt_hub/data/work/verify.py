"""`verify`: every row decodes, sizes agree, and every byte of every picture is the one it was.

No decoder notices a single changed byte (Pillow does for 1 of 200 in a JPEG), so hashes decide: the SHA-256 in
the row, or the CRC-32 of the archive that it points into.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ggt_hub.commit import check_results, committed_result, to_json
from ggt_hub.data.pairs import PICTURES, scale_of
from ggt_hub.data.reading.iterate import Undecoded, decode
from ggt_hub.data.reading.parts import Part, rows_of
from ggt_hub.data.sources.versions import code_hash
from ggt_hub.data.storage.archives import NO_CRC
from ggt_hub.data.work.duplicates import near, perceptual_hash
from ggt_hub.errors import DatasetError, HubError
from ggt_hub.shards import Shard, run_shards

SUMMARY = "verification.json"
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("lq_sha256", pa.string()),
        ("gt_sha256", pa.string()),
        ("hash", pa.uint64()),  # of the ground truth or, where there is none, of the low-quality picture
        ("is_equal", pa.bool_()),
    ]
)


@dataclass
class Verification:
    """What `verify` found.

    Attributes:
        rows: how many rows were looked at.
        clean: how many of them have no low-quality picture: a clean one that is not damaged yet.
        unhashed: of how many pictures nothing but their decoding could be checked, for want of a hash.
        problems: what is wrong, each with the id of its row.
        duplicates: ids of rows whose low-quality (or only) pictures are the same file; ids that occur repeatedly.
        equal: ids of rows whose ground truth has the pixels of the low-quality picture.
        alike: ids of two rows that show the same, as far as a perceptual hash tells; so do frames of a film.
    """

    rows: int = 0
    clean: int = 0
    unhashed: int = 0
    problems: list[str] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    alike: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether there are neither problems nor duplicates; what is merely alike may be meant."""
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
    tables = [pq.read_table(folder / shard.name) for shard in shards]
    rows = [row for table in tables for row in table.to_pylist()]
    found = Verification(
        rows=sum(report["rows"] for report in reports),
        clean=sum(report["clean"] for report in reports),
        unhashed=sum(report["unhashed"] for report in reports),
        problems=[problem for report in reports for problem in report["problems"]],
        duplicates=_duplicates(rows),
        equal=[row["id"] for row in rows if row["is_equal"]],
        alike=[(rows[a]["id"], rows[b]["id"]) for a, b in near([row["hash"] for row in rows])],
    )
    with committed_result(folder, SUMMARY) as path:
        path.write_text(to_json(found.to_json()), encoding="utf-8")
    return found


def verify_part(part: Part, path: Path) -> dict[str, Any]:
    """Verify one part; writes the hashes of its pictures to `path`."""
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    unhashed = clean = 0
    for item in rows_of(part):
        hashes = {side: _sha256(item.files[side]) for side in PICTURES}
        pixels, wrong = _decoded(item)
        problems += _what_is_wrong(item, hashes, pixels) + wrong
        unhashed += sum(_is_unhashed(item, side) for side in PICTURES)
        shown = pixels.get("gt", pixels.get("lq"))
        clean += item.files["lq"] is None and item.files["gt"] is not None
        row = {"id": item.row["id"], "hash": None if shown is None else perceptual_hash(shown)}
        row["is_equal"] = len(pixels) == len(PICTURES) and np.array_equal(pixels["lq"], pixels["gt"])
        rows.append(row | {f"{side}_sha256": hashes[side] for side in PICTURES})
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), path, compression="zstd")
    return {"rows": len(rows), "unhashed": unhashed, "clean": clean, "problems": problems}


def _sha256(data: object) -> str | None:
    return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else None


def _is_unhashed(item: Undecoded, side: str) -> bool:
    has_crc = item.row.get(f"{side}_archive") and item.row.get(f"{side}_crc32") != NO_CRC
    has_hash = item.row.get(f"{side}_sha256") or has_crc
    return item.files[side] is not None and not has_hash


def _decoded(item: Undecoded) -> tuple[dict[str, np.ndarray], list[str]]:
    """The pictures of a row, and what is wrong with those that do not decode."""
    pixels, problems = {}, []
    for side in PICTURES:
        try:
            picture = decode(item, side)
        except (DatasetError, HubError) as error:
            problems.append(str(error))
            continue
        if picture is not None:
            pixels[side] = picture
    return pixels, problems


def _what_is_wrong(
    item: Undecoded, hashes: dict[str, str | None], pixels: dict[str, np.ndarray]
) -> list[str]:
    problems = []
    for side in PICTURES:
        wanted = item.row.get(f"{side}_sha256")
        if wanted and hashes[side] and hashes[side] != wanted:
            problems.append(f"{side} of {item.row['id']!r}: SHA-256 is {hashes[side]}, the row says {wanted}")
    if not any(item.files.values()):
        problems.append(f"{item.row['id']!r}: there is no picture")
    shapes = {side: picture.shape[:2] for side, picture in pixels.items()}
    if len(shapes) == len(PICTURES) and scale_of(shapes["lq"], shapes["gt"]) is None:
        sizes = {side: f"{shape[1]}x{shape[0]}" for side, shape in shapes.items()}
        problems.append(f"{item.row['id']!r}: gt is {sizes['gt']}, no multiple of lq, which is {sizes['lq']}")
    return problems


def overlaps(folders: Mapping[str, Path]) -> list[str]:
    """What the splits of a data set share, in words: the same pictures, or such as show the same.

    Args:
        folders: where `verify` kept what it found, by split.
    """
    rows = [
        (split, row)
        for split, folder in folders.items()
        for path in sorted(folder.glob("part-*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    found = {}
    for a, b in near([row["hash"] for _, row in rows]):
        (first, one), (second, other) = rows[a], rows[b]
        if first != second:
            same = {one[f"{side}_sha256"] for side in PICTURES} & {
                other[f"{side}_sha256"] for side in PICTURES
            } - {None}
            found[one["id"], other["id"]] = (
                f"{one['id']} of {first} and {other['id']} of {second} {'share a file' if same else 'are alike'}"
            )
    return list(found.values())


def _duplicates(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    seen: dict[str, list[str]] = {}
    for row in rows:
        for key in (f"id {row['id']}", row["lq_sha256"] or row["gt_sha256"]):
            if key:
                seen.setdefault(key, []).append(row["id"])
    return sorted(ids for ids in seen.values() if len(ids) > 1)
