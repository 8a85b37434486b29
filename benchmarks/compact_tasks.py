"""The told tasks of the compact restorer, and its detector, on photographs that it never saw.

    python -m benchmarks.compact_tasks --images ../shared/images/clean/val

Each row is one task: every photograph damaged by the preset `realrestorer` (seed 0, no assets), then restored with
the task told. Beside it stands the better of the input and the one affine curve for each channel that fits the
whole row best: rain, haze and moire gain much from a curve alone. The last column is every fifth photograph as it
is, told the same.

The detector is asked about every photograph as it is, and damaged by each of the nine families alone, the severity
drawn from 0.3 to 1 (seed 0).
"""

import argparse
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ggt_hub import RestorerPipeline, metrics, read_image
from ggt_hub.degradations import degrade, load_preset
from ggt_hub.files import list_pictures, seed_of
from ggt_hub.images.shown import shown_rgb
from ggt_hub.models.detector import DETECTED

Pixels = np.ndarray  # height x width x 3, uint8
RESULTS = Path(__file__).parent / "results" / "compact_tasks.json"
PRESET = "realrestorer"


def psnr(x: Pixels, gt: Pixels) -> float:
    return float(metrics.psnr([x], [gt])[0])


def damaged(path: Path, preset: str, task: str | None, severity: float | None = None) -> Pixels:
    picture, _ = degrade(
        read_image(path), preset, task=task, severity=severity, seed=seed_of(f"{task}/{path.name}", 0)
    )
    return shown_rgb(picture)


class Affine:
    """For each channel the gain and the offset that leave the least squared error over all pictures of a row."""

    def __init__(self) -> None:
        self.sums = np.zeros((5, 3))  # of 1, x, y, x^2, x y

    def add(self, x: Pixels, gt: Pixels) -> None:
        a, b = (np.float64(side).reshape(-1, 3) for side in (x, gt))
        self.sums += [np.full(3, len(a)), a.sum(0), b.sum(0), (a * a).sum(0), (a * b).sum(0)]

    def __call__(self, x: Pixels) -> Pixels:
        count, x_sum, y_sum, xx, xy = self.sums
        gain = (count * xy - x_sum * y_sum) / (count * xx - x_sum**2)
        offset = (y_sum - gain * x_sum) / count
        return np.clip(np.rint(x * gain + offset), 0, 255).astype(np.uint8)


def row(pipe: RestorerPipeline, task: str, paths: list[Path], preset: str) -> dict[str, float]:
    clean, poor, affine = [shown_rgb(path) for path in paths], [], Affine()
    for path, gt in zip(paths, clean, strict=True):
        poor.append(damaged(path, preset, task if preset == PRESET else None))
        affine.add(poor[-1], gt)
    before, curve, after = [], [], []
    for lq, gt in zip(tqdm(poor, desc=task, leave=False), clean, strict=True):
        before.append(psnr(lq, gt))
        curve.append(psnr(affine(lq), gt))
        after.append(psnr(np.asarray(pipe(lq, task=task).images[0]), gt))
    unharmed = [psnr(np.asarray(pipe(gt, task=task).images[0]), gt) for gt in clean[::5]]
    means = {"before": before, "curve": curve, "after": after, "clean": unharmed}
    found = {name: float(np.mean(values)) for name, values in means.items()}
    return found | {"gain": found["after"] - max(found["before"], found["curve"]), "worst": min(after)}


def confusion(pipe: RestorerPipeline, paths: list[Path], seed: int) -> dict[str, dict[str, int]]:
    """What was done (rows) -> what was found -> how often."""
    rng = np.random.default_rng(seed)
    table: dict[str, dict[str, int]] = {}
    for done in tqdm(("nothing", *DETECTED), desc="detector"):
        counts = table.setdefault(done, {})
        for path in paths:
            severity = float(rng.uniform(0.3, 1.0))
            picture = shown_rgb(path) if done == "nothing" else damaged(path, done, None, severity)
            found = pipe.detect(picture) or "nothing"
            counts[found] = counts.get(found, 0) + 1
    return table


def shown(rows: dict[str, dict[str, float]]) -> str:
    lines = [
        "| task | input | one curve | told | gain | worst | a clean picture |",
        "| --- " + "| ---: " * 6 + "|",
    ]
    for task, r in rows.items():
        lines.append(
            f"| {task} | {r['before']:.2f} | {r['curve']:.2f} | {r['after']:.2f} | {r['gain']:+.2f} "
            f"| {r['worst']:.2f} | {r['clean']:.2f} |"
        )
    return "\n".join(lines)


def shown_confusion(table: dict[str, dict[str, int]]) -> str:
    names = ("nothing", *DETECTED)
    lines = [f"| done | {' | '.join(names)} |", "| --- " + "| ---: " * len(names) + "|"]
    lines += [f"| {done} | {' | '.join(str(table[done].get(name, 0)) for name in names)} |" for done in table]
    recalls = [table[task].get(task, 0) / sum(table[task].values()) for task in DETECTED]
    alarms = 1 - table["nothing"].get("nothing", 0) / sum(table["nothing"].values())
    return "\n".join(
        [*lines, "", f"Mean recall {np.mean(recalls):.3f}, least {min(recalls):.3f}; alarms {alarms:.3f}."]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", default="compact")
    parser.add_argument(
        "--preset", default=PRESET, help=f"in place of {PRESET}: the family alone, by 'alone'"
    )
    parser.add_argument("--tasks", nargs="*", help="only these; no detector")
    parser.add_argument("--seed", type=int, default=0, help="of how severe the detector's damage is")
    parser.add_argument("--limit", type=int, help="only the first so many pictures")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    pipe = RestorerPipeline.from_pretrained(arguments.model)
    pipe.set_progress_bar_config(disable=True)
    paths = list_pictures(arguments.images)[: arguments.limit]
    tasks = arguments.tasks or [task for task in pipe.description.tasks if task in DETECTED]
    rows = {
        task: row(
            pipe, task, paths, load_preset(task).name if arguments.preset == "alone" else arguments.preset
        )
        for task in tasks
    }
    print(shown(rows))
    results: dict[str, object] = {"pictures": len(paths), "rows": rows}
    if not arguments.tasks:
        results["detector"] = confusion(pipe, paths, arguments.seed)
        print(f"\n{shown_confusion(results['detector'])}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
