"""The compact restorer on real photographs without ground truth: NIQE before and after, and sheets to look at.

    python benchmarks/compact_real.py --images ../shared/images/real --sheets out/real

One row for each sub-folder. Nothing is hinted, except `low_light` for the folder of that name.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ggt_hub import RestorerPipeline, metrics, read_image, write_image
from ggt_hub.reports import contact_sheet

RESULTS = Path(__file__).parent / "results" / "compact_real.json"


def rgb(picture: object) -> np.ndarray:
    return np.rint(255 * read_image(picture).rgb()).astype(np.uint8)


def niqe(picture: np.ndarray) -> float:
    """NaN for a picture that is too small for it (96 pixels a side)."""
    return float(metrics.niqe([picture])[0]) if min(picture.shape[:2]) >= 96 else float("nan")


def measure(pipe: RestorerPipeline, folder: Path, sheets: Path) -> dict[str, float]:
    task = "low_light" if folder.name == "lowlight" else None
    pictures, captions, before, after = [], [], [], []
    for path in tqdm(sorted(folder.iterdir()), desc=folder.name, leave=False):
        poor = rgb(path)
        restored = np.asarray(pipe(poor, task=task).images[0])
        before.append(niqe(poor))
        after.append(niqe(restored))
        pictures += [poor, restored]
        captions += [f"{path.name[:24]} NIQE {before[-1]:.2f}", f"{after[-1]:.2f}"]
    for first in range(0, len(pictures), 12):
        sheet = contact_sheet(pictures[first : first + 12], captions[first : first + 12], columns=4, cell=480)
        write_image(sheet, sheets / f"{folder.name}-{first // 12}.png")
    return {"pictures": len(before), "niqe_before": np.nanmean(before), "niqe_after": np.nanmean(after)}


def table(results: dict[str, dict]) -> str:
    lines = ["| photographs | count | NIQE before | after |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {name} | {r['pictures']} | {r['niqe_before']:.2f} | {r['niqe_after']:.2f} |"
        for name, r in results.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--sheets", type=Path, required=True)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    pipe = RestorerPipeline.from_pretrained(arguments.model)
    pipe.set_progress_bar_config(disable=True)
    arguments.sheets.mkdir(parents=True, exist_ok=True)
    folders = [folder for folder in sorted(arguments.images.iterdir()) if folder.is_dir()]
    results = {folder.name: measure(pipe, folder, arguments.sheets) for folder in folders}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
