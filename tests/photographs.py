"""Real photographs for tests, from libraries that ship them."""

from functools import cache

import numpy as np


@cache
def photograph(side: int = 256) -> np.ndarray:
    """The middle of a colour portrait (NASA, public domain): side x side x 3, uint8. Do not write into it."""
    from skimage.data import astronaut

    top, left = (512 - side) // 2, (512 - side) // 2
    picture = np.ascontiguousarray(astronaut()[top : top + side, left : left + side])
    picture.setflags(write=False)
    return picture
