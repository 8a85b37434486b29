"""One run: accelerate for devices and processes, a checkpoint every few minutes, exact resuming."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import (
    AutocastKwargs,
    DistributedDataParallelKwargs,
    DistributedType,
    broadcast,
    set_seed,
)
from diffusers.training_utils import EMAModel
from torch import Tensor
from tqdm import tqdm

from ggt_hub.commit import committed_folder
from ggt_hub.errors import TrainingError
from ggt_hub.training.checkpoint import MODEL, Identity, check_output, load_state, save_state
from ggt_hub.training.memory import Training, check_fits
from ggt_hub.training.objectives import Objective, load_objective
from ggt_hub.training.reading import Piece, Reading, open_mixtures
from ggt_hub.training.recipe import Recipe, Stage
from ggt_hub.training.sharding import Shards, whole
from ggt_hub.training.tracking import TRACKER, begin_tracking, check_tracker, track
from ggt_hub.training.validation import validate

VALIDATION = "validation"
SKIPPED = "skipped.jsonl"

_TOGETHER = 10  # steps after which several processes agree on the time: each time the device is waited for


def train(
    recipe: Recipe,
    output: Path,
    *,
    init_from: Path | None = None,
    max_minutes: float | None = None,
    cpu: bool = False,
) -> Path:
    """Train a restorer; continue where `output` left off if it holds a checkpoint.

    Args:
        recipe: from `load_recipe`.
        output: folder for `model/` (averaged weights, loadable with `from_pretrained`) and `state/`; pictures that
            could not be used are listed in its `skipped.jsonl`.
        init_from: a safetensors file, or the folder `model/` of another run, whose weights to start from, when
            there is no checkpoint yet.
        max_minutes: stop after this time in all; the learning rate reaches its last value then.
        cpu: do not use an accelerator.

    Returns:
        The folder of the averaged weights.

    Raises:
        TrainingError: if `output` holds what is no run, or the recipe or `init_from` does not fit the network.
        DatasetError: if a source holds nothing to train on.
    """
    check_output(output, _identity(recipe))
    kind = load_objective(recipe.objective)
    check_tracker(recipe.tracker)
    accelerator = Accelerator(
        cpu=cpu,
        log_with=recipe.tracker,
        project_dir=str(output / TRACKER),
        mixed_precision="bf16" if computes_in_bfloat16(cpu) else "no",  # one for all runs of a process
        kwargs_handlers=[AutocastKwargs(enabled=kind.in_bfloat16)],
    )
    _check_sharing(accelerator, recipe)
    share = accelerator.process_index, accelerator.num_processes
    mixtures = open_mixtures(recipe, *share, needs_quality=kind.needs_quality, skipped_in=output / SKIPPED)
    if (needs := needed_memory(recipe, accelerator.num_processes, download=True)) is not None:
        check_fits(needs, cpu)
    for mixture in mixtures:
        mixture.check()
    set_seed(recipe.seed, device_specific=True)
    objective = kind.build(recipe.model, recipe.settings)
    if init_from is not None:
        objective.start_from(init_from)
    pinned = accelerator.device.type != "cpu"
    reading = Reading(recipe, mixtures, objective.prepare, *share, pinned=pinned)
    run = _Run(accelerator, recipe, objective, reading, output, max_minutes)
    run.resume()
    if recipe.tracker:
        begin_tracking(accelerator, output, run.step)
    run.loop()
    run.save()
    run.validate()
    accelerator.end_training()
    return output / MODEL


def _check_sharing(accelerator: Accelerator, recipe: Recipe) -> None:
    """Refuse what cannot be shared in the way that is asked for, before anything is loaded."""
    if accelerator.distributed_type == DistributedType.FSDP:
        raise TrainingError(
            "accelerate is configured to divide weights itself (distributed_type: FSDP): give it MULTI_GPU, and "
            "this command --shard"
        )
    if recipe.shard and accelerator.num_processes == 1:
        raise TrainingError(
            "--shard divides weights among processes, and there is one: start several, with `torchrun "
            "--nproc_per_node N -m ggt_hub train ...`, or leave it out"
        )


def computes_in_bfloat16(cpu: bool) -> bool:
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
        objective: Objective,
        reading: Reading,
        output: Path,
        max_minutes: float | None,
    ) -> None:
        self.accelerator, self.recipe, self.objective = accelerator, recipe, objective
        self.reading, self.output = reading, output
        self.limit = (max_minutes or math.inf) * 60
        if recipe.shard:
            objective.shard(accelerator.device)
        self.trained = [weight for weight in objective.network.parameters() if weight.requires_grad]
        self.learners = objective.learners()
        self.ema = EMAModel(self.trained, decay=recipe.ema_decay, use_ema_warmup=True, power=0.75)
        optimisers = [torch.optim.AdamW(weights, betas=recipe.betas) for weights in self.learners.values()]
        self.module, self.learned = objective, self.ema
        if recipe.shard:  # accelerate would have each process keep all weights
            self.learned = Shards(objective.network, optimisers, self.ema)
        else:
            objective = objective.to(memory_format=torch.channels_last)
            if len(optimisers) > 1:  # in the turn of one, the others' weights have no gradient
                accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
            self.module, *optimisers = accelerator.prepare(objective, *optimisers)
            self.ema.to(accelerator.device)
        self.optimisers = dict(zip(self.learners, optimisers, strict=True))
        self.frozen = [
            objective.first_blocks(stage.frozen) if stage.frozen else [] for stage in recipe.stages
        ]
        self.is_sound = torch.ones((), dtype=torch.bool, device=accelerator.device)
        self.step, self.seconds, self.must_save = 0, 0.0, False
        self.validated = -1
        self.gains, self.terms = _Gains([], accelerator.device), _Terms()

    def resume(self) -> None:
        """Go on from the newest state; from the beginning only where there has never been one."""
        if clock := load_state(self.accelerator, self.learned, self.reading, self.output):
            self.step, self.seconds = int(clock["step"]), clock["seconds"]

    def loop(self) -> None:
        """All stages that are left."""
        self._validate_if_due()  # before the first step, so that what cannot be validated is known by then
        self.started, self.saved = time.monotonic() - self.seconds, time.monotonic()
        ends = [*accumulate(stage.steps for stage in self.recipe.stages)]
        bar = tqdm(
            initial=self.step, total=ends[-1], unit="step", disable=not self.accelerator.is_main_process
        )
        for number, (stage, end) in enumerate(zip(self.recipe.stages, ends, strict=True)):
            if self.step >= end:
                continue
            begin = end - stage.steps
            self._begin(number, is_new=self.step == begin)
            for batch in self.reading.batches(number, self.step - begin):
                self._update(batch, number, self.step - begin)
                self.step += 1
                if self.step % _TOGETHER == 0:
                    self._check_sound()
                self._agree_on_time()
                bar.update()
                if self.step % 100 == 0:
                    bar.set_postfix_str(self._summary())
                    self.accelerator.log(self._figures(stage), step=self.step)
                if self.must_save:
                    self.save()
                self._validate_if_due()
                if self.seconds > self.limit:
                    return

    def _begin(self, number: int, is_new: bool) -> None:
        self.gains, self.terms = _Gains(self.reading.groups(number), self.accelerator.device), _Terms()
        if is_new:
            for optimiser in self.optimisers.values():
                optimiser.state.clear()

    def _update(self, batch: list[Piece], number: int, step: int) -> None:
        stage = self.recipe.stages[number]
        for learner, told in self.objective.turns(self.step).items():
            for group in self.optimisers[learner].param_groups:
                group["lr"], group["weight_decay"] = self._learning_rate(stage, step), stage.weight_decay
            self._descend(batch, told)
            for weight in self.frozen[number]:
                weight.grad = None
            self._move(learner)
        self.ema.step(self.trained)

    def _descend(self, batch: list[Piece], told: Mapping[str, Any]) -> None:
        """Add up the gradients of a batch, of a piece at once; processes share them at the end."""
        device, examples = self.accelerator.device, sum(len(piece["group"]) for piece in batch)
        for number, held in enumerate(batch, 1):
            piece = {name: tensor.to(device, non_blocking=True) for name, tensor in held.items()}
            with nullcontext() if number == len(batch) else self.accelerator.no_sync(self.module):
                loss = self.module(piece, **told)
                self.accelerator.backward(loss.value * (len(piece["group"]) / examples))
            self.is_sound &= loss.value.detach().isfinite()
            self.terms.add(loss.terms)
            if loss.gain is not None:
                self.gains.add(piece["group"], loss.gain.detach())

    def _move(self, learner: str) -> None:
        """The learner's weights follow their gradient; what others got of it is forgotten."""
        if self.recipe.largest_gradient is not None:
            norm = self.accelerator.clip_grad_norm_(self.learners[learner], self.recipe.largest_gradient)
            self.is_sound &= whole(norm).isfinite()
        self.optimisers[learner].step()
        self.objective.zero_grad()

    def _check_sound(self) -> None:
        """Stop before what is not finite reaches a checkpoint; called by all processes, which stop together.

        Raises:
            TrainingError: if a loss or a gradient was NaN or infinite.
        """
        if self.accelerator.reduce((~self.is_sound).float()).item():
            raise TrainingError(
                f"a loss or its gradient was NaN or infinite at step {self.step} or shortly before: the last "
                f"checkpoint in {self.output} is from before that, and the same command goes on from there; with a "
                "smaller learning_rate or largest_gradient in the recipe, it may get past it"
            )

    def _learning_rate(self, stage: Stage, step: int) -> float:
        """Along half a cosine, from the stage's rate to its last one."""
        progress = min(max(step / stage.steps, self.seconds / self.limit), 1.0)
        warm = min(1.0, (step + 1) / stage.warmup_steps) if stage.warmup_steps else 1.0
        left = 0.5 * (1 + math.cos(math.pi * progress))
        return warm * (left * stage.learning_rate + (1 - left) * stage.last_learning_rate)

    def _agree_on_time(self) -> None:
        """Read the clock; clocks differ, and all processes must save and leave the loop together."""
        many = self.accelerator.num_processes > 1
        if many and self.step % _TOGETHER:
            return
        now = time.monotonic()
        seconds, since_saved = now - self.started, now - self.saved
        if many:
            told = torch.tensor([seconds, since_saved], device=self.accelerator.device)
            seconds, since_saved = broadcast(told).tolist()
        self.seconds, self.must_save = seconds, since_saved > self.recipe.save_minutes * 60

    def save(self) -> None:
        """Write `state/` and `model/`, each whole or not at all."""
        self._check_sound()
        self.objective.keep()
        clock = {"step": self.step, "seconds": self.seconds, "made_by": _identity(self.recipe)}
        save_state(self.accelerator, self.learned, self.reading, clock, self.output)
        if self.accelerator.is_main_process or self.recipe.shard:
            self._export()
        if self.accelerator.is_main_process:
            self._note(self._summary())
        self.accelerator.wait_for_everyone()
        self.saved, self.must_save = time.monotonic(), False

    def _note(self, words: str) -> None:
        with (self.output / "progress.txt").open("a") as progress:
            progress.write(f"{self.step} {self.seconds:.0f}s {words}\n")

    def _validate_if_due(self) -> None:
        if self.recipe.validation and self.step % self.recipe.validation.every == 0:
            self.validate()

    def validate(self) -> None:
        """Restore and score the suite of the recipe with the averaged weights, once for each step."""
        told = self.recipe.validation
        if told is None or self.validated == self.step:
            return
        self.validated = self.step
        with self._averaged():
            found = validate(told, self.objective, self.output / VALIDATION / f"{self.step:06d}")
        if found is not None:
            self._note(
                f"validation {' '.join(f'{name} {value:.4g}' for name, value in found.scores.items())}"
            )
            track(self.accelerator, found, self.step)

    def _figures(self, stage: Stage) -> dict[str, float]:
        """What the tracker is told besides what validation finds."""
        figures = {f"gain/{name}": value for name, value in self.gains.means().items()}
        return figures | {f"loss/{name}": value for name, value in self.terms.means().items()}

    def _summary(self) -> str:
        return f"{self.gains.summary()} {self.terms.summary()}".strip()

    def _export(self) -> None:
        """Write the average of the weights as users load it; divided ones are gathered from all processes."""
        with self._averaged(), self.objective.gathered():
            if self.accelerator.is_main_process:
                with committed_folder(self.output / MODEL) as unfinished:
                    self.objective.export(unfinished)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """With the average of the weights in their place."""
        self.ema.store(self.trained)
        self.ema.copy_to(self.trained)
        try:
            yield
        finally:
            self.ema.restore(self.trained)


