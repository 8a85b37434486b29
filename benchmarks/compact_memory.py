"""What the compact restorer takes of main memory for tiles: `python benchmarks/compact_memory.py` (Linux).

Each case in a process of its own: the peak of what is resident while one tile is restored, less what was before.
"""

import re
import subprocess
import sys
from pathlib import Path

CASES = [(side, dtype) for dtype in ("float32", "bfloat16") for side in (256, 512, 1024)]


def resident(name: str) -> int:
    """Bytes of the process: `VmRSS` now, `VmHWM` at most since it was set back."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", status)[1]) * 1024


def measure(side: int, dtype: str) -> None:
    """Restore one tile as `low_light`, which takes most, and print what that took."""
    import torch

    from ggt_hub import RestorerPipeline

    network = RestorerPipeline.from_pretrained("compact", dtype=getattr(torch, dtype)).restorer
    condition, curve = torch.zeros(1, network.config.condition_width), torch.tensor([[2.0, 0.6]])

    def restore(pixels: int) -> None:
        tile = torch.rand(1, 3, pixels, pixels).to(network.dtype, memory_format=torch.channels_last)
        network(tile, condition.to(network.dtype), curve, 1.0).clamp(0, 1).float().numpy()

    with torch.inference_mode():
        restore(64)
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        restore(side)
    taken = resident("VmHWM") - before
    each, beside = f"{taken / side**2:.0f} bytes a pixel", f"beside {before / 1e9:.2f} GB"
    print(f"{dtype:<9} {side:>5} {taken / 1e6:>6.0f} MB, {each}, {beside}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(int(sys.argv[1]), sys.argv[2])
    else:
        for case in CASES:
            subprocess.run([sys.executable, __file__, *map(str, case)], check=True)
