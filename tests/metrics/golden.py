"""The pictures on which metrics are held against pyiqa, and what pyiqa 0.1.16 gave for them.

The numbers in `tests/data/metrics/pyiqa.json` are made by `python -m tests.metrics.golden`, in an environment
that has pyiqa (non-commercial licence, so it is none of the project's extras for tests).
"""

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from skimage import data

NUMBERS = Path(__file__).parents[1] / "data" / "metrics" / "pyiqa.json"
NIQE_MODEL = Path(__file__).parents[2] / "ggt_hub" / "metrics" / "niqe_pris_params.npz"


def noisy(picture, sigma, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def pairs():
    """Name -> (restored, reference), 8-bit RGB: odd sides, flat, dark and saturated regions, random levels."""
    coffee = data.coffee()[:301, :333]
    flat = data.astronaut()[:300, :300].copy()
    flat[:100, :100] = 7
    return {
        "noise 5": (noisy(data.astronaut(), 5), data.astronaut()),
        "noise 60": (noisy(data.astronaut(), 60), data.astronaut()),
        "odd sides": (noisy(coffee, 25), coffee),
        "chelsea darker": (data.chelsea() // 2, data.chelsea()),
        "dark": (data.astronaut() // 32, data.astronaut() // 16),
        "one block": (noisy(coffee[:190, :185], 15), coffee[:190, :185]),
        "flat corner": (flat, data.astronaut()[:300, :300]),
        "random": (noisy(np.full((200, 310, 3), 128, np.uint8), 80), noisy(coffee[:200, :310], 20, seed=1)),
    }


def tensor(picture):
    """`H x W x 3` 8-bit to `1 x 3 x H x W` float32 in 0..1."""
    return torch.from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float32) / 255)


def pyiqa_metric(spelling):
    """Make the metric that a `Metric.pyiqa` names, such as "psnry(color_space=ycbcr)"."""
    import pyiqa
    import scipy.io

    name, options = re.fullmatch(r"([^(]+)(?:\((.*)\))?", spelling).groups()
    settings = dict(option.split("=") for option in options.split(",")) if options else {}
    settings = {key: {"False": False}.get(value, value) for key, value in settings.items()}
    if name != "niqe":
        return pyiqa.create_metric(name, device="cpu", **settings)
    model = np.load(NIQE_MODEL)
    with tempfile.NamedTemporaryFile(suffix=".mat") as file:
        matrices = {"mu_prisparam": model["mu_pris_param"], "cov_prisparam": model["cov_pris_param"]}
        scipy.io.savemat(file.name, matrices)
        return pyiqa.create_metric(name, device="cpu", pretrained_model_path=file.name)


def pyiqa_score(spelling, restored, gt):
    metric = pyiqa_metric(spelling)
    pictures = [tensor(restored)] if metric.metric_mode == "NR" else [tensor(restored), tensor(gt)]
    return float(metric(*pictures))


def main():
    from ggt_hub.metrics import METRICS

    spellings = sorted({metric.pyiqa for metric in METRICS.values() if metric.pyiqa and not metric.weights})
    scores = {
        spelling: {name: pyiqa_score(spelling, *pair) for name, pair in pairs().items()}
        for spelling in spellings
    }
    NUMBERS.write_text(json.dumps({"pyiqa": "0.1.16", "scores": scores}, indent=1) + "\n")


if __name__ == "__main__":
    main()
