"""What IQPIR takes of main memory, beside its plan: `python benchmarks/iqpir_memory.py` (Linux).

At its published size, with random weights, on one thread; each case in a process of its own. The peak is of all
that is resident, libraries included.
"""

import re
import subprocess
import sys
from pathlib import Path

# Pixels each way of a photograph of faces, each of 256 pixels, or of one that is aligned; precision; options.
CASES = [
    ("512", "float32", "aligned", "none"),
    ("1024", "float32", "found", "none"),
    ("1024", "bfloat16", "found", "none"),
    ("1024", "float32", "found", "compact"),
    ("3072", "float32", "found", "none"),
]


def measure(side: int, dtype: str, faces: str, background: str) -> None:
    """Restore one photograph, and print what that took."""
    import numpy as np
    import torch
    from skimage.data import astronaut

    from ggt_hub.models import CodeFormer
    from ggt_hub.pipelines.iqpir import IQPIRPipeline

    torch.set_num_threads(1)
    pipe = IQPIRPipeline(CodeFormer().eval()).to(getattr(torch, dtype))
    count = -(-side // 512)
    photograph = np.tile(astronaut(), (count, count, 1))[:side, :side]
    if count > 2:  # time is not what is measured: four faces, and sky
        photograph[1024:] = photograph[:, 1024:] = 200
    options = {"faces": faces, "background": background}
    plan = pipe.plan_memory(sys.maxsize, picture=(side, side), **options)
    (finding,) = pipe(photograph, output_type="np", **options).findings[0]
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    case = f"{side} pixels, {dtype}, {finding.value:.0f} faces, {faces}, background {background}"
    print(f"{case}: planned {plan.device / 1e9:.2f} GB, at most {peak / 1e9:.2f} GB resident")


if __name__ == "__main__":
    if len(sys.argv) == 5:
        measure(int(sys.argv[1]), *sys.argv[2:])
    else:
        for case in CASES:
            subprocess.run([sys.executable, __file__, *case], check=True)
