"""Quality in steps, as tables of it are indexed (IQPIR, arXiv 2603.29773)."""

from torch import Tensor

from ggt_hub.errors import RestorerError


def quality_bin(quality: Tensor, bins: int) -> Tensor:
    """The step that each quality falls into: `floor(bins q)` in the precision of q, kept within 0..bins - 1.

    Raises:
        RestorerError: for NaN.
    """
    if quality.isnan().any():
        raise RestorerError("a quality is NaN: give numbers in 0..1")
    return (bins * quality).floor().clamp(0, bins - 1).long()
