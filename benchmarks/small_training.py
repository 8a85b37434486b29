"""Small networks that are trained from scratch in minutes on a CPU, and what they gain: for comparisons of data."""

import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.curation_faults import Pixels
from benchmarks.curation_run import psnr, square
from ggt_hub import RestorerPipeline
from ggt_hub.data.reading.mixture import Damage
from ggt_hub.degradations import degrade, load_preset
from ggt_hub.images.shown import shown_rgb
from ggt_hub.models import CompactRestorer
from ggt_hub.pipelines import CompactRestorerPipeline
from ggt_hub.training import load_recipe, train

DAMAGE = {name: Damage(1.0, load_preset(name), (0.1, 0.7)) for name in ("noise", "mixture")}
"""What clean photographs meet, in training and in the test."""
_COMPACT = {"channels": [16, 32, 48], "blocks": [1, 1, 1], "condition_width": 16}
_WEIGHTS = "diffusion_pytorch_model.safetensors"


def trained(network: str, data: Path, output: Path, seed: int, steps: int) -> RestorerPipeline:
    """A network, `compact` or a variant of the recipe `peer`, after so many steps."""
    recipe = load_recipe("compact") if network == "compact" else load_recipe("peer", variant=network)
    stage = replace(recipe.stages[0], crop=64, batch=4, steps=steps, warmup_steps=20, learning_rate=2e-3)
    stage = replace(stage, data={str(data): 1.0}, groups=DAMAGE)
    model = _COMPACT if network == "compact" else recipe.model
    recipe = replace(recipe, model=model, stages=(stage,), seed=seed, ema_decay=0.98)
    found = train(recipe, output, cpu=True)
    pipe = (
        CompactRestorerPipeline(CompactRestorer.from_pretrained(found))
        if network == "compact"
        else RestorerPipeline.from_pretrained(str(found / _WEIGHTS))
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tests(sources: list[Path], side: int) -> list[tuple[Pixels, Pixels]]:
    """Photographs under the same kinds of damage, and as they were."""
    found = []
    for number, path in enumerate(sources):
        clean, preset = square(path, side), [*DAMAGE][number % len(DAMAGE)]
        severity = float(np.random.default_rng(number).uniform(0.1, 0.7))
        found.append((shown_rgb(degrade(clean, preset, severity=severity, seed=number)[0]), clean))
    return found


def gain(pipe: RestorerPipeline, kept: list[tuple[Pixels, Pixels]]) -> float:
    """Mean gain over the input, in dB."""
    gains = []
    for lq, clean in kept:
        restored = np.asarray(pipe(Image.fromarray(lq)).images[0])
        gains.append(psnr(restored, clean) - psnr(lq, clean))
    return statistics.fmean(gains)
