"""Whether noise brightens shadows: the mean signed error of the compact restorer where pictures are dark.

    python -m benchmarks.compact_shadows --images ../shared/images/clean/val --every 4

Noise of sigma 25 is clipped at black, so that it brightens what is dark; a restorer has to undo that. Levels of
255, over all pixels under 40: of the output, and of the truth.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ggt_hub import RestorerPipeline
from ggt_hub.evaluation.fixed_damage import noise
from ggt_hub.files import list_pictures
from ggt_hub.images.shown import shown_rgb

DARK = 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--every", type=int, default=1, help="only every so many pictures")
    arguments = parser.parse_args()
    pipe = RestorerPipeline.from_pretrained(arguments.model)
    pipe.set_progress_bar_config(disable=True)
    sums = {"output": [0.0, 0], "truth": [0.0, 0]}
    for path in tqdm(list_pictures(arguments.images)[:: arguments.every], unit="picture"):
        gt = shown_rgb(path)
        restored = np.asarray(pipe(noise(gt, sigma=25)).images[0])
        error = restored.astype(np.float64) - gt
        for name, picture in (("output", restored), ("truth", gt)):
            dark = error[picture < DARK]
            sums[name] = [sums[name][0] + dark.sum(), sums[name][1] + dark.size]
    for name, (total, count) in sums.items():
        print(f"{name} under {DARK}: mean error {total / max(1, count):+.2f} levels, {count} values")


if __name__ == "__main__":
    main()
