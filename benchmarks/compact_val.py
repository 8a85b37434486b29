"""The table of the compact restorer: the suite `compact-val` before and after, each row beside a trivial baseline.

    python benchmarks/compact_val.py --images ../shared/images/clean/val

For noise the baseline is OpenCV's non-local means at the strength that is best for the row; for low light, the
constant gain that is best for the row (which so knows the exposure). Elsewhere it is the input itself.
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ggt_hub import RestorerPipeline, metrics, read_image
from ggt_hub.evaluation import load_suite
from ggt_hub.evaluation.suite import Item, Suite

Picture = np.ndarray  # height x width x 3, uint8
RESULTS = Path(__file__).parent / "results" / "compact_val.json"
GAINS = np.arange(1.6, 3.01, 0.1)


def psnr(x: Picture, gt: Picture) -> float:
    return float(metrics.psnr([x], [gt])[0])


def ssim(x: Picture, gt: Picture) -> float:
    return float(metrics.ssim([x], [gt])[0])


def clean(item: Item) -> Picture:
    return np.asarray(read_image(item.gt).to_pil().convert("RGB"))


def baselines(item: Item) -> dict[str, Picture]:
    kind, _, amount = item.task.partition(" ")
    if kind == "noise":
        strengths = [round(float(amount) * share, 1) for share in (0.3, 0.45, 0.6, 0.8)]
        return {
            f"non-local means h={h}": cv2.fastNlMeansDenoisingColored(item.lq, None, h, h) for h in strengths
        }
    if item.task == "low light":
        return {f"gain {g:.1f}": np.clip(np.rint(item.lq * g), 0, 255).astype(np.uint8) for g in GAINS}
    return {"input": item.lq}


def best_baseline(items: list[Item]) -> dict[str, object]:
    scores: dict[str, list[float]] = {}
    for item in tqdm(items, desc=f"baseline of {items[0].task}", leave=False):
        for name, picture in baselines(item).items():
            scores.setdefault(name, []).append(psnr(picture, clean(item)))
    name = max(scores, key=lambda key: np.mean(scores[key]))
    return {"baseline": name, "baseline_psnr": float(np.mean(scores[name]))}


def measure(pipe: RestorerPipeline, items: list[Item]) -> dict[str, object]:
    before, after, shifts, megapixels, seconds = [], [], [], 0.0, 0.0
    for item in tqdm(items, desc=items[0].task, leave=False):
        gt = clean(item)
        started = time.perf_counter()
        restored = np.asarray(pipe(item.lq, task=item.hint).images[0])
        seconds += time.perf_counter() - started
        megapixels += gt.shape[0] * gt.shape[1] / 1e6
        before.append((psnr(item.lq, gt), ssim(item.lq, gt)))
        after.append((psnr(restored, gt), ssim(restored, gt)))
        shifts.append(restored.mean() / max(item.lq.mean(), 1) - 1)
    (psnr_before, ssim_before), (psnr_after, ssim_after) = np.mean(before, 0), np.mean(after, 0)
    return {
        "psnr_before": float(psnr_before),
        "psnr_after": float(psnr_after),
        "psnr_worst": float(min(score for score, _ in after)),
        "ssim_before": float(ssim_before),
        "ssim_after": float(ssim_after),
        "brightness_shift_mean": float(np.mean(shifts)),
        "brightness_shift_most": float(np.abs(shifts).max()),
        "psnr_each": [round(float(score), 3) for score, _ in after],
        "megapixels_per_second": megapixels / seconds,
    }


def rows(suite: Suite, limit: int | None) -> dict[str, list[Item]]:
    """The items of each row, in the order of the suite's first picture."""
    found: dict[str, list[Item]] = {}
    for item in suite.items():
        found.setdefault(item.task, []).append(item)
    return {row: items[:limit] for row, items in found.items()}


def table(results: dict[str, dict]) -> str:
    lines = [
        "| damage | PSNR before | after | gain | SSIM before | after | worst | baseline |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row, r in results.items():
        gain = "" if row == "clean" else f"{r['psnr_after'] - r['psnr_before']:+.2f}"
        baseline = "" if r["baseline"] == "input" else f"{r['baseline_psnr']:.2f} ({r['baseline']})"
        lines.append(
            f"| {row} | {r['psnr_before']:.2f} | {r['psnr_after']:.2f} | {gain} | {r['ssim_before']:.3f} | "
            f"{r['ssim_after']:.3f} | {r['psnr_worst']:.2f} | {baseline} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--limit", type=int, help="only the first so many pictures of each row")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--keep-baselines", action="store_true", help="take them from the last results")
    arguments = parser.parse_args()
    if arguments.keep_baselines and not arguments.output.is_file():
        parser.error(f"--keep-baselines takes them from {arguments.output}, which is not there")
    known = json.loads(arguments.output.read_text())["rows"] if arguments.keep_baselines else {}
    pipe = RestorerPipeline.from_pretrained(arguments.model)
    pipe.set_progress_bar_config(disable=True)
    results: dict[str, dict] = {}
    for row, items in rows(load_suite("compact-val", arguments.images), arguments.limit).items():
        kept = {key: known[row][key] for key in ("baseline", "baseline_psnr")} if row in known else None
        results[row] = measure(pipe, items) | (kept or best_baseline(items))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"pictures": len(items), "rows": results}, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
