"""The training loop: accelerate for devices and processes, a checkpoint every few minutes, exact resuming."""

import json
import math
import os
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from ggt_hub.commit import RECORDS, commit_json, committed_folder, previous, swap_folder
from ggt_hub.errors import TrainingError
from ggt_hub.models import CompactRestorer
from ggt_hub.models.compact_restorer import apply_curve
from ggt_hub.training.recipe import Recipe
from ggt_hub.training.samples import DamagedCrops

FLOOR = 5e-4
"""Added to the squared error before its logarithm.

Without the logarithm strong noise drowns subtle damage; with a much smaller floor (3e-5 was tried) nearly clean
pictures drown everything else. At this one the gradients of both are of one size.
"""


class Trainee(nn.Module):
    """The network together with what only training needs: one forward pass, so that gradients are shared."""

    def __init__(self, network: CompactRestorer) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss (scalar) and the squared error of each picture (B,)."""
        lq, gt, network = batch["lq"], batch["gt"], self.network
        unchanged = torch.ones(len(lq), 2, device=lq.device)
        curve = torch.where(batch["lift"][:, None], network.exposure(lq), unchanged)
        strength = batch["strength"]
        estimates = network.estimator(_lifted(lq, curve)).float()
        c = network.condition(estimates.detach(), batch["task"], strength)
        restored = network(lq, c, curve, strength[:, None, None, None]).float()
        target = lq + strength[:, None, None, None] * (gt - lq)
        error = (restored - target).square().mean((1, 2, 3))
        known = ~batch["severity"].isnan()
        # The square, not the absolute value: most severities are 0, and so is their median.
        wrong = ((estimates - batch["severity"].nan_to_num()).square() * known).mean()
        return (error + FLOOR).log().mean() + 4 * wrong, error.detach()


def train(
    recipe: Recipe,
    output: Path,
    *,
    init_from: Path | None = None,
    max_minutes: float | None = None,
    cpu: bool = False,
) -> Path:
    """Train the compact restorer; continue where `output` left off if it holds a checkpoint.

    Args:
        recipe: from `load_recipe`.
        output: folder for `model/` (averaged weights, loadable with `from_pretrained`) and `state/`.
        init_from: a safetensors file whose weights to start from, when there is no checkpoint yet.
        max_minutes: stop after this time in all; the learning rate reaches zero then.
        cpu: do not use an accelerator.

    Returns:
        The folder of the averaged weights.

    Raises:
        TrainingError: if `output` holds what is no run, `init_from` does not fit the network, or the recipe has
            no photographs.
    """
    _check_output(output)
    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if _computes_in_bfloat16(cpu) else "no")
    set_seed(recipe.seed, device_specific=True)
    try:
        network = CompactRestorer(**recipe.model)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(f"the recipe's model {recipe.model} cannot be built: {error}") from error
    if init_from is not None:
        _load_weights(network, init_from)
    run = _Run(accelerator, recipe, network, output, max_minutes)
    run.resume()
    run.loop()
    run.save()
    accelerator.end_training()
    return output / "model"


def _check_output(output: Path) -> None:
    """Refuse a folder whose `model/` or `state/` no run has written: they would be replaced."""
    states = (output / "state", previous(output / "state"))
    if any((state / "clock.json").is_file() for state in states):
        return
    for name in ("model", "state"):
        if os.path.lexists(output / name):
            raise TrainingError(
                f"{output / name} was there before any run, so it is not replaced: choose another --output"
            )


def _computes_in_bfloat16(cpu: bool) -> bool:
    """Whether the hardware does; on a CPU that emulates it, a step takes ten times as long as in float32."""
    if torch.accelerator.is_available() and not cpu:
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


class _Run:
    """One training run: the objects that live through it, and its clock."""

    def __init__(
        self,
        accelerator: Accelerator,
        recipe: Recipe,
        network: CompactRestorer,
        output: Path,
        max_minutes: float | None,
    ) -> None:
        self.accelerator, self.recipe, self.output = accelerator, recipe, output
        self.limit = (max_minutes or math.inf) * 60
        self.network = network
        self.ema = EMAModel(network.parameters(), decay=recipe.ema_decay, use_ema_warmup=True, power=0.75)
        optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, betas=(0.9, 0.99))
        trainee = Trainee(network).to(memory_format=torch.channels_last)
        self.trainee, self.optimiser = accelerator.prepare(trainee, optimiser)
        self.ema.to(accelerator.device)
        self.step, self.seconds = 0, 0.0
        self.gains = {name: _Average() for name in recipe.groups}

    def loop(self) -> None:
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        bar = tqdm(
            initial=self.step,
            total=self.recipe.steps,
            unit="step",
            disable=not self.accelerator.is_main_process,
        )
        for batch in self._batches():
            self._update(batch)
            self.step += 1
            self.seconds = time.monotonic() - started
            bar.update()
            if self.step % 100 == 0:
                bar.set_postfix_str(self._summary())
            if self._everyone(time.monotonic() - saved > self.recipe.save_minutes * 60):
                self.save()
                saved = time.monotonic()
            if self._everyone(self.seconds > self.limit):
                break

    def _update(self, batch: dict[str, Tensor]) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        loss, error = self.trainee(batch)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.trainee.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.ema.step(self.network.parameters())
        self._note_gains(batch, error)

    def _learning_rate(self) -> float:
        progress = max(self.step / self.recipe.steps, self.seconds / self.limit)
        warm = min(1.0, (self.step + 1) / self.recipe.warmup_steps)
        return self.recipe.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    def _batches(self) -> Any:
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        size = self.recipe.batch
        samples = DamagedCrops(self.recipe, self.recipe.steps * size * processes)
        mine = [
            step * size * processes + rank * size + k
            for step in range(self.step, self.recipe.steps)
            for k in range(size)
        ]
        loader = DataLoader(Subset(samples, mine), size, num_workers=self.recipe.workers)
        for batch in loader:
            yield {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}

    def _note_gains(self, batch: dict[str, Tensor], error: Tensor) -> None:
        before = (batch["lq"] - batch["gt"]).square().mean((1, 2, 3))
        gains = 10 * ((before + 1e-6) / (error + 1e-6)).log10()
        for name, gain in zip(
            (list(self.gains)[i] for i in batch["group"].tolist()), gains.tolist(), strict=True
        ):
            self.gains[name].add(gain)

    def _summary(self) -> str:
        return " ".join(f"{name} {average.value:+.2f}" for name, average in self.gains.items())

    def _everyone(self, mine: bool) -> bool:
        """Whether the main process says so: clocks differ, and all processes must leave the loop together."""
        flag = torch.tensor(
            [float(mine and self.accelerator.is_main_process)], device=self.accelerator.device
        )
        return bool(self.accelerator.reduce(flag, "sum").item() > 0)

    def save(self) -> None:
        """Write `state/` and `model/`, whole or not at all; the state before this one is kept beside it."""
        unfinished = self.output / f"{RECORDS}-unfinished-state"  # one name for all processes
        if self.accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(unfinished))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            torch.save(self.ema.state_dict(), unfinished / "ema.pt")
            commit_json(unfinished / "clock.json", {"step": self.step, "seconds": self.seconds})
            swap_folder(unfinished, self.output / "state", keep=True)
            self._save_averaged()
            with (self.output / "progress.txt").open("a") as progress:
                progress.write(f"{self.step} {self.seconds:.0f}s {self._summary()}\n")
        self.accelerator.wait_for_everyone()

    def _save_averaged(self) -> None:
        self.ema.store(self.network.parameters())
        self.ema.copy_to(self.network.parameters())
        with committed_folder(self.output / "model") as unfinished:
            self.network.save_pretrained(unfinished)
        self.ema.restore(self.network.parameters())

    def resume(self) -> None:
        """Go on from the newest state that is whole; from the beginning only where there has never been one.

        Raises:
            TrainingError: if there are states, but none can be read.
        """
        newest = self.output / "state"
        reasons = []
        for state in (newest, previous(newest)):
            if not state.is_dir():
                continue
            try:
                self._load(state)
                return
            except Exception as error:  # noqa: BLE001 - a damaged file can make the readers raise nearly anything
                reasons.append(f"{state}: {str(error).strip().splitlines()[0] if str(error) else error!r}")
                warnings.warn(
                    f"this state cannot be resumed, so the one before is: {reasons[-1]}", stacklevel=2
                )
        if reasons:
            raise TrainingError(
                f"no state can be resumed ({'; '.join(reasons)}): "
                "give another --output, or remove both to start anew"
            )

    def _load(self, state: Path) -> None:
        clock = json.loads((state / "clock.json").read_text(encoding="utf-8"))
        ema = torch.load(state / "ema.pt", weights_only=True)
        self.accelerator.load_state(str(state))
        self.ema.load_state_dict(ema)
        self.step, self.seconds = clock["step"], clock["seconds"]


class _Average:
    """Exponential moving average over about a thousand values."""

    def __init__(self) -> None:
        self.value, self.weight = 0.0, 0.0

    def add(self, value: float) -> None:
        self.weight = 0.999 * self.weight + 1
        self.value += (value - self.value) / self.weight


def _lifted(lq: Tensor, curve: Tensor) -> Tensor:
    return apply_curve(lq, curve).clamp(0, 1)


def _load_weights(network: CompactRestorer, path: Path) -> None:
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except (OSError, RuntimeError) as error:
        raise TrainingError(f"cannot start from {path}: {error}") from error
