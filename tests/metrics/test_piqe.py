import numpy as np
import pytest
from skimage import data

from ggt_hub.errors import MetricError
from ggt_hub.metrics import piqe
from tests.metrics.golden import noisy


def test_noise_and_blocking_raise_the_score():
    clean = data.chelsea()
    blocks = np.kron(clean[::8, ::8], np.ones((8, 8, 1), np.uint8))
    clean_score, noise_score, block_score = piqe([clean, noisy(clean, 30), blocks])
    assert clean_score < noise_score
    assert clean_score < block_score


def test_a_black_or_small_picture_is_refused():
    for picture in (np.zeros((64, 64, 3), np.uint8), np.full((64, 15, 3), 9, np.uint8)):
        with pytest.raises(MetricError, match="16 pixels a side that is not black"):
            piqe(picture)
