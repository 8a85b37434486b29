"""Numeric reference data that lie beside the checkout, where it has been given them."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

REALRESTORER = Path(__file__).resolve().parents[1] / "../shared/golden/realrestorer"

needs_realrestorer = pytest.mark.skipif(
    not REALRESTORER.is_dir(), reason="no golden data of RealRestorer at ../shared/golden/realrestorer"
)


def tensors(name: str) -> dict[str, Tensor]:
    return load_file(REALRESTORER / name)


def document(name: str) -> Any:
    return json.loads((REALRESTORER / name).read_text(encoding="utf-8"))


def difference(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference; infinite if the shapes differ."""
    return float((found - wanted).abs().max()) if found.shape == wanted.shape else float("inf")
