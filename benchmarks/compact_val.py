"""The table of the compact restorer: PSNR and SSIM before and after on clean photographs, damaged by fixed rules.

    python benchmarks/compact_val.py --images ../shared/images/clean/val

Each picture is damaged in 8 bits, clipped and rounded, with `numpy.random.default_rng(0)` of its own, restored with
no hint of what was done (low light: when asked), and compared with the original. Every row stands beside a trivial
baseline: for noise OpenCV's non-local means at the strength that is best for the row, for low light the best
constant gain for the row (which knows the exposure), otherwise the input itself.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from ggt_hub import RestorerPipeline, metrics

Picture = np.ndarray  # height x width x 3, uint8
RESULTS = Path(__file__).parent / "results" / "compact_val.json"


def psnr(x: Picture, gt: Picture) -> float:
    return float(metrics.psnr([x], [gt])[0])


def ssim(x: Picture, gt: Picture) -> float:
    return float(metrics.ssim([x], [gt])[0])


def noise(sigma: float) -> Callable[[Picture], Picture]:
    return lambda x: to_uint8(x + np.random.default_rng(0).normal(0, sigma, x.shape))


def jpeg(quality: int) -> Callable[[Picture], Picture]:
    def compress(x: Picture) -> Picture:
        buffer = io.BytesIO()
        Image.fromarray(x).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    return compress


def blur(sigma: float) -> Callable[[Picture], Picture]:
    return lambda x: cv2.GaussianBlur(x, (0, 0), sigma)


def low_light(x: Picture) -> Picture:
    noise = np.random.default_rng(0).normal(0, 0.01, x.shape)
    return to_uint8(255 * np.clip((x / 255) ** 2.2 * 0.15 + noise, 0, 1) ** (1 / 2.2))


def half_and_back(x: Picture) -> Picture:
    height, width = x.shape[:2]
    small = cv2.resize(x, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def mixture(x: Picture) -> Picture:
    """Blur sigma 1, noise sigma 10, JPEG 50."""
    return jpeg(50)(noise(10)(blur(1)(x)))


def to_uint8(x: np.ndarray) -> Picture:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


ROWS: dict[str, Callable[[Picture], Picture]] = {
    "noise sigma 15": noise(15),
    "noise sigma 25": noise(25),
    "noise sigma 50": noise(50),
    "JPEG quality 10": jpeg(10),
    "JPEG quality 20": jpeg(20),
    "JPEG quality 40": jpeg(40),
    "blur sigma 1": blur(1),
    "blur sigma 2": blur(2),
    "half size and back": half_and_back,
    "low light": low_light,
    "mixture": mixture,
    "clean": lambda x: x,
}


def nlm_candidates(x: Picture, sigma: float) -> dict[str, Picture]:
    strengths = [round(sigma * share, 1) for share in (0.3, 0.45, 0.6, 0.8)]
    return {f"non-local means h={h}": cv2.fastNlMeansDenoisingColored(x, None, h, h) for h in strengths}


def gain_candidates(x: Picture) -> dict[str, Picture]:
    return {f"gain {gain:.1f}": to_uint8(x * gain) for gain in np.arange(1.6, 3.01, 0.1)}


def baselines(row: str, x: Picture) -> dict[str, Picture]:
    if row.startswith("noise"):
        return nlm_candidates(x, float(row.split()[-1]))
    return gain_candidates(x) if row == "low light" else {"input": x}


def best_baseline(row: str, photographs: Iterable[Picture]) -> dict[str, object]:
    scores: dict[str, list[float]] = {}
    for clean in tqdm(list(photographs), desc=f"baseline of {row}", leave=False):
        for name, picture in baselines(row, ROWS[row](clean)).items():
            scores.setdefault(name, []).append(psnr(picture, clean))
    name = max(scores, key=lambda key: np.mean(scores[key]))
    return {"baseline": name, "baseline_psnr": float(np.mean(scores[name]))}


def measure(pipe: RestorerPipeline, row: str, photographs: list[Picture]) -> dict[str, object]:
    before, after, shifts, megapixels, seconds = [], [], [], 0.0, 0.0
    for clean in tqdm(photographs, desc=row, leave=False):
        damaged = ROWS[row](clean)
        started = time.perf_counter()
        restored = np.asarray(pipe(damaged, task="low_light" if row == "low light" else None).images[0])
        seconds += time.perf_counter() - started
        megapixels += clean.shape[0] * clean.shape[1] / 1e6
        before.append((psnr(damaged, clean), ssim(damaged, clean)))
        after.append((psnr(restored, clean), ssim(restored, clean)))
        shifts.append(restored.mean() / max(damaged.mean(), 1) - 1)
    (psnr_before, ssim_before), (psnr_after, ssim_after) = np.mean(before, 0), np.mean(after, 0)
    return {
        "psnr_before": float(psnr_before),
        "psnr_after": float(psnr_after),
        "psnr_worst": float(min(score for score, _ in after)),
        "ssim_before": float(ssim_before),
        "ssim_after": float(ssim_after),
        "brightness_shift": float(np.abs(shifts).max()),
        "per_picture": [float(score) for score, _ in after],
        "megapixels_per_second": megapixels / seconds,
    }


def table(results: dict[str, dict]) -> str:
    lines = [
        "| damage | PSNR before | after | gain | SSIM before | after | worst | baseline |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row, r in results.items():
        gain = "" if row == "clean" else f"{r['psnr_after'] - r['psnr_before']:+.2f}"
        baseline = "" if r["baseline"] == "input" else f"{r['baseline_psnr']:.2f} ({r['baseline']})"
        before = "inf" if row == "clean" else f"{r['psnr_before']:.2f}"
        lines.append(
            f"| {row} | {before} | {r['psnr_after']:.2f} | {gain} | {r['ssim_before']:.3f} | "
            f"{r['ssim_after']:.3f} | {r['psnr_worst']:.2f} | {baseline} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--limit", type=int, help="only the first so many pictures")
    parser.add_argument("--rows", help="comma-separated; all if not given")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--keep-baselines", action="store_true", help="take them from the last results")
    arguments = parser.parse_args()
    paths = sorted(arguments.images.glob("*"))[: arguments.limit]
    photographs = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    known = json.loads(arguments.output.read_text())["rows"] if arguments.keep_baselines else {}
    pipe = RestorerPipeline.from_pretrained(arguments.model)
    pipe.set_progress_bar_config(disable=True)
    results = {}
    for row in arguments.rows.split(",") if arguments.rows else ROWS:
        kept = {key: value for key, value in known.get(row, {}).items() if key.startswith("baseline")}
        results[row] = measure(pipe, row, photographs) | (kept or best_baseline(row, photographs))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"pictures": len(paths), "rows": results}, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
