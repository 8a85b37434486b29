"""The scene of one picture: each part is worked out when it is first asked for, and then kept."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggt_hub.scenes import procedural
from ggt_hub.scenes.assets import NOTHING, Assets, Named

Array = NDArray[np.float32]


class Scene:
    """What a picture shows.

    Args:
        picture: float32, height x width x 3, sRGB-encoded, 0..1; it is not written into.
        assets: networks and pictures to use beside the procedural sources.
    """

    def __init__(self, picture: Array, assets: Assets = NOTHING) -> None:
        self.picture, self.assets = picture, assets
        self._known: dict[tuple[str, str | None], Any] = {}

    def depth(self, by: str | None = None) -> Array:
        """How far things are: height x width, float32, 0 (nearest) .. 1 (farthest), without unit.

        Args:
            by: the network that the record names (`Assets.depth_by`); None is the procedural source.

        Raises:
            DegradationError: if that network is not among the assets.
        """
        return self._once("depth", by, lambda: self._depth(by))

    def masks(self, by: str | None = None) -> NDArray[np.int32]:
        """What belongs together: height x width, int32, the number of each pixel's region, from 0 on.

        Args:
            by: the network that the record names (`Assets.masks_by`); None stands for what is alike in colour.

        Raises:
            DegradationError: if that network is not among the assets.
        """
        return self._once("masks", by, lambda: self._masks(by))

    def asset(self, kind: str, named: Named) -> Array:
        """A picture that the record names: float32, height x width x 3, sRGB-encoded, 0..1, of its own size.

        Raises:
            DegradationError: if it is not among the assets, by name and hash, or cannot be read.
        """
        return self.assets.picture(kind, named)

    def clip(self, named: Named) -> list[NDArray[np.uint8]]:
        """The frames of a clip that the record names, each height x width x 3.

        Raises:
            DegradationError: if it is not among the assets, by name and hash, or cannot be decoded.
        """
        return self.assets.clip(named)

    def weights(self, first: Array, second: Array, by: str) -> Array:
        """How much is seen of a second picture before the first: height x width x 3, 0..1; see `Mixer.weights`.

        Args:
            first: what is behind the glass.
            second: what is before it, of the same size.
            by: the network that the record names (`Assets.mixed_by`).

        Raises:
            DegradationError: if that network is not among the assets, or a side is below 8 pixels.
        """
        return self.assets.weights_of(first, second, by)

    def refined(self, blended: Array, by: str) -> Array:
        """A moire of 512 x 512 pixels as the network has it that the record names (`Assets.refined_by`).

        Raises:
            DegradationError: if that network is not among the assets.
        """
        return self.assets.refined(blended, by)

    def _depth(self, by: str | None) -> Array:
        return procedural.depth(self.picture) if by is None else self.assets.depth_of(self.picture, by)

    def _masks(self, by: str | None) -> NDArray[np.int32]:
        return procedural.regions(self.picture) if by is None else self.assets.masks_of(self.picture, by)

    def _once(self, what: str, by: str | None, make: Any) -> Any:
        if (what, by) not in self._known:
            self._known[what, by] = make()
            self._known[what, by].setflags(write=False)
        return self._known[what, by]
