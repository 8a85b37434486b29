"""A job of a visitor: how far it is, how long it may still take, and whether anybody waits for it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
import torch
from gradio.context import LocalContext

from ggt_hub.errors import DemoError
from ggt_hub.images import watch_tiles

Progress = Callable[..., Any]
"""What `gr.Progress()` is: called with a share and words."""


@dataclass
class Job:
    """One restoration, within a limit of time.

    Attributes:
        limit: seconds after which it is given up.
        progress: where to tell how far it is.
    """

    limit: float
    progress: Progress | None = None
    started: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """End the job if it took too long, or nobody waits for it any more.

        Raises:
            DemoError: then.
        """
        if time.monotonic() - self.started > self.limit:
            raise DemoError(f"this takes longer than {self.limit:g} seconds: try a smaller picture")
        if not is_wanted():
            raise DemoError("this was stopped")

    def tell(self, done: int, total: int) -> None:
        """Say how much of the work is done, in tiles or steps, and how long the rest takes at this pace."""
        self.check()
        if self.progress is None or total < 2:
            return
        left = ""
        if done:
            seconds = (time.monotonic() - self.started) / done * (total - done)
            left = f", about {max(1, round(seconds))} s left"
        self.progress(done / total, desc=f"{done} of {total} parts done{left}")


@contextmanager
def watched(pipe: Any, job: Job) -> Iterator[None]:
    """Check on a job whenever a layer of a network is entered, and tell of its tiles."""

    def check(*_: Any) -> None:
        job.check()

    networks = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    hooks = [layer.register_forward_pre_hook(check) for network in networks for layer in network.modules()]
    try:
        with watch_tiles(job.tell):
            job.check()
            yield
            job.check()
    finally:
        for hook in hooks:
            hook.remove()


def is_wanted() -> bool:
    """Whether the visitor whose call this is still waits: has neither stopped it nor closed the page."""
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    if not isinstance(blocks, gr.Blocks) or event_id is None:
        return True
    running = [event for events in blocks._queue.active_jobs for event in events or ()]
    return any(event._id == event_id and event.alive for event in running)
