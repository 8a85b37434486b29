"""Train the detector: its eye first, on small photographs, then all of it, on samples that are made once and kept.

    python -m benchmarks.train_detector --restorer runs/wide/restorer --data ../shared/images/clean/train \
        --data ../shared/images/clean/free --large ../shared/images/clean/free --output runs/detector

A sample is a crop damaged by one family alone, the severity drawn from 0.25 to 1, or left as it is; kept of it are
its features and its small copy. Every third lot of samples is of larger crops, of photographs that are large enough
for them. A glance is the same of a copy of the photograph that is shrunk first: it is made thirty times as fast,
and shows what the eye is to learn; `--eye` begins with the eye of another detector. Called again with more samples
or glances it goes on from what is there.
"""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ggt_hub.data.reading.mixture import Damage, Example, Mixture
from ggt_hub.data.reading.picture_sources import open_source
from ggt_hub.degradations import load_preset
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.files import list_pictures
from ggt_hub.images.shown import shown_rgb
from ggt_hub.models import CompactRestorer, Detector
from ggt_hub.models.detector import DETECTED, features
from ggt_hub.models.told_parts import small_copy

CROP, LARGE, CHUNK = 304, 480, 256
SHRUNK, GLANCE = 260, 144
"""Longer side of shrunk photographs, and side of their crops."""
SHARES = {"nothing": 3.0, "flare": 1.5, "reflection": 1.5, "haze": 1.2, "rain": 1.2}
BATCH = 64


def mixture(sources: list[str], crop: int, seed: int) -> Mixture:
    presets = {task: load_preset(task) for task in DETECTED}
    presets = {"nothing": parse_preset("nothing", {"task": "general", "steps": []})} | presets
    damage = {name: Damage(SHARES.get(name, 0.8), preset, (0.25, 1.0)) for name, preset in presets.items()}
    return Mixture([(open_source(s), 1.0) for s in sources], damage, crop=crop, seed=seed)


def answer(example: Example) -> tuple[int, float]:
    """Its class, 0 for nothing, and how strong the damage is."""
    label = 0 if example.group == "nothing" else 1 + DETECTED.index(example.task)
    return label, min(1.0, max((example.severities or {}).values(), default=0.0))


def tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(
        np.ascontiguousarray((np.rint(pixels * 255) / 255).transpose(2, 0, 1), np.float32)
    )[None]


class Samples(Dataset[tuple[Tensor, int, float]]):
    def __init__(self, sources: list[str], crop: int, numbers: list[int]) -> None:
        self.sources, self.crop, self.numbers = sources, crop, numbers
        self.examples: Mixture | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> tuple[Tensor, int, float]:
        cv2.setNumThreads(1)
        self.examples = self.examples or mixture(self.sources, self.crop, seed=0)
        example = self.examples[self.numbers[place]]
        return tensor(example.cut()[0])[0], *answer(example)


def make(sources: list[str], crop: int, restorer: CompactRestorer, missing: list[Path], workers: int) -> None:
    """Chunks of samples as files, each of the examples that its number says."""
    numbers = [int(path.stem) * CHUNK + k for path in missing for k in range(CHUNK)]
    batches = iter(DataLoader(Samples(sources, crop, numbers), BATCH, num_workers=workers))
    for path in tqdm(missing, desc=f"samples of {crop}", unit="chunk"):
        made = []
        for pixels, label, severity in islice(batches, CHUNK // BATCH):
            pixels = pixels.to(restorer.device)
            small = (small_copy(pixels) * 255).round().byte()
            made.append([x.cpu().numpy() for x in (features(restorer, pixels), small, label, severity)])
        x, small, label, severity = (np.concatenate(column) for column in zip(*made, strict=True))
        np.savez(path.with_suffix(".part.npz"), x=x, small=small, label=label, severity=severity)
        path.with_suffix(".part.npz").rename(path)


def shrink(sources: list[str], folder: Path) -> None:
    """Copies of all photographs, as PNG."""
    folder.mkdir(exist_ok=True)
    for number, path in enumerate(path for source in sources for path in list_pictures(Path(source))):
        copy = folder / f"{number:05d}.png"
        if not copy.exists():
            pixels = shown_rgb(path)
            height, width = pixels.shape[:2]
            scale = max(SHRUNK / max(height, width), (GLANCE + 20) / min(height, width))
            size = round(width * scale), round(height * scale)
            cv2.imwrite(str(copy), cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)[..., ::-1])


class Glances(Dataset[tuple[Tensor, int, float]]):
    def __init__(self, folder: Path, start: int, count: int) -> None:
        self.folder, self.start, self.count = folder, start, count
        self.examples: Mixture | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int, float]:
        cv2.setNumThreads(1)
        self.examples = self.examples or mixture([str(self.folder)], GLANCE, seed=1)
        example = self.examples[self.start + index]
        return small_copy(tensor(example.cut()[0]))[0], *answer(example)


