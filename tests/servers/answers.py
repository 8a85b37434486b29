"""What the local Hub sends back, and how it says that something is wrong."""

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Answer(Exception):
    """A complete response: a status with a small body, or a stored file. Raised, it ends the handling."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    file: Path | None = None


def error(status: int, code: str, message: str) -> Answer:
    headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
    return Answer(status, json.dumps({"error": message}).encode(), headers)


def json_answer(content: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})
