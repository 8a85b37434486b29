"""The ends of the scale on which `data score-quality` measures: prints `ggt_hub/metrics/quality_scale.json`.

    python benchmarks/quality_scale.py FOLDER

FOLDER holds clean photographs. Each is scored as it is and once damaged by the preset `mixture` (severity drawn,
its number as seed), so that the scale reaches from damaged pictures to good ones; the 5th and the 95th percentile
are its ends. What ships was measured on the 400 photographs of BSDS500's train and test part. On standard error:
percentiles 5, 25, 50, 75, 95 of the quality of the clean and of the damaged ones.
"""

import sys
from pathlib import Path

import numpy as np

from ggt_hub.commit import to_json
from ggt_hub.degradations import degrade
from ggt_hub.files import list_pictures
from ggt_hub.images import read_image
from ggt_hub.metrics.quality import (
    FREE_EXPERTS,
    Ends,
    expert_scores,
    measured_scale,
    quality,
    scale_to_json,
)


def main(folder):
    scores = []
    for number, path in enumerate(list_pictures(Path(folder))):
        picture = read_image(path)
        for version in (picture, degrade(picture, "mixture", seed=number)[0]):
            scores.append(expert_scores(version.pixels, FREE_EXPERTS))
    scale = {name: Ends(*(round(end, 2) for end in ends)) for name, ends in measured_scale(scores).items()}
    print(to_json(scale_to_json(scale)), end="")
    for name, some in (("clean", scores[::2]), ("damaged", scores[1::2])):
        print(
            name,
            np.percentile([quality(of_one, scale) for of_one in some], [5, 25, 50, 75, 95]).round(2),
            file=sys.stderr,
        )


if __name__ == "__main__":
    main(sys.argv[1])
