"""What a restorer can do, stated beforehand: so that nobody has to find out by running it."""

from dataclasses import dataclass
from typing import Literal

from ggt_hub.tasks import Task

Tiling = Literal["external", "internal", "none"]


@dataclass(frozen=True)
class RestorerDescription:
    """The frozen description that each restorer class carries.

    Attributes:
        tasks: the tasks it can be told.
        upscales: the factors it supports; the first is the default.
        native_size: the side, in pixels, of the pictures it was trained for; None for any.
        multiple: sides are padded to a multiple of this inside the call; the result has the size asked for.
        tiling: `external` (cut here into tiles and blended), `internal` (the class has its own way), `none`.
        tile: default side of an external tile, in pixels; None restores in one piece unless asked.
        overlap: as `run_tiled` defines it; neighbouring tiles share twice as many pixels.
        takes_prompt: whether `prompt=` is supported.
        memory: what it needs to run, in words with numbers.
    """

    tasks: tuple[Task, ...]
    upscales: tuple[int, ...]
    native_size: int | None
    multiple: int
    tiling: Tiling
    tile: int | None
    overlap: int
    takes_prompt: bool
    memory: str
