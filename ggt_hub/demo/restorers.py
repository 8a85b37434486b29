"""The models behind the page: loaded once, called by one visitor at a time, within a limit of time and size."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ggt_hub.demo.jobs import Job, Progress, watched
from ggt_hub.demo.settings import Settings
from ggt_hub.demo.visitors import in_page
from ggt_hub.errors import DemoError, TooLittleMemoryError
from ggt_hub.images import Picture
from ggt_hub.pipelines import Finding, Option, RestorerPipeline

logger = logging.getLogger(__name__)

AUTOMATIC = "automatic"
"""The task that is no task: the model judges the damage itself, or is told nothing of it."""

STEPS = "num_inference_steps"
"""The option of a model that works in steps, more of which take longer; such a model is also random."""


@dataclass(frozen=True)
class Restored:
    """A result: the picture, what was found in it (if the model says so), and the seconds that it took."""

    picture: Picture
    findings: list[Finding]
    seconds: float


@dataclass(frozen=True)
class Request:
    """What a visitor asks of a model."""

    task: str = AUTOMATIC
    upscale: int = 1
    seed: int = 0
    options: Mapping[str, float | None] = field(default_factory=dict)


class Restorer:
    """One model.

    Args:
        source: `name` or `name@revision`, as in `Settings.models`.
        settings: the limits.
    """

    def __init__(self, source: str, settings: Settings) -> None:
        model, _, revision = source.partition("@")
        self.name = model.rstrip("/").rpartition("/")[2]
        self.pipe = RestorerPipeline.from_pretrained(model, **({"revision": revision} if revision else {}))
        self.pipe.set_progress_bar_config(disable=True)
        place(self.pipe)
        self.settings = settings
        self.restore = on_gpu(in_page(self._restore), self.duration)

    @property
    def tasks(self) -> list[str]:
        """What it can be told, `automatic` first."""
        return [AUTOMATIC, *self.pipe.description.tasks]

    @property
    def options(self) -> Mapping[str, Option]:
        """What else it can be told."""
        return self.pipe.description.options

    @property
    def sliders(self) -> dict[str, Option]:
        """The options that the page offers."""
        return {name: option for name, option in self.options.items() if option.slider}

    def steps(self, request: Request) -> int:
        """In how many steps it works; 0 if it does not."""
        return int(request.options.get(STEPS) or self.options[STEPS].default) if STEPS in self.options else 0

    def duration(self, picture: Picture, request: Request, progress: Progress | None = None) -> int:
        """Seconds of a GPU to ask ZeroGPU for: more for large pictures and many steps, the time limit at most.

        Pictures under a megapixel are worked on at one. A step is 0.8e15 operations for a megapixel (12e9
        parameters, 8,800 tokens, twice, with attention): under two seconds on the slowest device lent so far.
        """
        if not (steps := self.steps(request)):
            return 15
        megapixels = max(1.0, picture.size[0] * picture.size[1] * request.upscale**2 / 1e6)
        return round(min(self.settings.time_limit, 20 + 2 * steps * min(megapixels, 4.0)))

    def _restore(self, picture: Picture, request: Request, progress: Progress | None = None) -> Restored:
        """Restore one picture.

        Raises:
            TaskError, RestorerError: for what the model does not support.
            DemoError: if the result would be too large, it takes too long, or nobody waits for it any more.
        """
        arguments = self._arguments(picture, request)
        started = time.perf_counter()
        job = Job(self.settings.time_limit, progress)
        if steps := self.steps(request):
            arguments["callback_on_step_end"] = _teller(job, steps)
        with watched(self.pipe, job):
            result = self.pipe(picture, output_type="np", **arguments)
        findings = result.findings[0] if result.findings else []
        return Restored(picture.with_rgb(result.images[0]), findings, time.perf_counter() - started)

    def _arguments(self, picture: Picture, request: Request) -> dict[str, Any]:
        megapixels = picture.size[0] * picture.size[1] * request.upscale**2 / 1e6
        if megapixels > self.settings.max_megapixels:
            raise DemoError(
                f"the result would have {megapixels:.1f} megapixels, the limit is "
                f"{self.settings.max_megapixels:g}: enlarge it less"
            )
        whole = {name for name, option in self.options.items() if option.whole}
        options = {
            name: value if value is None or name not in whole else int(value)
            for name, value in request.options.items()
        }
        self.pipe.description.check_options(options, self.name)
        return {
            "task": None if request.task == AUTOMATIC else request.task,
            "upscale": request.upscale,
            "generator": torch.Generator().manual_seed(request.seed),
            **options,
        }


def _teller(job: Job, steps: int) -> Callable[..., dict[str, Any]]:
    """What a pipeline that works in steps calls after each."""

    def tell(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        job.tell(min(step + 1, steps), steps)
        return tensors

    return tell


def on_gpu(function: Callable[..., Any], duration: Callable[..., int]) -> Callable[..., Any]:
    """`spaces.GPU` where that package is: on ZeroGPU it lends a device for a call, elsewhere it does nothing."""
    try:
        from spaces import GPU
    except ImportError:
        return function
    return GPU(function, duration=duration)


def place(pipe: RestorerPipeline) -> None:
    """Bring a model to the card, if there is one, by its plan, if it has one.

    Raises:
        TooLittleMemoryError: if it does not fit.
    """
    if not torch.cuda.is_available() or os.environ.get("SPACES_ZERO_GPU"):  # there the card comes with a call
        pipe.to("cuda" if torch.cuda.is_available() else "cpu")
        return
    has_plan = type(pipe).plan_memory is not RestorerPipeline.plan_memory
    memory = torch.cuda.get_device_properties(0).total_memory
    plan = pipe.plan_memory(memory) if has_plan else None
    if plan is None or plan.only not in (None, "cuda"):
        pipe.to("cuda")
    else:
        plan.apply(pipe, "cuda")


def load_restorers(settings: Settings) -> dict[str, Restorer]:
    """The models of the page by name, the default first; those that do not fit the card are left out.

    Raises:
        DemoError: if none fits.
    """
    restorers = {}
    for name, source in zip(short_names(settings.models), settings.models, strict=True):
        try:
            restorers[name] = Restorer(source, settings)
        except TooLittleMemoryError as error:
            logger.warning("%s is not on the page: %s", source, error)
    if not restorers:
        raise DemoError(f"none of {', '.join(settings.models)} fits the card: name a smaller model")
    return restorers


def short_names(sources: Sequence[str]) -> list[str]:
    """The last names of the models; where two would be equal, with what tells them apart."""
    names = [source.partition("@")[0].rstrip("/").rpartition("/")[2] for source in sources]
    revised = [
        f"{name}@{source.partition('@')[2]}" if names.count(name) > 1 and "@" in source else name
        for name, source in zip(names, sources, strict=True)
    ]
    return [
        source if revised.count(name) > 1 else name for name, source in zip(revised, sources, strict=True)
    ]
