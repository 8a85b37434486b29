"""Small archives of real PNG pairs, laid out in the ways that GGT-100K may be laid out."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = ("haze", "rain", "low-light")
PER_CATEGORY = 3


def picture(seed: int, size: int = 16) -> bytes:
    """A PNG of noise, different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pairs() -> list[tuple[str, int, bytes, bytes]]:
    """(category, number, low quality, ground truth) of all pairs."""
    return [
        (category, number, picture(100 * k + number), picture(100 * k + number + 50))
        for k, category in enumerate(CATEGORIES)
        for number in range(PER_CATEGORY)
    ]


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _one_archive_per_side(root: Path) -> None:
    sides = {"LQ": {}, "GT": {}}
    for category, number, lq, gt in pairs():
        sides["LQ"][f"LQ/{category}/{number:04d}.png"] = lq
        sides["GT"][f"GT/{category}/{number:04d}.png"] = gt
    for side, members in sides.items():
        write_zip(root / "GGT-100K" / "train" / f"{side}.zip", members)


def _one_archive_per_category(root: Path) -> None:
    for category in CATEGORIES:
        members = {}
        for found, number, lq, gt in pairs():
            if found == category:
                members[f"{category}/LQ/{number:04d}.png"] = lq
                members[f"{category}/GT/{number:04d}.png"] = gt
        write_zip(root / "GGT-100K" / "train" / f"{category}.zip", members, zipfile.ZIP_DEFLATED)


def _one_archive_per_split(root: Path) -> None:
    members = {}
    for category, number, lq, gt in pairs():
        members[f"train/LQ/{category}/{number}.png"] = lq
        members[f"train/GT/{category}/{number}.png"] = gt
    write_zip(root / "GGT-100K" / "train.zip", members)


def _parts_that_do_not_match(root: Path) -> None:
    """Ground truth cut into other parts than the low quality."""
    lq = {f"{c}/{n:04d}.png": data for c, n, data, _ in pairs()}
    gt = {f"{c}/{n:04d}.png": data for c, n, _, data in pairs()}
    for side, members, cut in (("LQ", lq, 5), ("GT", gt, 3)):
        names = list(members)
        write_zip(root / f"GGT-100K/train/{side}/p1.zip", {n: members[n] for n in names[:cut]})
        write_zip(root / f"GGT-100K/train/{side}/p2.zip", {n: members[n] for n in names[cut:]})


def _names_tell(root: Path) -> None:
    members = {}
    for category, number, lq, gt in pairs():
        members[f"{category}/{number:04d}_lq.png"] = lq
        members[f"{category}/{number:04d}_gt.png"] = gt
    write_zip(root / "GGT-100K" / "train" / "pairs.zip", members)


def _sides_in_archive_names(root: Path) -> None:
    for side, pick in (("LQ", 2), ("GT", 3)):
        for category in CATEGORIES:
            members = {f"{p[1]:04d}.png": p[pick] for p in pairs() if p[0] == category}
            write_zip(root / f"GGT-100K/train/{category}_{side}_part1.zip", members)


def _manifest(root: Path) -> None:
    members, lines = {}, []
    for category, number, lq, gt in pairs():
        a, b = f"images/a{category}{number}.png", f"images/b{category}{number}.png"
        members |= {a: lq, b: gt}
        lines.append(
            {"lq": a, "gt": b, "type": category, "prompt": f"Remove the {category}.", "note": number}
        )
    write_zip(root / "GGT-100K" / "train" / "images.zip", members)
    manifest = "\n".join(json.dumps(line) for line in lines)
    (root / "GGT-100K" / "train" / "pairs.jsonl").write_text(manifest)


def _loose_files(root: Path) -> None:
    for category, number, lq, gt in pairs():
        for side, data in (("LQ", lq), ("GT", gt)):
            path = root / f"GGT-100K/train/{side}/{category}/{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def _no_known_folder(root: Path) -> None:
    _one_archive_per_category(root)
    (root / "GGT-100K").rename(root / "data")


def _everything_in_one_archive(root: Path) -> None:
    members = {}
    for category, number, lq, gt in pairs():
        members[f"GGT-100K/train/{category}/{number:04d}/lq.png"] = lq
        members[f"GGT-100K/train/{category}/{number:04d}/gt.png"] = gt
    write_zip(root / "GGT-100K.zip", members)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "one archive per side": _one_archive_per_side,
    "one archive per category": _one_archive_per_category,
    "one archive per split": _one_archive_per_split,
    "parts that do not match": _parts_that_do_not_match,
    "names tell": _names_tell,
    "sides in archive names": _sides_in_archive_names,
    "manifest": _manifest,
    "loose files": _loose_files,
    "no known folder": _no_known_folder,
    "everything in one archive": _everything_in_one_archive,
}
