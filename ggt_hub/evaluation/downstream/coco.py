"""Detection on COCO: average precision of boxes, by pycocotools."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.downstream.folders import clean_pictures, part, poor_pictures
from ggt_hub.evaluation.downstream.networks import Detector
from ggt_hub.evaluation.suite import Item
from ggt_hub.vlm.judge import rgb_image

# How some detectors call COCO's classes, after Pascal VOC.
_OTHER_NAMES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}


def detection_items(folder: Path, settings: dict[str, Any]) -> Iterator[Item]:
    """The annotated pictures of which there is a poor one, in the order of the annotations."""
    clean = clean_pictures(folder, settings)
    for name, path in poor_pictures(folder, settings, _images(folder, settings)).items():
        yield Item(name, path, clean.get(name))


class Detection:
    """AP of what a detector finds, against COCO's annotations.

    Args:
        folder: the data set.
        settings: what lies where.
        network: folder or Hub id of a detector.
        device: where it works.

    Raises:
        EvaluationError: if pycocotools or the annotations are missing, or the detector knows none of the classes.
        HubError: if the detector cannot be had.
    """

    example = "facebook/detr-resnet-50"
    directions: ClassVar[dict[str, str]] = {"ap": "higher", "ap50": "higher", "ap75": "higher"}
    sides = ("before", "after", "clean")

    def __init__(self, folder: Path, settings: dict[str, Any], network: str, device: Any) -> None:
        if find_spec("pycocotools") is None:
            raise EvaluationError("AP needs pycocotools: pip install 'ggt-hub[metrics]'")
        self._annotations = part(folder, settings, "annotations")
        self._images = _images(folder, settings)
        self._device = device
        self._detector = Detector.find(network)
        self._categories = self._known_categories()

    @property
    def protocols(self) -> dict[str, str]:
        """What the numbers are."""
        what = {"ap": "IoU 0.50 to 0.95", "ap50": "IoU 0.50", "ap75": "IoU 0.75"}
        by = f"boxes found by {self._detector.identity}; pycocotools, at most 100 a picture and class"
        return {name: f"average precision, {iou}; {by}" for name, iou in what.items()}

    def score(self, items: Sequence[Item], picture: Callable[[Item], Any]) -> dict[str, float]:
        """AP over all items; `picture` gives what is looked at in place of each."""
        found = [box for item in items for box in self._boxes(item, picture(item))]
        return average_precision(self._annotations, found, [self._images[item.id]["id"] for item in items])

    def _boxes(self, item: Item, picture: Any) -> list[dict[str, Any]]:
        """As COCO's results are written: corner, width and height."""
        image = self._images[item.id]
        found = self._detector.detect(rgb_image(picture), image["height"], image["width"], self._device)
        return [
            {
                "image_id": image["id"],
                "category_id": self._categories[box["label"]],
                "bbox": _corner_and_sides(*box["corners"]),
                "score": box["score"],
            }
            for box in found
            if box["label"] in self._categories
        ]

    def _known_categories(self) -> dict[int, int]:
        """COCO's number of each class that the detector has, by its name: detectors number them differently."""
        content = json.loads(self._annotations.read_text(encoding="utf-8"))
        numbers = {category["name"]: category["id"] for category in content["categories"]}
        named = {
            label: _OTHER_NAMES.get(name.lower(), name.lower())
            for label, name in self._detector.classes.items()
        }
        known = {label: numbers[name] for label, name in named.items() if name in numbers}
        if missing := numbers.keys() - {named[label] for label in known}:
            some = ", ".join(sorted(missing)[:3])
            raise EvaluationError(
                f"{self._detector.source} does not know {len(missing)} of {len(numbers)} classes, such as {some}: "
                "take a detector trained on the data set, with its classes' names in config.json"
            )
        return known


def average_precision(
    annotations: Path, found: list[dict[str, Any]], images: Sequence[int]
) -> dict[str, float]:
    """AP, AP50 and AP75 of boxes, 0..1.

    Args:
        annotations: COCO's JSON of instances.
        found: as COCO's results are written: `image_id`, `category_id`, `bbox` (x, y, width, height) and `score`.
        images: numbers of those that count.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):  # it prints what it does
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(found) if found else COCO(), "bbox")
        evaluation.params.imgIds = sorted(images)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(("ap", "ap50", "ap75"), map(float, evaluation.stats[:3]), strict=True))


def _images(folder: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the annotations say of each picture, by its name without ending."""
    path = part(folder, settings, "annotations")
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        return {Path(image["file_name"]).with_suffix("").as_posix(): image for image in images}
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path} holds no annotations of COCO's instances ({error!r})") from error


def _corner_and_sides(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right - left, bottom - top]