class Glancer(nn.Module):
    """The eye with a verdict of its own, which is thrown away."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.eye, self.verdict = detector.eye, nn.Linear(detector.eye.size, 1 + 2 * len(DETECTED))

    def forward(self, small: Tensor) -> tuple[Tensor, Tensor]:
        logits, severities = self.verdict(self.eye(small)).split([1 + len(DETECTED), len(DETECTED)], dim=1)
        return logits, severities.sigmoid()


def loss_of(found: tuple[Tensor, Tensor], label: Tensor, severity: Tensor) -> Tensor:
    logits, severities = found
    told = severities.gather(1, (label - 1).clamp(min=0)[:, None])[:, 0]
    return (
        F.cross_entropy(logits, label, label_smoothing=0.05)
        + ((told - severity).square() * (label > 0)).mean()
    )


def train_eye(glancer: Glancer, folder: Path, state: Path, count: int, workers: int) -> None:
    """Go on until it has seen so many glances; the state is saved every few minutes."""
    optimiser = torch.optim.AdamW(glancer.parameters(), 2e-3, weight_decay=0.01)
    seen = 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        glancer.load_state_dict(saved["glancer"])
        optimiser.load_state_dict(saved["optimiser"])
        seen = saved["seen"]
    left = Glances(folder, seen, max(0, count - seen))
    batches = DataLoader(left, BATCH, num_workers=workers, prefetch_factor=4)
    right = 0.0
    bar = tqdm(batches, desc="glances", unit="batch")
    for number, (small, label, severity) in enumerate(bar):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * max(0.02, 1 - seen / count)
        found = glancer(small)
        loss = loss_of(found, label, severity.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen += len(small)
        right = 0.99 * right + 0.01 * float((found[0].argmax(1) == label).float().mean())
        bar.set_postfix(right=f"{right:.3f}", loss=f"{loss.item():.3f}")
        if number % 100 == 99 or seen >= count:
            saved = {"glancer": glancer.state_dict(), "optimiser": optimiser.state_dict(), "seen": seen}
            torch.save(saved, state.with_suffix(".part"))
            state.with_suffix(".part").rename(state)


def augmented(small: Tensor) -> Tensor:
    """Of bytes, 0..255: mirrored, and cut to another shape, by chance; 0..1."""
    if torch.rand(()) < 0.5:
        small = small.flip(3)
    height, width = (
        (int(torch.randint(64, 97, ())), 96) if torch.rand(()) < 0.5 else (96, int(torch.randint(64, 97, ())))
    )
    top, left = int(torch.randint(0, 97 - height, ())), int(torch.randint(0, 97 - width, ()))
    return small[:, :, top : top + height, left : left + width].float() / 255


def batches_of(mine: Tensor) -> Iterator[Tensor]:
    yield from mine[torch.randperm(len(mine), device=mine.device)].split(BATCH)


def fit(detector: Detector, folder: Path, epochs: int) -> None:
    """Its last layers and its eye, on the detector's device."""
    files = [np.load(path) for path in sorted(folder.glob("[0-9]*.npz")) if ".part" not in path.name]
    x, small, label, severity = (
        torch.from_numpy(np.concatenate([f[key] for f in files])).to(detector.device)
        for key in ("x", "small", "label", "severity")
    )
    x, severity = x.float(), severity.float()
    held_out = torch.arange(len(x), device=x.device) % 8 == 0
    mine = torch.nonzero(~held_out)[:, 0]
    detector.mean.copy_(x[mine].mean(0))
    detector.deviation.copy_(x[mine].std(0) + 1e-3)
    groups = [
        {"params": detector.verdict.parameters(), "lr": 1e-3},
        {"params": detector.eye.parameters(), "lr": 2e-4},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in tqdm(range(epochs), desc="epochs"):
        detector.train()
        for some in batches_of(mine):
            known = x[some] + 0.05 * detector.deviation * torch.randn_like(x[some])
            loss = loss_of(detector(known, augmented(small[some])), label[some], severity[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    detector.eval()
    with torch.no_grad():
        rest = torch.nonzero(held_out)[:, 0].split(BATCH)
        found = torch.cat([detector(x[some], small[some].float() / 255)[0].argmax(1) for some in rest])
    for place, name in enumerate(("nothing", *DETECTED)):
        of_it = label[held_out] == place
        print(f"{name:<12} {(found[of_it] == place).float().mean():.3f} of {int(of_it.sum())} held out")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--restorer", type=Path, required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--large", action="append", default=[], help="photographs of 500 pixels and more")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=12000)
    parser.add_argument("--glances", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--eye", type=Path, help="folder of a detector whose eye to begin with")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    restorer = CompactRestorer.from_pretrained(arguments.restorer).float().eval().to(arguments.device)
    samples, shrunk = arguments.output / "samples", arguments.output / "shrunk"
    samples.mkdir(parents=True, exist_ok=True)
    chunks = [samples / f"{number:04d}.npz" for number in range(-(-arguments.samples // CHUNK))]
    large = chunks[2::3] if arguments.large else []
    for sources, crop, mine in (
        (arguments.data, CROP, [chunk for chunk in chunks if chunk not in large]),
        (arguments.large, LARGE, large),
    ):
        make(sources, crop, restorer, [chunk for chunk in mine if not chunk.exists()], arguments.workers)
    torch.manual_seed(0)
    detector = Detector(channels=list(restorer.config["channels"]))
    if arguments.eye:
        detector.eye.load_state_dict(Detector.from_pretrained(arguments.eye).eye.state_dict())
    if arguments.glances:
        shrink(arguments.data, shrunk)
        state = arguments.output / "eye.pt"
        train_eye(Glancer(detector), shrunk, state, arguments.glances, arguments.workers)
    fit(detector.to(arguments.device), samples, arguments.epochs)
    detector.save_pretrained(arguments.output / "model")


if __name__ == "__main__":
    main()
