import numpy as np
import pytest
import torch
from skimage import data

from ggt_hub.errors import MetricError
from ggt_hub.metrics import niqe
from tests.metrics.golden import noisy, tensor


def test_noise_and_blocking_raise_the_score():
    clean = data.chelsea()
    blocks = np.kron(clean[::8, ::8], np.ones((8, 8, 1), np.uint8))
    scores = niqe([clean, noisy(clean, 10), noisy(clean, 40), blocks])
    assert scores[0] < 3 < scores[1] < scores[2]
    assert scores[3] > 2 * scores[0]


def test_tensors_and_batches_score_as_arrays():
    clean = data.astronaut()
    expected = niqe([clean, noisy(clean, 10)])
    batch = torch.cat([tensor(clean), tensor(noisy(clean, 10))])
    np.testing.assert_allclose(niqe(batch).numpy(), expected, rtol=1e-12)


def test_what_lies_beyond_the_last_whole_block_is_ignored():
    picture = data.chelsea()[:192, :288]
    padded = np.pad(picture, ((0, 95), (0, 95), (0, 0)))
    np.testing.assert_array_equal(niqe(padded), niqe(picture))


def test_a_flat_picture_has_no_score_and_a_small_one_is_refused():
    assert np.isnan(niqe(np.full((200, 200, 3), 90, np.uint8)))[0]
    with pytest.raises(MetricError, match="95x200 is too small: NIQE needs 96"):
        niqe(np.zeros((200, 95, 3), np.uint8))
