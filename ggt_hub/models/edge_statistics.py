"""How edges are distributed over a picture, which a second picture in a pane, a veil or a coder changes.

Edges of a photograph are few and strong, and lie along lines. Those of two photographs, one through the other, are
more, weaker, and cross: fewer places are calm, and the gradients around a place agree less (Levin and Weiss, PAMI
2007, separate two such layers by that).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDE, _LEVELS, _BLOCKS = 480, 4, 3
_CALM = (0.01, 0.03, 0.1, 0.3)
_OF_A_PLACE = 9 + len(_CALM)
SIZE = _LEVELS * 3 * _OF_A_PLACE
"""How many numbers there are of a picture."""


def edge_statistics(lq: Tensor) -> Tensor:
    """Numbers of pictures (B, 3, H, W), 0..1, of any size, shrunk by area to at most 480 pixels: (B, `SIZE`).

    At four scales, each half of the one before: the numbers of the whole picture (see `_of_places`), and of each
    the least and the largest among nine blocks, for a pane need not cover all of it.
    """
    scale = min(1.0, _SIDE / max(lq.shape[2:]))
    size = [max(1, round(extent * scale)) for extent in lq.shape[2:]]
    light = (F.interpolate(lq, size, mode="area").float().mean(1, keepdim=True) + 0.05).log()
    found = []
    for _ in range(_LEVELS):
        maps = _maps(light)
        whole, blocks = maps.mean((2, 3))[..., None], F.adaptive_avg_pool2d(maps, _BLOCKS).flatten(2)
        places = _of_places(torch.cat([whole, blocks], dim=2))
        found += [places[..., 0], places[..., 1:].amin(2), places[..., 1:].amax(2)]
        light = F.avg_pool2d(light, 2, ceil_mode=True)
    return torch.cat(found, dim=1)


def _maps(light: Tensor) -> Tensor:
    """What is averaged over places, from the logarithm of brightness (B, 1, H, W): (B, 10 + 4, H, W)."""
    across = F.pad(light, (0, 1, 0, 0), mode="replicate").diff(dim=3)
    down = F.pad(light, (0, 0, 0, 1), mode="replicate").diff(dim=2)
    xx, yy, xy = (_around(x) for x in (across * across, down * down, across * down))
    energy = xx + yy + 1e-6
    agreement = ((xx - yy).square() + 4 * xy.square() + 1e-12).sqrt() / energy  # 1: all along one line
    crossing = (xx * yy - xy * xy).clamp(min=0) / energy
    mean = energy.mean((2, 3), keepdim=True)
    calm = [(energy < share * mean).float() for share in _CALM]
    powers = [across**2, down**2, across**4, down**4, across.abs(), down.abs()]
    return torch.cat([*powers, energy, agreement * energy, agreement, crossing, *calm], dim=1)


def _of_places(means: Tensor) -> Tensor:
    """Of means over places (B, 14, places) the numbers: (B, 13, places).

    How heavy the tails of gradients across and down are (log of the kurtosis, and the mean over the deviation),
    how strong they are, how far those around a pixel agree (where they are strong, and everywhere), how much they
    cross, and how much of the place is calm, by four limits.
    """
    xx, yy, x4, y4, x, y, energy, agreeing, agreement, crossing = means[:, :10].unbind(1)
    tails = [((fourth + 1e-10) / (square + 1e-6).square()).log() for fourth, square in ((x4, xx), (y4, yy))]
    strong = [(square + 1e-6).sqrt() for square in (xx, yy)]
    ratios = [mean / deviation for mean, deviation in zip((x, y), strong, strict=True)]
    crossed = ((crossing + 1e-7) / (energy + 1e-7)).log()
    told = [*tails, *ratios, *(one.log() for one in strong), agreeing / energy, agreement, crossed]
    return torch.stack([*told, *means[:, 10:].unbind(1)], dim=1)


def _around(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
