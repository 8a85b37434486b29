"""Fitting a restorer into the memory of a device: a budget in, a plan out, whatever the restorer."""

import re
from typing import Any, Protocol

import torch

from ggt_hub.errors import RestorerError


class MemoryPlan(Protocol):
    """How a restorer will run within a budget; `str()` says it in words, with numbers."""

    def apply(self, pipe: Any, device: torch.device | str) -> None:
        """Bring the restorer to the device as planned."""


def parse_memory(text: str) -> int:
    """Bytes of a text such as `16GB` (10^9 each) or `16GiB` (2^30 each).

    Raises:
        RestorerError: if it is nothing of the kind.
    """
    units = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG]i?B)", text.strip())
    if match is None:
        raise RestorerError(f"memory {text!r}: write a number and a unit ({', '.join(units)}), such as 16GB")
    return int(float(match[1]) * units[match[2]])
