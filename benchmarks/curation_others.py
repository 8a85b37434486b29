"""The gates on other photographs, candidates and faults than those of `curation_run.py`; nobody is asked.

    OMP_NUM_THREADS=1 python -m benchmarks.curation_others --images ../shared/images/clean/free:384 --limit 72 \\
        --tell benchmarks/results/curation_others.json

Good candidates are the original itself, softer, coded, half of the way to it, and what denoisers of OpenCV make of
the photograph; only those at least 0.5 dB nearer to the original count. Faults are planted into the original, in
sizes between and beyond those of `curation_faults.yaml`. A way or a cast that `register` has undone, so that the
pair is good, is mended.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from benchmarks.curation_faults import Pixels, Scene, plant
from benchmarks.curation_run import GAIN, category_of, psnr, square
from benchmarks.curation_servers import file_of
from ggt_hub.curation.measures import measured
from ggt_hub.curation.stage import Context, Dropped
from ggt_hub.curation.stages.gate import CHECKS, Gate, values_of
from ggt_hub.curation.stages.register import Register
from ggt_hub.degradations import degrade
from ggt_hub.files import list_pictures, seed_of
from ggt_hub.images.shown import shown_rgb
from tests.curation.planted import coded

TASKS = ("noise", "blur", "compression", "low_light", "haze", "rain", "snow", "old_photo", "general")
FAULTS = (
    *(("shifted", size) for size in (2, 4, 16, 60)),
    *(("turned", size) for size in (0.5, 1, 2)),
    *(("zoomed", size) for size in (1.01, 1.05)),
    *(("bent", size) for size in (4, 12)),
    ("mirrored", 0),
    ("another scene", 0),
    *(
        (fault, size)
        for fault in ("repainted", "removed", "copied", "moved in a place")
        for size in (0.12, 0.15, 0.25)
    ),
    *(("graded", size) for size in (0.2, 0.3)),
    *(("other hues", size) for size in (40, 90)),
    ("graded in a place", 0.3),
    *(("gridded", size) for size in (6, 10)),
    ("gridded across", 6),
    *(("blurred", size) for size in (2, 4)),
    *(("haloed", size) for size in (4, 8)),
    *(("returned", size) for size in (100, 95, 80)),
)
MENDS = ("shifted", "turned", "zoomed", "bent", "graded", "other hues")


class Found(NamedTuple):
    """What became of a candidate.

    Attributes:
        kind: "good", or the fault with its size.
        what: of good ones, how they were made.
        task: the damage of the photograph.
        reason: why it was refused; "" where it passed.
        gain: dB by which the pair as it was registered is nearer to the original.
    """

    kind: str
    what: str
    task: str
    reason: str
    gain: float


def good_ones(clean: Pixels, lq: Pixels) -> dict[str, Pixels]:
    """Candidates without a fault, by how they were made."""
    noise = float(np.median(np.abs(cv2.Laplacian(lq.astype(np.float32), cv2.CV_32F)))) / 0.6745 / np.sqrt(20)
    return {
        "the original": clean,
        "softer": cv2.GaussianBlur(clean, (0, 0), 0.6),
        "as JPEG": coded(clean, 90),
        "half of the way": cv2.addWeighted(clean, 0.5, lq, 0.5, 0),
        "non-local means": cv2.fastNlMeansDenoisingColored(lq, None, noise, noise, 7, 15),
        "bilateral filter": cv2.bilateralFilter(lq, 7, 3 * noise, 2),
    }


def planted(fault: str, size: float, scene: Scene) -> Pixels:
    """A fault, of `curation_faults` or of those here."""
    return OTHERS[fault](scene, size) if fault in OTHERS else plant(fault, size, scene)


def copied(scene: Scene, size: float) -> Pixels:
    """A place, that share of the side, shows another place of the same picture."""
    (top, left), (from_top, from_left), side = _two_places(scene, size)
    changed = scene.restored.copy()
    piece = scene.restored[from_top : from_top + side, from_left : from_left + side]
    changed[top : top + side, left : left + side] = piece
    return changed


def moved_in_a_place(scene: Scene, size: float) -> Pixels:
    """What a place shows lies a quarter of that place beside where it was."""
    (top, left), _, side = _two_places(scene, size)
    changed = scene.restored.copy()
    piece = scene.restored[top : top + side, left : left + side]
    changed[top : top + side, left : left + side] = np.roll(piece, side // 4, 1)
    return changed


def graded_in_a_place(scene: Scene, size: float) -> Pixels:
    """A quarter of the picture is warmer, by that share."""
    (top, left), _, side = _two_places(scene, 0.25)
    changed = scene.restored.astype(float)
    changed[top : top + side, left : left + side] *= (1 + size, 1, 1 - size)
    return np.clip(changed, 0, 255).astype(np.uint8)


def other_hues(scene: Scene, size: float) -> Pixels:
    """Turned by so many degrees."""
    colours = cv2.cvtColor(scene.restored, cv2.COLOR_RGB2HSV)
    colours[..., 0] = (colours[..., 0].astype(int) + round(size / 2)) % 180
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_HSV2RGB))


def gridded_across(scene: Scene, size: float) -> Pixels:
    """Every eighth row brighter by so many levels."""
    changed = scene.restored.astype(float)
    changed[::8] += size
    return np.clip(changed, 0, 255).astype(np.uint8)


OTHERS: dict[str, Callable[[Scene, float], Pixels]] = {
    function.__name__.replace("_", " "): function
    for function in (copied, moved_in_a_place, graded_in_a_place, other_hues, gridded_across)
}


def _two_places(scene: Scene, size: float) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Top and left of the place with most detail among some that are drawn, and of the farthest; their side."""
    side = round(size * min(scene.restored.shape[:2]))
    detail = np.abs(cv2.Laplacian(cv2.GaussianBlur(scene.restored, (0, 0), 2), cv2.CV_32F)).sum(2)
    places = [tuple(scene.rng.integers(0, np.array(scene.restored.shape[:2]) - side + 1)) for _ in range(8)]
    first, *rest = sorted(places, key=lambda at: -detail[at[0] : at[0] + side, at[1] : at[1] + side].sum())
    return first, max(rest, key=lambda at: float(np.hypot(at[0] - first[0], at[1] - first[1]))), side


