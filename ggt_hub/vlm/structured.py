"""Replies in JSON: asked for by a schema, read leniently, checked strictly, asked for once more where they fail."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ggt_hub.vlm.asking import Asker, Question
from ggt_hub.vlm.ledger import Entry

_Model = TypeVar("_Model", bound=BaseModel)

NOT_AS_ASKED = "no JSON as asked"
"""How the reason begins of an answer that does not hold."""

_AGAIN = "That is not the JSON that was asked for: {fault}. Answer with that JSON alone."


def response_format(kind: type[BaseModel]) -> dict[str, Any]:
    """What servers are told, so that they answer in JSON of this kind."""
    schema = _strict(kind.model_json_schema())
    return {
        "type": "json_schema",
        "json_schema": {"name": kind.__name__.lower(), "strict": True, "schema": schema},
    }


def _strict(schema: Any) -> Any:
    """A schema of which every object, also within, has all its fields and no others, as OpenAI demands."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _strict(value) for name, value in schema.items()}
    if inner.get("type") == "object" and "properties" in inner:
        inner |= {"additionalProperties": False, "required": list(inner["properties"])}
    return inner


def ask_structured(
    asker: Asker, question: Question, kind: type[_Model], number: Sequence[int] = (0, 0)
) -> tuple[_Model | None, Entry]:
    """The answer to a question, checked, and the entry that it is from; None where there is no answer that holds.

    A reply that is not as asked is shown to the model once, with what is wrong, which is a question of its own.

    Raises:
        JudgeError: as `Asker.ask`.
    """
    entry = asker.ask(question, number)
    if entry.state != "answered":
        return None, entry
    answer, fault = read_structured(entry.content or "", kind)
    if answer is not None:
        return answer, entry
    later = (*question.later, ("assistant", entry.content or ""), ("user", _AGAIN.format(fault=fault)))
    entry = asker.ask(replace(question, later=later), number)
    if entry.state != "answered":
        return None, entry
    answer, fault = read_structured(entry.content or "", kind)
    if answer is None:
        entry = replace(entry, state="refused", reason=f"{NOT_AS_ASKED}: {fault}")
    return answer, entry


def read_structured(text: str, kind: type[_Model]) -> tuple[_Model | None, str]:
    """What a reply says, though words or fences may stand around it, or what is wrong with it.

    Nothing is mended: a field that is missing, of another type or out of its range is a fault.
    """
    fault = "there is none"
    for found in re.finditer(r"\{", text):
        try:
            content, _ = json.JSONDecoder(parse_constant=_refuse).raw_decode(text, found.start())
        except (ValueError, RecursionError):
            continue
        try:
            return kind.model_validate(content, strict=True), ""
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            return None, f"{place}: {first['msg'].lower()}" if place else first["msg"].lower()
    return None, fault


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")
