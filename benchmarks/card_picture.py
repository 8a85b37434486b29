"""Make the picture of the compact restorer's card: photographs of the package, before and after.

python benchmarks/card_picture.py model_cards/compact/before-after.webp
"""

import sys
from pathlib import Path

from ggt_hub import RestorerPipeline
from ggt_hub.images import write_image
from ggt_hub.reports import contact_sheet
from ggt_hub.samples import load_samples

SHOWN = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
)  # in the public domain, so that the card needs no credits


def main(output: str) -> None:
    samples = [sample for sample in load_samples() if sample.name in SHOWN]
    pipe = RestorerPipeline.from_pretrained("compact")
    tasks = ["low_light" if sample.task == "low_light" else None for sample in samples]
    restored = [pipe(s.image, task=task).images[0] for s, task in zip(samples, tasks, strict=True)]
    pictures = [*(sample.image for sample in samples), *restored]
    captions = [f"{sample.title}, {when}" for when in ("before", "after") for sample in samples]
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    write_image(contact_sheet(pictures, captions, columns=len(SHOWN), cell=400), Path(output), quality=90)


if __name__ == "__main__":
    main(sys.argv[1])
