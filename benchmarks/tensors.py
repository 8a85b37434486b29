"""How many crops a second damage on tensors gives, beside the CPU path on one core, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.tensors [--device cuda] [--side 128] [--batch 256]

Rows are families that run on tensors, and the preset `mixture`. "As the CPU" draws random fields by NumPy from the
steps' seeds, "own noise" on the device. Draws of parameters, kernels and the guess of depth are counted: they are
made on the CPU. Crops lie on the device already, as they do where photographs are kept there. By the clock on the
wall, the quickest of three rounds.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.random import default_rng

from benchmarks.pairs import make_pictures, opencv
from ggt_hub.degradations import Sample, apply_steps
from ggt_hub.degradations.chains import Drawn
from ggt_hub.degradations.presets import load_preset, parse_preset
from ggt_hub.degradations.tensors import BATCHED, apply_batch

ROUNDS = 3
KINDS = {
    "blur": ("gaussian", "defocus", "motion", "path"),
    "noise": ("gaussian", "poisson", "grain"),
    "compression": ("jpeg",),
    "haze": ("depth",),
}
"""What is drawn of a family; of the others all."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=256)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    [picture] = [opencv(data) for data in make_pictures(arguments.side, 1)]
    crops = [picture.astype(np.float32) / 255] * arguments.batch
    clean = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous().to(arguments.device)
    generator = torch.Generator(arguments.device).manual_seed(0)
    print(
        f"crops of {arguments.side} a second, batches of {arguments.batch}, device {_name(arguments.device)}\n"
    )
    print("| damage | CPU path, one core | as the CPU | own noise |\n| --- | ---: | ---: | ---: |")
    for name in (*BATCHED, "mixture"):
        rates = _rates(_chains(name, arguments.batch), crops, clean, generator)
        print(f"| {name} | {' | '.join(f'{rate:,.0f}' for rate in rates)} |", flush=True)


def _rates(
    draw: Callable[[], list[list[Drawn]]],
    crops: Sequence[np.ndarray],
    clean: torch.Tensor,
    generator: torch.Generator,
) -> list[float]:
    ways: list[Callable[[], object]] = [
        lambda: [_damaged(crop, chain) for crop, chain in zip(crops, draw(), strict=True)],
        lambda: _done(apply_batch(clean, draw())),
        lambda: _done(apply_batch(clean, draw(), generator=generator)),
    ]
    return [_rate(way, crops) for way in ways]


def _chains(name: str, count: int) -> Callable[[], list[list[Drawn]]]:
    step = {"family": name} | ({"kinds": KINDS[name]} if name in KINDS else {})
    preset = (
        parse_preset(name, {"task": "general", "steps": [step]}) if name in BATCHED else load_preset(name)
    )
    return lambda: [list(preset.draw(default_rng(number))) for number in range(count)]


def _damaged(crop: np.ndarray, chain: Sequence[Drawn]) -> np.ndarray:
    return apply_steps(Sample(crop, crop), chain).lq


def _done(batch: torch.Tensor) -> None:
    """Wait for it."""
    batch[0, 0, 0, 0].item()


def _rate(work: Callable[[], object], crops: Sequence[np.ndarray]) -> float:
    work()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return len(crops) / min(seconds)


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


if __name__ == "__main__":
    main()
