"""Documents as the tests see them: their blocks of code, the files they speak of, the commands they name."""

import re
import shlex
from pathlib import Path

from PIL import Image

from tests.photographs import photograph

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.M | re.S)


def read(document: str | Path) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def fences(text: str) -> list[tuple[str, str]]:
    """(language, content) of each block of code, in order."""
    return FENCE.findall(text)


def blocks(text: str, language: str) -> list[str]:
    return [content for found, content in fences(text) if found == language]


def command_lines(block: str) -> list[list[str]]:
    """The words after `ggt-hub` of each of its calls in a block of shell; comments are left out."""
    lines = block.replace("\\\n", " ").splitlines()
    return [words[1:] for line in lines if (words := shlex.split(line, comments=True))[:1] == ["ggt-hub"]]


def lay_out_desk(folder: Path) -> Path:
    """Write the files that the documents speak of, and return the folder."""
    for name in ("photos", "my-pairs/lq", "my-pairs/gt", "assets/pictures"):
        (folder / name).mkdir(parents=True)
    for name in ("photo.jpg", "night.jpg", "photos/one.jpg", "assets/pictures/window.jpg"):
        Image.fromarray(photograph(256)).save(folder / name)
    for name, side in {"a.jpg": 256, "b.jpg": 192}.items():
        Image.fromarray(photograph(side)).save(folder / "my-pairs/gt" / name, quality=95)
        Image.fromarray(photograph(side)).save(folder / "my-pairs/lq" / name, quality=15)
    return folder