def _identity(recipe: Recipe) -> Identity:
    """What makes it another run: what is learned, and on which base, wherever that lies."""
    base = recipe.settings.get("base")
    return {
        "objective": recipe.objective,
        "model": recipe.model,
        "base": None if base is None else Path(str(base)).name,
        "shard": recipe.shard,
    }


def needed_memory(recipe: Recipe, processes: int, *, download: bool) -> Training | None:
    """What the stage needs on each device that needs most; None where it is not known.

    Args:
        recipe: whose stages.
        processes: with how many it trains.
        download: fetch a base from the Hub that is not here yet.

    Raises:
        TrainingError: if the base cannot be had.
    """
    kind = load_objective(recipe.objective)
    found = [
        kind.memory(
            recipe.model, recipe.settings, stage.side, stage.at_once or stage.batch, download=download
        )
        for stage in recipe.stages
    ]
    shares = processes if recipe.shard else 1
    known = [replace(one, shares=shares) for one in found if one]
    return max(known, key=lambda one: one.total, default=None)


class _Gains:
    """The gain in each group: a moving average over about a thousand pictures, kept on the device."""

    def __init__(self, names: list[str], device: torch.device) -> None:
        self.names = names
        self.value, self.weight = torch.zeros(2, len(names), device=device).unbind()

    def add(self, groups: Tensor, gains: Tensor) -> None:
        """Note pictures of some groups; the device is not waited for."""
        members = torch.nn.functional.one_hot(groups, len(self.names)).to(gains.dtype)
        count, total = members.sum(0), gains @ members
        weight = 0.999**count * self.weight + count
        self.value = self.value + (total - count * self.value) / weight.clamp(min=1)
        self.weight = weight

    def summary(self) -> str:
        """In words."""
        return " ".join(f"{name} {value:+.2f}" for name, value in self.means().items())

    def means(self) -> dict[str, float]:
        """In dB; groups of which nothing was seen are left out."""
        seen = zip(self.names, self.value.tolist(), self.weight.tolist(), strict=True)
        return {name: value for name, value, weight in seen if weight}


class _Terms:
    """What losses consist of: moving averages over about a hundred steps, kept on the device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.weights: dict[str, float] = {}

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Note those of one turn."""
        for name, value in terms.items():
            self.sums[name] = 0.99 * self.sums.get(name, 0.0) + value.detach()
            self.weights[name] = 0.99 * self.weights.get(name, 0.0) + 1

    def summary(self) -> str:
        """In words."""
        return " ".join(f"{name} {value:.4g}" for name, value in self.means().items())

    def means(self) -> dict[str, float]:
        """By name."""
        return {name: float(total) / self.weights[name] for name, total in self.sums.items()}
