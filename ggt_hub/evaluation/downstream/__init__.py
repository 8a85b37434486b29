"""Does restoring help what looks at pictures afterwards? Detection on COCO, segmentation on ADE20K."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.downstream.ade20k import Segmentation, segmentation_items
from ggt_hub.evaluation.downstream.coco import Detection, detection_items
from ggt_hub.evaluation.suite import Item

_ITEMS: dict[str, Callable[[Path, dict[str, Any]], Iterator[Item]]] = {
    "detection": detection_items,
    "segmentation": segmentation_items,
}
_TASKS: dict[str, type[Detection] | type[Segmentation]] = {
    "detection": Detection,
    "segmentation": Segmentation,
}


def downstream_items(folder: Path, settings: dict[str, Any]) -> Iterator[Item]:
    """The poor pictures of a data set with their clean ones, in its own order.

    Args:
        folder: the data set as it unpacks, and the folder of poor pictures in it.
        settings: `downstream` of the suite's file: the task, and what lies where.

    Raises:
        EvaluationError: if something is not there.
    """
    return _ITEMS[settings["task"]](folder, settings)


def downstream_task(
    suite: str, folder: Path, settings: dict[str, Any], network: str | None, device: Any
) -> Detection | Segmentation:
    """What scores the pictures of a suite: annotations, and a network that is asked.

    Args:
        suite: its name.
        folder: the data set.
        settings: `downstream` of the suite's file.
        network: folder or Hub id of any of transformers' networks for the task.
        device: where it works.

    Raises:
        EvaluationError: if no network is named, it knows other classes, or annotations or a library are missing.
        HubError: if the network cannot be had.
    """
    task = _TASKS[settings["task"]]
    if network is None:
        raise EvaluationError(f"{suite} asks a network: name one with --task-model, such as {task.example}")
    return task(folder, settings, network, device)
