"""What restoring a picture takes: seconds, memory, parameters, multiply-adds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """Fill `seconds` and `peak_memory` (bytes) of what the block does.

    On a CUDA device it is the memory that torch took there, else the most that the process has had, libraries and
    all.
    """
    on_device = torch.cuda.is_available()
    if on_device:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    effort: dict[str, Any] = {}
    started = time.perf_counter()
    yield effort
    if on_device:
        torch.cuda.synchronize()
    effort["seconds"] = time.perf_counter() - started
    effort["peak_memory"] = torch.cuda.max_memory_allocated() if on_device else _most_of_the_process()


def count_parameters(pipe: Any) -> int | None:
    """Parameters of all networks of a restorer; None where they cannot be known."""
    parts = (
        [pipe, *getattr(pipe, "components", {}).values(), *vars(pipe).values()]
        if hasattr(pipe, "__dict__")
        else []
    )
    networks = [part for part in parts if isinstance(part, torch.nn.Module)]
    if not networks:
        return None
    return sum({id(p): p.numel() for network in networks for p in network.parameters()}.values())


def count_multiply_adds(work: Callable[[], Any]) -> int | None:
    """Multiply-adds of torch's matrix products, convolutions and attention in what is done.

    None where there are none, as in a restorer without networks, or they cannot be counted, as in compiled ones.
    """
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    except Exception:  # noqa: BLE001  counting must not cost a result
        return None
    return counter.get_total_flops() // 2 or None


def _most_of_the_process() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if psutil.MACOS else most * 1024
