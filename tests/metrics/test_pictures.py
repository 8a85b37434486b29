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
    np.testing.assert_allclose(psnr(list(left), list(right)).numpy(), expected, rtol=1e-12)


def test_pictures_of_mixed_sizes_score_as_each_alone():
    small = [LEFT[0], LEFT[1][:20, :15]], [RIGHT[0], RIGHT[1][:20, :15]]
    alone = [ssim(left, right)[0] for left, right in zip(*small, strict=True)]
    np.testing.assert_array_equal(ssim(*small), alone)
    tensors = [[torch.from_numpy(p / 255).permute(2, 0, 1) for p in pictures] for pictures in small]
    np.testing.assert_allclose(ssim(*tensors).numpy(), alone, atol=1e-6)  # float32 filters


def test_pil_images_are_taken_as_they_look():
    picture = Image.fromarray(LEFT[0])
    palette, turned = picture.convert("P", palette=Image.Palette.ADAPTIVE), picture.rotate(90, expand=True)
    turned.getexif()[0x0112] = 6  # turn by 90 degrees to the right to see it upright
    assert psnr(palette, palette.convert("RGB"))[0] == 80
    assert psnr(turned, picture)[0] == 80
    assert psnr(picture.convert("1"), picture.convert("1").convert("L"))[0] == 80
    with pytest.raises(MetricError, match="without alpha"):
        psnr(picture.convert("RGBA"), picture)


def test_grey_pictures_score_as_their_three_equal_channels():
    grey = LEFT[0, ..., 0], RIGHT[0, ..., 0]
    colour = tuple(np.repeat(plane[..., None], 3, axis=2) for plane in grey)
    assert psnr(*grey) == pytest.approx(psnr(*colour), abs=1e-12)
    assert psnr(*grey, channels="y") == pytest.approx(psnr(*grey), abs=1e-12)


@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        (LEFT, RIGHT[:1], "2 pictures but 1 references"),
        (LEFT[0], RIGHT[0, :20], "picture 0 is 32x24 with 3 channels, its reference 32x20 with 3 channels"),
        (
            [LEFT[0], LEFT[1]],
            [RIGHT[0], RIGHT[1, ..., 0]],
            "picture 1 is .* its reference 32x24 with 1 channels",
        ),
        (
            torch.zeros(2, 3, 8, 9),
            torch.zeros(3, 8, 9),
            "9x8 with 3 channels, 2 times, its reference 9x8 with",
        ),
        (LEFT[0].astype(np.float32), RIGHT[0], "from 0 to 25"),
        (LEFT[0] / 127.5 - 1, RIGHT[0], r"from -1 to 1: floats must lie in 0\.\.1"),
        (torch.full((3, 8, 8), 200.0), torch.zeros(3, 8, 8), "from 200 to 200"),
        ([torch.zeros(3, 8, 8)] * 2, [torch.zeros(3, 8, 8)], "2 pictures but 1 references"),
        (None, RIGHT[0], "without alpha"),
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
