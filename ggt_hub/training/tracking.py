"""What a run tells a tracker, by those of accelerate."""

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from ggt_hub.errors import TrainingError
from ggt_hub.training.validation import Validated

TRACKER = "tracker"


def check_tracker(name: str | None) -> None:
    """Refuse a tracker that is not installed, which accelerate would leave out silently.

    Raises:
        TrainingError: naming it.
    """
    there = [str(kind.value) for kind in get_available_trackers()]
    if name is not None and name not in there:
        raise TrainingError(
            f"the tracker {name} is not installed: pip install {name}, or take {', '.join(there) or 'none'}"
        )


def begin_tracking(accelerator: Accelerator, name: str, step: int) -> None:
    """Open the tracker of a run; tensorboard takes back what it was told from `step` on, before a kill."""
    accelerator.init_trackers(name, init_kwargs={"tensorboard": {"purge_step": step}})


def track(accelerator: Accelerator, found: Validated, step: int) -> None:
    """Tell what validation has found; accelerate's way to trackio takes no pictures."""
    accelerator.log({f"validation/{name}": value for name, value in found.scores.items()}, step=step)
    for tracker in accelerator.trackers:
        if not hasattr(tracker, "log_images"):
            continue
        told = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        for name, picture in found.pictures.items():
            tracker.log_images({f"validation/{name}": np.stack([picture])}, step=step, **told)
