"""What is known of a metric."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ggt_hub.metrics.pictures import Scores


@dataclass(frozen=True)
class Metric:
    """A metric and what a reader of its number must know.

    Attributes:
        name: what users type; it carries the protocol.
        function: takes pictures (and references, where `needs_reference`), gives one score for each; takes
            the folder `weights` too where it has some.
        direction: whether higher or lower is better.
        range: the lowest and highest score possible.
        pyiqa: what pyiqa calls the same protocol, with its options; None if it has none.
        needs_reference: whether it compares with a second picture.
        protocol: channels, range, window, border and rounding, in one line.
        weights: the files that its network needs.
        library: what must be installed besides, with the extra that brings it: "skimage: metrics".
        mean: the mean score of pictures (N, 3, H, W), 0..1, with its gradient, of a metric without reference; None
            where rounding or thresholds leave no gradient. See `as_loss`.
    """

    name: str
    function: Callable[..., Scores]
    direction: Literal["higher", "lower"]
    range: tuple[float, float]
    pyiqa: str | None
    needs_reference: bool
    protocol: str
    weights: tuple[str, ...] = ()
    library: str | None = None
    mean: Callable[[Tensor], Tensor] | None = None