def found(sources: list[Path], side: int, seed: int) -> Iterator[Found]:
    """Each photograph under one kind of damage: all its good candidates, and some faults, each in its turn."""
    waiting = list(FAULTS)
    for number, path in enumerate(sources):
        task, rng = TASKS[number % len(TASKS)], np.random.default_rng(seed_of(path.stem, seed))
        clean, other = square(path, side), square(sources[(number + 1) % len(sources)], side)
        preset = "mixture" if task == "general" else task
        lq = shown_rgb(degrade(clean, preset, severity=float(rng.uniform(0.1, 0.9)), seed=number)[0])
        for what, candidate in good_ones(clean, lq).items():
            if psnr(candidate, clean) - psnr(lq, clean) >= GAIN:
                yield Found("good", what, task, *decided(lq, candidate, clean, task))
        for fault, size in waiting[:8]:
            candidate = planted(fault, size, Scene(lq, clean, other, (0, 0, 1, 1), rng))
            yield Found(f"{fault} {size:g}", "", task, *decided(lq, candidate, clean, task))
        waiting = waiting[8:] + waiting[:8]


def decided(lq: Pixels, candidate: Pixels, clean: Pixels, task: str) -> tuple[str, float]:
    """What `register` and `gate` make of a pair, and by how much it is nearer to the original then."""
    row = {"id": "a", "lq": file_of(lq), "candidate": file_of(candidate), "category": category_of(task)}
    (outcome,) = Register().decide([row], Context(0))
    if isinstance(outcome, Dropped):
        return outcome.reason, float("nan")
    pair = [shown_rgb(outcome.values[side]) for side in ("lq", "gt")]
    cut = (clean.shape[0] - pair[0].shape[0]) // 2
    inside = clean[cut : clean.shape[0] - cut, cut : clean.shape[0] - cut]
    gate, values = Gate(), values_of(measured(*pair))
    refused = (
        check.reason
        for check in CHECKS
        if check.is_for(row["category"]) and check.refuses(values, getattr(gate, check.limit))
    )
    return next(refused, ""), psnr(pair[1], inside) - psnr(pair[0], inside)


def report(ended: list[Found]) -> dict[str, Any]:
    """Shares of good ones that stay, by how they were made and by damage; of faults those that passed."""
    good = [one for one in ended if one.kind == "good"]
    faults = [one for one in ended if one.kind != "good"]
    return {
        "good": _counted(good, lambda one: "all"),
        "by candidate": _counted(good, lambda one: one.what),
        "by damage": _counted(good, lambda one: one.task),
        "faults": _counted(faults, lambda one: one.kind),
        "all faults": _counted(faults, lambda one: "all"),
    }


def _counted(some: list[Found], of: Callable[[Found], str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for one in some:
        line = told.setdefault(of(one), {"planted": 0, "passed": 0, "mended": 0, "refused": {}})
        line["planted"] += 1
        if one.reason:
            line["refused"][one.reason] = line["refused"].get(one.reason, 0) + 1
        else:
            is_mended = one.kind.rpartition(" ")[0] in MENDS and one.gain >= GAIN
            line["mended" if is_mended else "passed"] += 1
    return told


def in_words(told: dict[str, Any]) -> str:
    """The tables, in Markdown."""
    lines = []
    for table, rows in told.items():
        lines += [
            "",
            f"| {table} | candidates | passed | mended | refused by |",
            "| --- | ---: | ---: | ---: | --- |",
        ]
        for name, one in rows.items():
            why = ", ".join(
                f"{reason} {n}" for reason, n in sorted(one["refused"].items(), key=lambda i: -i[1])
            )
            lines.append(f"| {name} | {one['planted']} | {one['passed']} | {one['mended']} | {why} |")
    return "\n".join(lines[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, metavar="FOLDER:SIDE")
    parser.add_argument("--limit", type=int, help="only so many photographs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tell", type=Path, help="where the numbers go, as JSON")
    arguments = parser.parse_args()
    folder, _, side = arguments.images.rpartition(":")
    sources = sorted(list_pictures(Path(folder)), key=lambda path: seed_of(path.stem, arguments.seed))
    told = report(list(found(sources[: arguments.limit], int(side), arguments.seed)))
    print(in_words(told))
    if arguments.tell:
        arguments.tell.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
