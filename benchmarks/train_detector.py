"""Train the detector: features of damaged crops are made once and kept, then the classifier is fitted to them.

    python -m benchmarks.train_detector --restorer runs/wide/restorer --data ../shared/images/clean/train \
        --data ../shared/images/clean/free --output runs/detector --samples 8000

Each sample is a crop damaged by one family alone, the severity drawn from 0.25 to 1, or (one in four) left as it
is. Called again with more samples it goes on from what is there.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from ggt_hub.data.reading.mixture import Damage, Example, Mixture, open_source
from ggt_hub.degradations import load_preset
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.models import CompactRestorer, Detector
from ggt_hub.models.detector import DETECTED, features

CROP, CHUNK = 304, 200


def mixture(sources: list[str]) -> Mixture:
    nothing = Damage(3.0, parse_preset("nothing", {"task": "general", "steps": []}))
    damage = {task: Damage(1.0, load_preset(task), (0.25, 1.0)) for task in DETECTED}
    return Mixture([(open_source(s), 1.0) for s in sources], {"nothing": nothing} | damage, crop=CROP, seed=0)


def sample(example: Example, restorer: CompactRestorer) -> tuple[np.ndarray, int, float]:
    lq, _ = example.cut(CROP)
    pixels = torch.from_numpy(np.ascontiguousarray((np.rint(lq * 255) / 255).transpose(2, 0, 1), np.float32))[
        None
    ]
    label = 0 if example.group == "nothing" else 1 + DETECTED.index(example.task)
    return (
        features(restorer, pixels)[0].numpy(),
        label,
        min(1.0, max(example.severities.values(), default=0.0)),
    )


def make(sources: list[str], restorer: CompactRestorer, folder: Path, count: int) -> None:
    """Chunks of samples as files; those that are there stay."""
    examples = mixture(sources)
    for number in tqdm(range(-(-count // CHUNK)), desc="samples", unit="chunk"):
        path = folder / f"{number:04d}.npz"
        if path.exists():
            continue
        made = [sample(examples[number * CHUNK + k], restorer) for k in range(CHUNK)]
        x, label, severity = (np.stack(column) for column in zip(*made, strict=True))
        np.savez(path.with_suffix(".part.npz"), x=x, label=label, severity=severity)
        path.with_suffix(".part.npz").rename(path)


def fit(folder: Path, channels: list[int], epochs: int = 60) -> Detector:
    files = [np.load(path) for path in sorted(folder.glob("[0-9]*.npz")) if ".part" not in path.name]
    x, label, severity = (
        torch.from_numpy(np.concatenate([f[key] for f in files])) for key in ("x", "label", "severity")
    )
    x, severity = x.float(), severity.float()
    held_out = torch.arange(len(x)) % 8 == 0
    torch.manual_seed(0)
    detector = Detector(channels=channels)
    detector.mean.copy_(x[~held_out].mean(0))
    detector.deviation.copy_(x[~held_out].std(0) + 1e-3)
    optimiser = torch.optim.AdamW(detector.parameters(), 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    mine = torch.nonzero(~held_out)[:, 0]
    for _ in range(epochs):
        detector.train()
        for some in mine[torch.randperm(len(mine))].split(64):
            logits, said = detector(x[some] + 0.05 * detector.deviation * torch.randn_like(x[some]))
            there = label[some] > 0
            told = said.gather(1, (label[some] - 1).clamp(min=0)[:, None])[:, 0]
            loss = F.cross_entropy(logits, label[some], label_smoothing=0.05)
            loss = loss + ((told - severity[some]).square() * there).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    detector.eval()
    with torch.no_grad():
        found = detector(x[held_out])[0].argmax(1)
    for place, name in enumerate(("nothing", *DETECTED)):
        of_it = label[held_out] == place
        print(f"{name:<12} {(found[of_it] == place).float().mean():.3f} of {int(of_it.sum())} held out")
    return detector


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--restorer", type=Path, required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=8000)
    arguments = parser.parse_args()
    restorer = CompactRestorer.from_pretrained(arguments.restorer).float().eval()
    folder = arguments.output / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    make(arguments.data, restorer, folder, arguments.samples)
    fit(folder, list(restorer.config["channels"])).save_pretrained(arguments.output / "model")


if __name__ == "__main__":
    main()
