"""The quality dial of the compact restorer: ten steps of it beside an unsharp mask and the sweep of `strength`.

    python -m benchmarks.quality_dial --images ../shared/images/clean/val --real ../shared/images/real/general

PIQE and BRISQUE conditioned the prior; NIQE and the blur metric of Crete et al. (2007, scikit-image) did
not. Means over the pictures and the kinds of damage. Whether it is still the same scene in the same place say the
checks of pairs, against the clean targets or, for real photographs, which have none and so no PSNR, the input.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import spearmanr
from skimage.measure import blur_effect
from tqdm import tqdm

from ggt_hub import RestorerPipeline, metrics
from ggt_hub.errors import MetricError
from ggt_hub.evaluation.fixed_damage import damage
from ggt_hub.files import list_pictures
from ggt_hub.images import write_image
from ggt_hub.images.shown import shown_rgb
from ggt_hub.reports import contact_sheet
from ggt_hub.samples import load_samples

Pixels = np.ndarray  # height x width x 3, uint8
RESULTS = Path(__file__).parent / "results" / "quality_dial.json"
STEPS = [round(0.05 + 0.1 * step, 2) for step in range(10)]
SIDE, EDGE = 240, 28  # of a plot, in pixels
DAMAGE: dict[str, list[dict[str, float | str]]] = {
    "noise 25": [{"rule": "noise", "sigma": 25}],
    "JPEG 20": [{"rule": "jpeg", "quality": 20}],
    "blur 1.2": [{"rule": "blur", "sigma": 1.2}],
    "half size and back": [{"rule": "half_and_back"}],
    "mixture": [
        {"rule": "blur", "sigma": 0.8},
        {"rule": "noise", "sigma": 8},
        {"rule": "jpeg", "quality": 40},
    ],
}
METRICS: dict[str, Callable[[Pixels], float]] = {
    "PIQE": lambda x: float(metrics.compute(["piqe"], [x])["piqe"][0]),
    "BRISQUE": lambda x: float(metrics.compute(["brisque"], [x])["brisque"][0]),
    "NIQE": lambda x: float(metrics.compute(["niqe"], [x])["niqe"][0]),
    "blur": lambda x: float(blur_effect(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY))),
}
IDENTITY: dict[str, Callable[..., np.ndarray]] = {
    "shift": metrics.registration_error,  # pixels
    "structure": metrics.ssim_at_192,
}


def unsharp(x: Pixels, amount: float) -> Pixels:
    levels = x.astype(np.float32)
    sharper = levels + np.float32(amount) * (levels - cv2.GaussianBlur(levels, (0, 0), 1.0))
    return np.clip(np.rint(sharper), 0, 255).astype(np.uint8)


def results(pipe: RestorerPipeline, lq: Pixels) -> dict[str, Pixels]:
    """Everything that is compared, by its name."""

    def restored(**options: float) -> Pixels:
        return np.asarray(pipe(lq, **options).images[0])

    plain = restored()
    return (
        {"input": lq, "off": plain}
        | {f"quality {step}": restored(quality=step) for step in STEPS}
        | {f"unsharp {amount}": unsharp(plain, amount) for amount in (0.2, 0.4, 0.6)}
        | {f"strength {share}": restored(strength=share) for share in (0.9, 0.8)}
    )


def scored(x: Pixels, lq: Pixels, gt: Pixels | None) -> dict[str, float]:
    found = {} if gt is None else {"PSNR": float(metrics.psnr([x], [gt])[0])}
    found |= {name: score_of(metric, x) for name, metric in METRICS.items()}
    reference = lq if gt is None else gt
    return found | {name: float(check([x], [reference])[0]) for name, check in IDENTITY.items()}


def score_of(metric: Callable[[Pixels], float], x: Pixels) -> float:
    try:
        return metric(x)
    except MetricError:  # too small a picture for NIQE
        return float("nan")


def means(rows: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Name -> metric -> mean; scores that do not exist (no texture, too small) are left out."""
    return {
        name: {metric: float(np.nanmean([row[name][metric] for row in rows])) for metric in rows[0][name]}
        for name in rows[0]
    }


def measure_damaged(pipe: RestorerPipeline, paths: list[Path]) -> dict[str, dict[str, float]]:
    rows = []
    for path in tqdm(paths, desc="damaged"):
        gt = shown_rgb(path)
        for steps in DAMAGE.values():
            lq = damage(gt, steps)
            given = {"clean": gt} | results(pipe, lq)
            rows.append({name: scored(x, lq, gt) for name, x in given.items()})
    return means(rows)


