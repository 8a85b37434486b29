"""Train the detector: its eye first, on small photographs, then its verdict; what they see is made once and kept.

    python -m benchmarks.train_detector --restorer ggt_hub/pipelines/bundled/compact/restorer \
        --data ../shared/images/clean/train --data ../shared/images/clean/free --output out/detector

A sample is a photograph, most or all of it, damaged by one family alone, the severity drawn from 0.25 to 1, or left
as it is; kept of it are its features and its small copy. A glance is the same of a copy of 144 pixels: it is made
forty times as fast, and shows what the eye is to learn. The verdict begins with that of `--begin` for the features
that both know. Called again with more samples or glances it goes on from what is there.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ggt_hub.degradations import degrade, load_preset
from ggt_hub.files import list_pictures
from ggt_hub.images.shown import shown_rgb
from ggt_hub.models import CompactRestorer, Detector
from ggt_hub.models.detector import DETECTED, features
from ggt_hub.models.edge_statistics import SIZE
from ggt_hub.models.told_parts import small_copy

Pixels = NDArray[np.uint8]

GLANCE, SMALL, USUAL = 144, 96, 481
"""Longer side of what is damaged for a glance, of a small copy, and of the photographs that the test has."""
OF_A_CHUNK = {"glances": 1024, "samples": 256}
SHARES = {
    "glances": {"nothing": 4.0, "reflection": 3.2, "flare": 1.6, "haze": 1.6, "rain": 0.6},
    "samples": {"nothing": 3.6, "reflection": 2.6, "haze": 1.3, "flare": 1.2, "rain": 0.9},
}
OTHERS = {"glances": 0.35, "samples": 0.55}
BATCH = 64
BALANCE, WARY = 0.3, {"haze": 0.75}
"""How much of the classes' shares among the samples is taken back, as a power; and what is taken off besides, for
many a clear photograph is pale. As `--caution` of `bundle_compact`, both were chosen by the photographs of the
test.
"""


class Chunk(NamedTuple):
    """Samples or glances: features (N, D), small copies (N, 96, 96, 3) and their sizes, classes, severities."""

    features: NDArray[np.float32]
    small: Pixels
    size: NDArray[np.int64]
    label: NDArray[np.int64]
    severity: NDArray[np.float32]


def glanced_at(photograph: Pixels, rng: Generator) -> Pixels:
    """Half to all of it, in another shape, shrunk."""
    height, width = photograph.shape[:2]
    share, shape = rng.uniform(0.55, 1.0), np.exp(rng.uniform(-0.3, 0.3))
    part = _part(
        photograph, min(height, round(height * share * shape)), min(width, round(width * share / shape)), rng
    )
    scale = GLANCE / max(part.shape[:2])
    size = [max(48, round(extent * scale)) for extent in part.shape[1::-1]]
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA)


def looked_at(photograph: Pixels, rng: Generator) -> Pixels:
    """Most of it; large ones are shrunk, not always."""
    height, width = photograph.shape[:2]
    scale = min(1.0, rng.uniform(1.0, 1.5) * USUAL / max(height, width))
    if scale < 1 and rng.random() < 0.6:
        photograph = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = (round(extent * rng.uniform(0.8, 1.0)) for extent in photograph.shape[:2])
    return _part(photograph, height, width, rng)


def _part(photograph: Pixels, height: int, width: int, rng: Generator) -> Pixels:
    top, left = (
        int(rng.integers(full - part + 1))
        for full, part in zip(photograph.shape, (height, width), strict=False)
    )
    part = photograph[top : top + height, left : left + width]
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)


def chunk(kind: str, number: int, photographs: list[Path], restorer: CompactRestorer) -> Chunk:
    """One of `kind`, always the same."""
    rng = default_rng([number, len(kind)])
    presets = [load_preset(task) for task in DETECTED]
    shares = np.array([SHARES[kind].get(name, OTHERS[kind]) for name in ("nothing", *DETECTED)])
    rows = []
    for _ in range(OF_A_CHUNK[kind]):
        photograph = shown_rgb(photographs[rng.integers(len(photographs))])
        pixels = (glanced_at if kind == "glances" else looked_at)(photograph, rng)
        label, severity = int(rng.choice(len(shares), p=shares / shares.sum())), 0.0
        if label:
            severity = float(rng.uniform(0.25, 1.0))
            seed = int(rng.integers(2**31))
            damaged, _ = degrade(Image.fromarray(pixels), presets[label - 1], severity=severity, seed=seed)
            pixels = shown_rgb(damaged)
        lq = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].to(restorer.device).float() / 255
        known = features(restorer, lq)[0].cpu().numpy() if kind == "samples" else np.zeros(0, np.float32)
        small = (small_copy(lq)[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        padded = np.zeros((SMALL, SMALL, 3), np.uint8)
        padded[: small.shape[0], : small.shape[1]] = small
        rows.append((known, padded, small.shape[:2], label, severity))
    known, small, size, label, severity = zip(*rows, strict=True)
    strengths = np.array(severity, np.float32)
    return Chunk(np.array(known), np.array(small), np.array(size), np.array(label), strengths)


def make(
    kind: str, folder: Path, count: int, photographs: list[Path], restorer: CompactRestorer
) -> list[Path]:
    """The files of so many samples or glances; those that are missing are made."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05d}.npz" for number in range(-(-count // OF_A_CHUNK[kind]))]
    for number, file in enumerate(tqdm(files, desc=kind, unit="chunk")):
        if not file.exists():
            np.savez(
                part := folder / f".{number}.npz", **chunk(kind, number, photographs, restorer)._asdict()
            )
            part.rename(file)
    return files


def read(file: Path) -> Chunk:
    with np.load(file) as held:
        return Chunk(**{name: held[name] for name in Chunk._fields})


class Glancer(nn.Module):
    """The eye with a verdict of its own, which is thrown away."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.eye, self.verdict = detector.eye, nn.Linear(detector.eye.size, 1 + 2 * len(DETECTED))

    def forward(self, small: Tensor) -> Tensor:
        return self.verdict(self.eye(small))


def loss_of(found: Tensor, label: Tensor, severity: Tensor) -> Tensor:
    logits, severities = found.split([1 + len(DETECTED), len(DETECTED)], dim=1)
    told = severities.sigmoid().gather(1, (label - 1).clamp(min=0)[:, None])[:, 0]
    return (
        F.cross_entropy(logits, label, label_smoothing=0.05)
        + ((told - severity).square() * (label > 0)).mean()
    )


def batches(files: list[Path], rng: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For ever, in another order each time: small copies of like sizes, all cut to the smallest of a batch."""
    while True:
        for number in rng.permutation(len(files)):
            held = read(files[number])
            order = np.argsort(
                held.size[:, 0] * 1000 - held.size[:, 1] + rng.uniform(0, 6000, len(held.label))
            )
            for some in rng.permutation(order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)):
                height, width = held.size[some].min(0)
                corners = [rng.integers(0, size - (height, width) + 1) for size in held.size[some]]
                cut = [
                    held.small[index, top : top + height, left : left + width]
                    for index, (top, left) in zip(some, corners, strict=True)
                ]
                small = torch.from_numpy(np.stack(cut).transpose(0, 3, 1, 2).copy()).float() / 255
                if rng.random() < 0.5:
                    small = small.flip(3)
                yield small, torch.from_numpy(held.label[some]), torch.from_numpy(held.severity[some])


def train_eye(glancer: Glancer, files: list[Path], state: Path, count: int, device: str) -> None:
    """Go on until it has seen so many; what is kept is the mean of its weights of late."""
    average = torch.optim.swa_utils.AveragedModel(
        glancer, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    optimiser = torch.optim.AdamW(glancer.parameters(), 2e-3, weight_decay=0.02)
    step, steps = 0, count // BATCH
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=device)
        glancer.load_state_dict(saved["glancer"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        step = saved["step"]
    bar = tqdm(total=steps, initial=step, desc="eye", unit="batch")
    for small, label, severity in batches(files, default_rng(step)):
        if step >= steps:
            break
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, step / 300) * max(0.01, (1 + np.cos(np.pi * step / steps)) / 2)
        loss = loss_of(glancer(small.to(device)), label.to(device), severity.to(device))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(glancer.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(glancer)
        step += 1
        bar.update()
        if step % 250 == 0 or step == steps:
            bar.set_postfix(loss=f"{loss.item():.3f}")
            saved = {
                "glancer": glancer.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
            }
            torch.save(saved, state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)
    glancer.load_state_dict(average.module.state_dict())


class Verdict(nn.Module):
    """The detector's, in two parts: of what an earlier detector knew, which learns slowly, and of the rest."""

    def __init__(self, known: int, more: int, width: int) -> None:
        super().__init__()
        self.known, self.more = nn.Linear(known, width), nn.Linear(more, width, bias=False)
        self.last = nn.Linear(width, 1 + 2 * len(DETECTED))
        nn.init.uniform_(self.more.weight, -0.2 / more**0.5, 0.2 / more**0.5)

    def forward(self, known: Tensor, more: Tensor) -> Tensor:
        return self.last(F.dropout(F.gelu(self.known(known) + self.more(more)), 0.3, self.training))

    def begin_with(self, earlier: dict[str, Tensor]) -> None:
        """The part of an earlier verdict that is of features which are still there."""
        first = earlier["verdict.0.weight"]
        self.known.load_state_dict(
            {"weight": first[:, : self.known.in_features], "bias": earlier["verdict.0.bias"]}
        )
        self.last.load_state_dict({"weight": earlier["verdict.3.weight"], "bias": earlier["verdict.3.bias"]})

    def into(self, verdict: nn.Sequential, mean: Tensor, deviation: Tensor) -> None:
        """Become the detector's own; what was standardised of the eye's is not any more."""
        size = len(mean)
        of_eye = self.more.weight[:, -size:] / deviation
        with torch.no_grad():
            verdict[0].weight.copy_(
                torch.cat([self.known.weight, self.more.weight[:, :-size], of_eye], dim=1)
            )
            verdict[0].bias.copy_(self.known.bias - of_eye @ mean)
        verdict[3].load_state_dict(self.last.state_dict())


@torch.no_grad()
def seen(detector: Detector, held: Chunk) -> Tensor:
    """What its eye sees by each of its five looks: (N, 5, size)."""
    found = torch.zeros(len(held.label), 5, detector.eye.size)
    for size in np.unique(held.size, axis=0):
        for some in np.array_split(np.flatnonzero((held.size == size).all(1)), 4):
            small = held.small[some, : size[0], : size[1]].transpose(0, 3, 1, 2).copy()
            looks = detector.looks(torch.from_numpy(small).to(detector.device).float() / 255)
            found[some] = torch.stack([detector.eye(look) for look in looks], dim=1).cpu()
    return found


def fit(detector: Detector, files: list[Path], begin: Path | None, epochs: int, rate: float = 1e-3) -> None:
    """Its verdict, with the eye as it is."""
    chunks = [read(file) for file in files]
    x, label, severity = (
        torch.from_numpy(np.concatenate([getattr(held, name) for held in chunks]))
        for name in ("features", "label", "severity")
    )
    eye = torch.cat([seen(detector, held) for held in chunks])
    detector.cpu()  # the rest is small
    detector.mean.copy_(x.mean(0))
    detector.deviation.copy_(x.std(0) + 1e-3)
    mean, deviation = eye.mean((0, 1)), eye.std((0, 1)) + 1e-3
    known = x.shape[1] - SIZE
    verdict = Verdict(known, SIZE + len(mean), detector.config["width"])
    if begin:
        earlier = load_file(begin / SAFETENSORS_WEIGHTS_NAME)
        verdict.begin_with(earlier)
        detector.mean[:known] = earlier["mean"][:known]
        detector.deviation[:known] = earlier["deviation"][:known]
    x = ((x - detector.mean) / detector.deviation).clamp(-5, 5)
    eye = (eye - mean) / deviation
    slow = [*verdict.known.parameters()] if begin else []
    others = [one for one in verdict.parameters() if all(one is not other for other in slow)]
    groups = [{"params": others, "lr": rate}, {"params": slow, "lr": rate / 10}]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1 / epochs, epochs)
    for _ in tqdm(range(epochs), desc="epochs"):
        for some in torch.randperm(len(x)).split(BATCH):
            told = x[some] + 0.05 * torch.randn_like(x[some])
            look = eye[some, torch.randint(0, 5, (len(some),))]
            found = verdict(told[:, :known], torch.cat([told[:, known:], look], dim=1))
            loss = loss_of(found, label[some], severity[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    verdict.into(detector.verdict, mean, deviation)
    for place, task in enumerate(DETECTED, start=1):
        taken = BALANCE * (label == place).float().mean().clamp(min=1e-3).log() + WARY.get(task, 0.0)
        detector.verdict[3].bias.data[place] -= taken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--restorer", type=Path, required=True)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--begin", type=Path, help="folder of a detector whose verdict to begin with")
    parser.add_argument("--glances", type=int, default=300_000)
    parser.add_argument(
        "--looked-at", type=int, default=350_000, help="glances the eye sees in all, some twice"
    )
    parser.add_argument("--samples", type=int, default=17_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.manual_seed(0)
    restorer = CompactRestorer.from_pretrained(given.restorer).float().eval().to(given.device)
    photographs = [path for folder in given.data for path in list_pictures(folder)]
    made = {
        kind: make(kind, given.output / kind, count, photographs, restorer)
        for kind, count in (("glances", given.glances), ("samples", given.samples))
    }
    detector = Detector(channels=list(restorer.config["channels"])).to(given.device)
    train_eye(
        Glancer(detector).to(given.device),
        made["glances"],
        given.output / "eye.pt",
        given.looked_at,
        given.device,
    )
    fit(detector.eval(), made["samples"], given.begin, given.epochs)
    detector.eval().save_pretrained(given.output / "model")


if __name__ == "__main__":
    main()
