"""Noise on tensors."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ggt_hub.degradations.chains import Drawn
from ggt_hub.degradations.noise import gain_of_smoothing
from ggt_hub.degradations.tensors.batch import Batch, Family
from ggt_hub.degradations.tensors.filters import convolved, gaussian
from ggt_hub.degradations.tensors.light import to_display, to_light

# Green lacks every second pixel, red and blue three of four.
_CROSS = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / np.float32(4)
_SQUARE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / np.float32(4)


def _lacks(step: Drawn) -> str | None:
    if "box" in step.parameters:
        return "averaging"
    return None if _kind(step) in _KINDS else step.parameters["kind"]


def _kind(step: Drawn) -> str:
    """The kind; a Gaussian of all channels is one of its own."""
    return "grey gaussian" if "grey" in step.parameters else str(step.parameters["kind"])


def _apply(batch: Batch) -> Tensor:
    noisy = torch.empty_like(batch.x)
    kinds = np.array([_kind(step) for step in batch.steps])
    for kind in np.unique(kinds):
        places = np.flatnonzero(kinds == kind).tolist()
        same = Batch(
            batch.x[places], [batch.steps[n] for n in places], batch.clean[places], generator=batch.generator
        )
        noisy[places] = _KINDS[kind](same)
    return noisy.clamp(0, 1)


def _added(field: Callable[[Batch], Tensor]) -> Callable[[Batch], Tensor]:
    """A field of unit deviation, times sigma, on top of the pictures."""
    return lambda batch: batch.x + batch.values("sigma") / 255 * field(batch)


def _grain(batch: Batch) -> Tensor:
    shared = batch.normals(1)
    field = shared + batch.values("chroma") * batch.normals(3)
    sizes = [step.parameters["size"] for step in batch.steps]
    smooth = convolved(field, [gaussian(size) for size in sizes], "symmetric")
    gains = batch.tensor([gain_of_smoothing(size) for size in sizes]).view(-1, 1, 1, 1)
    return smooth / ((1 + batch.values("chroma") ** 2).sqrt() * gains)


def _granular(batch: Batch) -> Tensor:
    shared = batch.normals(1)
    return shared + 0.35 * batch.normals(3)


def _salted(batch: Batch) -> Tensor:
    place, half = batch.uniforms(3), batch.values("amount") / 2
    return batch.x.masked_fill(place < half, 0).masked_fill(place > 1 - half, 1)


def _sensed(batch: Batch) -> Tensor:
    """As `noise._sensed`: noise on the mosaic of a sensor, which alone is demosaiced."""
    gains = batch.tensor(
        [[red, 1.0, blue] for red, blue in (step.parameters["gains"] for step in batch.steps)]
    )
    gains = gains[:, :, None, None]
    light = to_light(batch.x)
    variance = batch.values("read_noise") ** 2 + batch.values("shot_noise") ** 2 * light / gains
    mosaic = batch.normals(1) * variance.sqrt() * _bayer(batch.x)
    kernels = [kernel for _ in batch.steps for kernel in (_SQUARE, _CROSS, _SQUARE)]
    planes = convolved(mosaic.flatten(0, 1)[:, None], kernels, "reflect").view_as(mosaic)
    return to_display(light + gains * planes)


def _bayer(x: Tensor) -> Tensor:
    """Which sites have which filter (RGGB): (3, H, W), 0 or 1."""
    sites = torch.zeros(x.shape[1:], device=x.device)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        sites[channel, row::2, column::2] = 1
    return sites


_KINDS: dict[str, Callable[[Batch], Tensor]] = {
    "gaussian": _added(lambda batch: batch.normals(3)),
    "grey gaussian": _added(lambda batch: batch.normals(1)),
    "poisson": _added(lambda batch: batch.normals(3) * batch.x.sqrt()),
    "grain": _added(_grain),
    "granular": _added(_granular),
    "salt_pepper": _salted,
    "sensor": _sensed,
}

NOISE = Family(_lacks, _apply)