def measure_real(pipe: RestorerPipeline, paths: list[Path]) -> dict[str, dict[str, float]]:
    rows = []
    for path in tqdm(paths, desc="real"):
        lq = shown_rgb(path)
        rows.append({name: scored(x, lq, None) for name, x in results(pipe, lq).items()})
    return means(rows)


def shown(table: dict[str, dict[str, float]]) -> str:
    columns = list(table["off"])
    lines = [f"| | {' | '.join(columns)} |", "| --- " + "| ---: " * len(columns) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[c]:.3f}' for c in columns)} |" for name, row in table.items()]
    orders = {
        c: float(spearmanr(STEPS, [table[f"quality {step}"][c] for step in STEPS]).statistic) for c in METRICS
    }
    return "\n".join(
        [*lines, "", "Spearman of the ten steps: " + ", ".join(f"{c} {r:+.2f}" for c, r in orders.items())]
    )


def sheet(pipe: RestorerPipeline, path: Path) -> None:
    """Three photographs of the package, in the public domain: as they came, without the dial, and at four steps."""
    samples = [sample for sample in load_samples() if sample.name in ("astronaut", "chelsea", "coffee")]
    qualities = (None, 0.05, 0.35, 0.65, 0.95)
    pictures, captions = [], []
    for sample in samples:
        pictures += [sample.image, *(pipe(sample.image, quality=quality).images[0] for quality in qualities)]
        captions += [f"{sample.title}, before", "off", *(f"quality {quality}" for quality in qualities[1:])]
    write_image(contact_sheet(pictures, captions, columns=6, cell=300), path, quality=90)


def plot(table: dict[str, dict[str, float]], path: Path) -> None:
    """PSNR and metrics along the ten steps; a dark line is without the dial, a green one of clean targets."""
    names = ["PSNR", *METRICS]
    pictures = [
        curve(
            [table[f"quality {step}"][name] for step in STEPS],
            table["off"][name],
            None if name == "PSNR" else table["clean"][name],
        )
        for name in names
    ]
    write_image(contact_sheet(pictures, names, columns=len(names), cell=SIDE), path, quality=90)


def curve(values: list[float], off: float, clean: float | None) -> Image.Image:
    """Values at equal steps to the right, with marks of two levels."""
    levels = [*values, off] if clean is None else [*values, off, clean]
    low, high = min(levels), max(levels)
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw, inner = ImageDraw.Draw(picture), SIDE - 2 * EDGE

    def place(step: int, value: float) -> tuple[float, float]:
        return EDGE + inner * step / (len(values) - 1), SIDE - EDGE - inner * (value - low) / (high - low)

    for level, colour in ((off, "#444444"), (clean, "#2a9d5c")):
        if level is not None:
            draw.line([place(0, level), place(len(values) - 1, level)], fill=colour, width=2)
    points = [place(*point) for point in enumerate(values)]
    draw.line(points, fill="#2266cc", width=3, joint="curve")
    for x, y in points:
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill="#2266cc")
    for value, anchor, y in ((high, "la", 6), (low, "ld", SIDE - 6)):
        draw.text((6, y), f"{value:.3g}", fill="#444444", font=ImageFont.load_default(15), anchor=anchor)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--real", type=Path, help="real photographs")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--prior", type=Path, help="another quality prior")
    parser.add_argument("--every", type=int, default=5, help="each fifth picture, or the like")
    parser.add_argument("--sheet", type=Path, help="also write this contact sheet")
    parser.add_argument("--plot", type=Path, help="also write this plot of the damaged photographs")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    pipe = RestorerPipeline.from_pretrained(arguments.model)
    pipe.set_progress_bar_config(disable=True)
    if arguments.prior:
        pipe.load_quality_prior(arguments.prior)
    if arguments.sheet:
        sheet(pipe, arguments.sheet)
    paths = list_pictures(arguments.images)[:: arguments.every]
    found = {"pictures": len(paths), "damaged": measure_damaged(pipe, paths)}
    print(shown(found["damaged"]), flush=True)
    if arguments.plot:
        plot(found["damaged"], arguments.plot)
    if arguments.real:
        real = list_pictures(arguments.real)
        found |= {"real pictures": len(real), "real": measure_real(pipe, real)}
        print(f"\n{shown(found['real'])}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
