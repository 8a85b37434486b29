"""The vocabulary of restoration tasks, shared by data, degradations, models and reports.

The first nine are RealRestorer's (arXiv 2603.25502, table 1); `snow`, `old_photo` and `general` are
needed for data and models that go beyond them. `general` stands for a mixture, or for damage nobody
has named.
"""

import re
from itertools import pairwise
from typing import Literal, get_args

from ggt_hub.errors import TaskError, did_you_mean

Task = Literal[
    "blur",
    "compression",
    "moire",
    "low_light",
    "noise",
    "flare",
    "reflection",
    "haze",
    "rain",
    "snow",
    "old_photo",
    "general",
]

TASKS: tuple[Task, ...] = get_args(Task)


def check_task(task: str, supported: tuple[Task, ...] = get_args(Task), who: str = "ggt-hub") -> Task:
    """Return `task` if `who` supports it.

    Raises:
        TaskError: if it does not; the message lists what is supported.
    """
    if task not in supported:
        hint = did_you_mean(task, supported)
        raise TaskError(f"unknown task {task!r}: {who} knows {', '.join(supported)}{hint}")
    return task


# What datasets call the tasks: folder names of RealIR-Bench, categories of GGT-100K, and habits of the field.
LABELS: dict[str, Task] = {
    "dark": "low_light",
    "deblur": "blur",
    "dehaze": "haze",
    "deflare": "flare",
    "demoire": "moire",
    "denoise": "noise",
    "derain": "rain",
    "desnow": "snow",
    "fog": "haze",
    "foggy": "haze",
    "hazy": "haze",
    "jpeg": "compression",
    "lowlight": "low_light",
    "mix": "general",
    "mixed": "general",
    "old": "old_photo",
    "oldphoto": "old_photo",
    "oldphotos": "old_photo",
    "raindrop": "rain",
    "raindrops": "rain",
    "rainy": "rain",
    "snowy": "snow",
    **{task.replace("_", ""): task for task in TASKS},
}


def find_task(label: str) -> Task | None:
    """Find the task that a dataset means by `label`, such as "low-light", "01_haze" or "rain (mixed)".

    The whole label is looked up first, then neighbouring words, then single words; None where none is known.
    """
    words = [word for word in re.split(r"[^a-z]+", label.lower()) if word]
    neighbours = [first + second for first, second in pairwise(words)]
    for candidate in ("".join(words), *neighbours, *words):
        if candidate in LABELS:
            return LABELS[candidate]
    return None
