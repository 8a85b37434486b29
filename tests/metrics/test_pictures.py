import numpy as np
import pytest
import torch
from PIL import Image

from ggt_hub.errors import MetricError
from ggt_hub.metrics import psnr, ssim

RNG = np.random.default_rng(0)
LEFT, RIGHT = (RNG.integers(0, 256, (2, 24, 32, 3), dtype=np.uint8) for _ in range(2))


def test_every_form_of_the_same_pictures_scores_the_same():
    expected = psnr(LEFT, RIGHT)
    forms = [
        (list(LEFT), list(RIGHT)),
        ([Image.fromarray(p) for p in LEFT], [Image.fromarray(p) for p in RIGHT]),
        (LEFT / 255, RIGHT / 255),
        (LEFT.astype(np.uint16) * 257, RIGHT.astype(np.uint16) * 257),
        ((LEFT / 255).astype(np.float32), RIGHT),
    ]
    for left, right in forms:
        np.testing.assert_allclose(psnr(left, right), expected, rtol=1e-6)  # float32 steps
    left, right = (torch.from_numpy(p / 255).permute(0, 3, 1, 2) for p in (LEFT, RIGHT))
    scores = psnr(left, right)
    assert isinstance(scores, torch.Tensor)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(psnr(left[0], right[0]).numpy(), expected[:1], rtol=1e-12)


def test_pictures_of_mixed_sizes_score_as_each_alone():
    small = [LEFT[0], LEFT[1][:20, :15]], [RIGHT[0], RIGHT[1][:20, :15]]
    alone = [ssim(left, right)[0] for left, right in zip(*small, strict=True)]
    np.testing.assert_array_equal(ssim(*small), alone)


def test_grey_pictures_score_as_their_three_equal_channels():
    grey = LEFT[0, ..., 0], RIGHT[0, ..., 0]
    colour = tuple(np.repeat(plane[..., None], 3, axis=2) for plane in grey)
    assert psnr(*grey) == pytest.approx(psnr(*colour), abs=1e-12)
    assert psnr(*grey, channels="y") == pytest.approx(psnr(*grey), abs=1e-12)


@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        (LEFT, RIGHT[:1], "2 pictures but 1 references"),
        (LEFT[0], RIGHT[0, :20], "picture 0 has shape"),
        ([LEFT[0], LEFT[1]], [RIGHT[0], RIGHT[1, :20]], "picture 1 has shape"),
        (LEFT[0].astype(np.float32), RIGHT[0], "reaches 25"),
        (LEFT[0].astype(np.int64), RIGHT[0], "dtype int64"),
        (np.dstack([LEFT[0], LEFT[0, ..., :1]]), RIGHT[0], "without alpha"),
        (np.zeros((0, 5, 3), np.uint8), RIGHT[0], "without alpha"),
        (torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), "without alpha"),
        (torch.zeros(8, 8), torch.zeros(8, 8), "without alpha"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8), "floats in 0..1"),
        (torch.zeros(3, 24, 32), RIGHT[0], "differ in kind"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_reason(left, right, reason):
    with pytest.raises(MetricError, match=reason):
        psnr(left, right)
