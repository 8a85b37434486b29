"""What files that unpack to far more than they are worth cost: python -m benchmarks.bombs [part of a name]."""

import sys

from tests.images.bombs import BOMBS, measure

if __name__ == "__main__":
    chosen = [name for name in BOMBS if not sys.argv[1:] or sys.argv[1] in name]
    for name, size, megabytes, seconds, outcome in measure(chosen):
        print(f"{name:40} {size:9,} bytes {megabytes:6.0f} MB {seconds:6.2f} s  {outcome[:90]}")
