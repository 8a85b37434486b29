"""What RealRestorer is told to do for each task: the texts of `instructions.json`, with source and SHA-256."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from ggt_hub.errors import TaskError
from ggt_hub.tasks import check_task

Language = Literal["en", "zh"]

LANGUAGES: tuple[Language, ...] = get_args(Language)


def instruction(task: str = "general", language: Language = "en") -> str:
    """What the model is told to do for `task`.

    For the first nine tasks it is the published instruction, the one fixed text per task that the weights were
    trained with (arXiv 2603.25502). For `snow`, `old_photo` and `general` no text is published: those are ours.

    Raises:
        TaskError: for a task or language that has none.
    """
    if language not in LANGUAGES:
        raise TaskError(f"no instructions in language {language!r}: choose one of {', '.join(LANGUAGES)}")
    texts = _texts()
    return {**texts["published"][language]["texts"], **texts["own"][language]}[check_task(task)]


@cache
def _texts() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "instructions.json").read_text(encoding="utf-8"))
