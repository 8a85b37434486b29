"""Numeric reference data of RealRestorer: the complete set beside the checkout, or the part that is in it."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

COMPLETE = Path(__file__).resolve().parents[1] / "../shared/golden/realrestorer"
SHIPPED = Path(__file__).parent / "data/realrestorer"
REALRESTORER = COMPLETE if COMPLETE.is_dir() else SHIPPED
BUNDLE = REALRESTORER / "bundle"
"""A tiny, complete copy of the published layout."""


def place(name: str) -> Path:
    """A file or folder of the golden data; the test skips where it is not there."""
    if not (REALRESTORER / name).exists():
        pytest.skip(f"{name} is not in tests/data/realrestorer, and there is no complete set at {COMPLETE}")
    return REALRESTORER / name


def tensors(name: str) -> dict[str, Tensor]:
    return load_file(place(name))


def document(name: str) -> Any:
    return json.loads(place(name).read_text(encoding="utf-8"))


def difference(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference; infinite if the shapes differ."""
    return float((found - wanted).abs().max()) if found.shape == wanted.shape else float("inf")
