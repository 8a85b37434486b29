"""What models are asked, and by which rules: data, so that a changed word is a change of what is made."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def text_of(name: str) -> str:
    """The file of some words, as it is."""
    return (files("ggt_hub.curation.words") / f"{name}.yaml").read_text(encoding="utf-8")


@cache
def words(name: str) -> dict[str, Any]:
    """What it says."""
    return yaml.safe_load(text_of(name))
