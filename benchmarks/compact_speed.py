"""How much longer the compact restorer takes than the first one that shipped, both in one run, by turns.

    OMP_NUM_THREADS=1 python -m benchmarks.compact_speed

One picture of 512 x 512 in float32, by processor time of all threads; random weights, which cost the same. The
first network had 32, 80 and 160 channels and 2.7 million parameters, and ran on pictures laid out channel after
channel; today's has all channels of a pixel side by side, as `CompactRestorerPipeline` has it.
"""

import argparse
import statistics
import time

import torch

from ggt_hub.models import CompactRestorer
from ggt_hub.models.compact_restorer import told_condition

FIRST = {"channels": (32, 80, 160), "blocks": (1, 2, 3)}
TODAY = {"channels": (48, 96, 192), "blocks": (1, 2, 4)}


@torch.no_grad()
def seconds(network: CompactRestorer, lq: torch.Tensor) -> float:
    started = time.process_time()
    network(lq, told_condition(network, lq))
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--turns", type=int, default=9)
    arguments = parser.parse_args()
    lq = torch.rand(1, 3, arguments.side, arguments.side)
    side_by_side = lq.to(memory_format=torch.channels_last)
    first, today = (CompactRestorer(**shape).eval() for shape in (FIRST, TODAY))
    turns = [(seconds(first, lq), seconds(today, side_by_side)) for _ in range(arguments.turns + 1)][1:]
    a, b = (statistics.median(column) for column in zip(*turns, strict=True))
    print(f"first {a:.3f} s, today {b:.3f} s: {statistics.median(y / x for x, y in turns):.2f} times as long")


if __name__ == "__main__":
    main()
