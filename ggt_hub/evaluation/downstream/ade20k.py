"""Segmentation on ADE20K: mean intersection over union."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.downstream.folders import clean_pictures, part, poor_pictures
from ggt_hub.evaluation.downstream.networks import Segmenter
from ggt_hub.evaluation.suite import Item
from ggt_hub.vlm.judge import rgb_image

Labels = np.ndarray[Any, Any]


def segmentation_items(folder: Path, settings: dict[str, Any]) -> Iterator[Item]:
    """The labelled pictures of which there is a poor one, by name."""
    clean = clean_pictures(folder, settings)
    for name, path in poor_pictures(folder, settings, _labels(folder, settings)).items():
        yield Item(name, path, clean.get(name))


class Segmentation:
    """mIoU of what a segmenter finds, against label pictures: 0 is no class, n the network's class n - 1.

    Args:
        folder: the data set.
        settings: what lies where, and how many classes there are.
        network: folder or Hub id of a segmenter.
        device: where it works.

    Raises:
        EvaluationError: if labels are missing, or the segmenter has another number of classes.
        HubError: if the segmenter cannot be had.
    """

    example = "nvidia/segformer-b0-finetuned-ade-512-512"
    directions: ClassVar[dict[str, str]] = {"miou": "higher"}
    sides = ("before", "after", "clean")

    def __init__(self, folder: Path, settings: dict[str, Any], network: str, device: Any) -> None:
        self._labels = _labels(folder, settings)
        self._classes = int(settings["classes"])
        self._device = device
        self._segmenter = Segmenter.find(network)
        if self._segmenter.class_count != self._classes:
            raise EvaluationError(
                f"{network} tells {self._segmenter.class_count} classes apart, the data set has {self._classes}: "
                "take a segmenter trained on it"
            )

    @property
    def protocols(self) -> dict[str, str]:
        """What the number is."""
        return {
            "miou": f"mean over {self._classes} classes of intersection over union, of all pixels together; "
            f"found by {self._segmenter.identity} at its own size, compared at that of the labels"
        }

    def score(self, items: Sequence[Item], picture: Callable[[Item], Any]) -> dict[str, float]:
        """MIoU over all items; `picture` gives what is looked at in place of each."""
        counts = np.zeros((self._classes, self._classes), np.int64)
        for item in items:
            truth = read_labels(self._labels[item.id], self._classes)
            height, width = truth.shape
            found = self._segmenter.segment(rgb_image(picture(item)), height, width, self._device)
            counts += confusion(truth, found, self._classes)
        return {"miou": mean_iou(counts)}


def read_labels(path: Path, classes: int) -> Labels:
    """The class of each pixel, 0 up; -1 where there is none.

    Raises:
        EvaluationError: if it is no picture of labels up to `classes`.
    """
    try:
        labels = np.asarray(Image.open(path)).astype(np.int64)
    except OSError as error:
        raise EvaluationError(f"the labels {path.name} cannot be read: {error}") from error
    if labels.ndim != 2 or labels.max() > classes:
        raise EvaluationError(
            f"{path.name} holds no labels 0..{classes}, one a pixel: give the masks of SceneParsing"
        )
    return labels - 1


def confusion(truth: Labels, found: Labels, classes: int) -> Labels:
    """How many pixels of each class (rows) were taken for each (columns); those without a class do not count."""
    known = truth >= 0
    return np.bincount(classes * truth[known] + found[known], minlength=classes**2).reshape(classes, classes)


def mean_iou(counts: Labels) -> float:
    """Mean over the classes that are there or were found, 0..1; NaN where there is none."""
    right = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - right
    there = union > 0
    return float((right[there] / union[there]).mean()) if there.any() else float("nan")


def _labels(folder: Path, settings: dict[str, Any]) -> dict[str, Path]:
    place = part(folder, settings, "annotations")
    return {path.relative_to(place).with_suffix("").as_posix(): path for path in sorted(place.rglob("*.png"))}
