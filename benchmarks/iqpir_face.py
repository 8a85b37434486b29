"""How long one face of 512 pixels takes, beside its own convolutions run bare: `python benchmarks/iqpir_face.py`.

IQPIR at its published size, with random weights, in float32 on one thread of a CPU (288 GMAC). What counts is the
least of several turns, in seconds of the processor, which other work on the machine changes little. The peak of
memory is what is resident beyond the weights (Linux).
"""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ggt_hub.models import CodeFormer

ROUNDS = 3


def resident(name: str) -> int:
    """Bytes of the process: `VmRSS` now, `VmHWM` at most since it was set back."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", status)[1]) * 1024


def convolutions(network: CodeFormer, face: Tensor) -> list[tuple[nn.Conv2d, torch.Size]]:
    """Each convolution that a call runs, and the shape that it is given."""
    called: list[tuple[nn.Conv2d, torch.Size]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda own, args: called.append((own, args[0].shape)))
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    network(face, 0.95)
    for hook in hooks:
        hook.remove()
    return called


def multiplications(layer: nn.Conv2d, shape: torch.Size) -> int:
    """Of one convolution."""
    places = shape[0] * shape[2] * shape[3] // (layer.stride[0] * layer.stride[1])
    return places * layer.weight.numel()


def bare(called: list[tuple[nn.Conv2d, torch.Size]], ones: Tensor) -> None:
    for layer, shape in called:
        F.conv2d(ones[: shape.numel()].view(shape), layer.weight, layer.bias, layer.stride, layer.padding)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network, face = CodeFormer().eval(), torch.rand(1, 3, 512, 512) * 2 - 1
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    called = convolutions(network, face)
    taken = resident("VmHWM") - before
    ones = torch.ones(max(shape.numel() for _, shape in called))
    bare(called, ones)
    whole, alone = [], []
    for _ in range(ROUNDS):
        alone.append(seconds(lambda: bare(called, ones)))
        whole.append(seconds(lambda: network(face, 0.95)))
    total = sum(multiplications(*call) for call in called) / 1e9
    print(f"{len(called)} convolutions, {total:.0f} GMAC; one thread, torch {torch.__version__}")
    ratio = min(whole) / min(alone)
    print(f"face {min(whole):.2f} s, its convolutions bare {min(alone):.2f} s: {ratio:.2f} times")
    print(
        f"weights {sum(p.nbytes for p in network.parameters()) / 1e9:.2f} GB, beyond them {taken / 1e9:.2f} GB"
    )
    sys.exit(ratio > 1.25)


if __name__ == "__main__":
    main()
