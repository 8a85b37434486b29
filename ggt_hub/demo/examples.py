"""The package's own photographs as examples: thumbnails to click, files to start from."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ggt_hub.demo.layout import credits_of
from ggt_hub.demo.restorers import AUTOMATIC
from ggt_hub.images import write_image
from ggt_hub.samples import Sample, load_samples

THUMBNAIL = 256
"""Pixels of the longer side: small files, so that the page is there at once."""


class Examples:
    """All samples, written once to a folder that outlives the files of visitors.

    Args:
        folder: an empty folder; Gradio copies from it what it serves.
    """

    def __init__(self, folder: Path) -> None:
        self.samples = load_samples()
        self._folder = folder

    def component(self, keep: Callable[[Sample], bool] = lambda sample: True) -> gr.Dataset:
        """A row of thumbnails of the samples that `keep` accepts; a click gives the sample's name."""
        samples = [sample for sample in self.samples if keep(sample)]
        made = gr.Dataset(
            components=[gr.Image(visible=False, label="Photograph")],
            samples=[[str(self._thumbnails[sample.name])] for sample in samples],
            type="tuple",
            label="Examples",
            show_label=False,
            samples_per_page=len(samples),
            elem_classes="examples",
        )
        credits_of(samples)
        return made

    def find(self, clicked: tuple[int, list[Any]]) -> Sample:
        """The sample whose thumbnail was clicked."""
        name = Path(clicked[1][0]).stem
        return next(sample for sample in self.samples if sample.name == name)

    def load(self, clicked: tuple[int, list[Any]]) -> tuple[Path, str]:
        """The poor picture of a sample, and the task to set: low light is lifted only when asked."""
        sample = self.find(clicked)
        return self.poor(sample), sample.task if sample.task == "low_light" else AUTOMATIC

    def poor(self, sample: Sample) -> Path:
        """The sample as a file, as it is to be restored."""
        return self._write(sample.image, f"{sample.name}.png")

    def clean(self, sample: Sample) -> Path | None:
        """The sample before it was damaged, as a file; None where it is poor by nature."""
        return None if sample.clean is None else self._write(sample.clean, f"{sample.name}-clean.png")

    @cached_property
    def _thumbnails(self) -> dict[str, Path]:
        made = {}
        for sample in self.samples:
            small = sample.image.convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL))
            made[sample.name] = self._write(small, f"thumbnails/{sample.name}.jpg")
        return made

    def _write(self, image: Image.Image, name: str) -> Path:
        path = self._folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(image, path)
        return path
