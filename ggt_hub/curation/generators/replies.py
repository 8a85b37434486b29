"""What all generators make of what came back: a picture, or the reason why it is none."""

import base64
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from ggt_hub.errors import JudgeError
from ggt_hub.vlm import Reply
from ggt_hub.vlm.openai_server import masked, read_json

LONGEST_REPLY = 128 * 1024 * 1024
"""Bytes: a picture of 4096 x 4096 as PNG, in base64."""


FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF")
"""Those that are opened. Pillow would run programs for others (EPS), which nobody is to send us."""

Line = tuple[str | None, Reply | JudgeError | None]
"""A line of what came of a batch: its name, and a reply, a refusal (`QuestionRefusedError`), or why it was not done
and is free again; None for what cannot be read."""


class Collected(NamedTuple):
    """What came of a batch.

    Attributes:
        lines: in any order.
        are_all: whether all was done, so that a line that is not there was lost, and is not free.
        done: how many replies there are, by the server's own count.
    """

    lines: Iterable[Line]
    are_all: bool
    done: int = 0


def lines_of(path: Path, key: str) -> Iterator[Any]:
    """What the lines of a file of JSON say, without the key; None for one that is none."""
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield read_json(masked(line.decode("utf-8", "replace"), key))


_URL_SAFE = str.maketrans("-_", "+/")
_FOREIGN = re.compile("[^A-Za-z0-9+/]")


def reply_with(encoded: Any, text: str, **told: Any) -> Reply:
    """The reply that holds a picture in base64; a refusal, with all that came, where it cannot be read.

    Args:
        encoded: as the server has written it.
        text: what is to be kept of the reply besides.
        **told: cost, usage and request id.
    """
    data, fault = _decoded(encoded)
    fault = fault or fault_of(data)
    return Reply(text, (data,) if data else (), refusal=fault, **told)


def fault_of(data: bytes) -> str | None:
    """Why a file is no picture; None where it is one."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            picture.load()
    except Exception as error:  # noqa: BLE001  files of strangers break decoders in every way
        said = " ".join(str(error).partition(" <")[0].split())  # without the place of an object in memory
        return f"the picture is damaged: {said[:120]}"
    return None


def _decoded(encoded: Any) -> tuple[bytes, str | None]:
    """Bytes, and why they are not all; what was cut is decoded as far as it goes, to be kept."""
    if not isinstance(encoded, str) or not encoded:
        return b"", "a picture without bytes"
    if encoded.startswith("data:"):
        encoded = encoded.partition(",")[2]
    encoded = "".join(encoded.split())
    try:
        return base64.b64decode(encoded.translate(_URL_SAFE), validate=True), None
    except ValueError:
        letters = _FOREIGN.sub("", encoded.translate(_URL_SAFE))
        whole = letters[: len(letters) // 4 * 4]
        return base64.b64decode(whole), "the picture is damaged: its base64 is cut"
