"""What a run tells a tracker, by those of accelerate."""

from pathlib import Path

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


def begin_tracking(accelerator: Accelerator, output: Path, step: int) -> None:
    """Open the tracker of a run, as a project of its folder's name.

    tensorboard takes back what it was told from `step` on, before a kill; to the others it is one more run.
    """
    folder = output / TRACKER
    folder.mkdir(parents=True, exist_ok=True)
    told = {"tensorboard": {"purge_step": step}, "wandb": {"dir": str(folder)}}
    accelerator.init_trackers(output.name, init_kwargs=told)


def track(accelerator: Accelerator, found: Validated, step: int) -> None:
    """Tell what validation has found."""
    accelerator.log({f"validation/{name}": value for name, value in found.scores.items()}, step=step)
    for tracker in accelerator.trackers:
        for name, picture in found.pictures.items():
            if tracker.name == "trackio":  # to which accelerate brings no pictures
                import trackio

                tracker.log({f"validation/{name}": trackio.Image(picture)}, step=step)
            else:
                told = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({f"validation/{name}": np.stack([picture])}, step=step, **told)
