"""The vocabulary of restoration tasks, shared by data, degradations, models and reports.

The first nine are RealRestorer's (arXiv 2603.25502, table 1); `snow`, `old_photo` and `general` are
needed for data and models that go beyond them. `general` stands for a mixture, or for damage nobody
has named.
"""

from typing import Literal, get_args

from ggt_hub.errors import TaskError

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


def check_task(task: str, supported: tuple[Task, ...] = TASKS, who: str = "ggt-hub") -> Task:
    """Return `task` if `who` supports it.

    Raises:
        TaskError: if it does not; the message lists what is supported.
    """
    if task not in supported:
        raise TaskError(f"unknown task {task!r}: {who} knows {', '.join(supported)}")
    return task  # type: ignore[return-value]
