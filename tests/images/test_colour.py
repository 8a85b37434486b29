import numpy as np
import pytest

from ggt_hub.images.colour import srgb_encoded


def test_light_is_coded_as_the_standard_says_and_stays_in_its_range() -> None:
    """IEC 61966-2-1 at both ends, at a fifth of white, and outside: colours of Lab that sRGB does not have."""
    coded = srgb_encoded(np.array([-0.2, 0.0, 0.002, 0.2, 1.0, 1.7]))
    assert coded == pytest.approx([0, 0, 0.02584, 0.484529, 1, 1], abs=1e-6)
