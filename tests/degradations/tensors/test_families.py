"""What runs on tensors is what the CPU path does, value by value; what does not is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from scipy import ndimage
from torch import Tensor

from ggt_hub.degradations import FAMILIES, Degradation, Sample
from ggt_hub.degradations.chains import Drawn, apply_steps
from ggt_hub.degradations.compression import Compression
from ggt_hub.degradations.haze import Haze
from ggt_hub.degradations.low_light import LowLight
from ggt_hub.degradations.noise import Noise
from ggt_hub.degradations.presets import load_preset
from ggt_hub.degradations.resize import Resize
from ggt_hub.degradations.tensors import BATCHED, apply_batch, lacks
from ggt_hub.errors import DegradationError
from tests.degradations.tiny import KINDS
from tests.photographs import photograph

SHAPE = (75, 58)  # no multiple of a block
PHOTO = photograph(96)
PICTURES = [
    np.ascontiguousarray(np.roll(PHOTO, 9 * n, axis=1)[: SHAPE[0], : SHAPE[1]] / np.float32(255))
    for n in range(6)
]

CLOSE = 2e-6  # Fourier transforms and sums in another order round otherwise: a two thousandth of a level
NEAR_BLACK = 1e-4  # where the display's curve is steep, a rounding error grows to a fortieth of a level

COVERED: dict[str, float] = {
    **{f"blur {kind}": CLOSE for kind in ("gaussian", "defocus", "motion", "path")},
    **{f"noise {kind}": CLOSE for kind in ("gaussian", "poisson", "grain", "salt_pepper", "granular")},
    "noise sensor": NEAR_BLACK,
    "low_light": NEAR_BLACK,
    "resize": CLOSE,
    "haze depth": CLOSE,
}


def as_batch(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def as_pictures(batch: Tensor) -> np.ndarray:
    return batch.permute(0, 2, 3, 1).numpy()


def drawn(family: Degradation, seed: int = 0) -> list[Drawn]:
    """A draw for each picture, from mild to severe."""
    rng = default_rng(seed)
    return [Drawn(family, family.draw(rng, severity)) for severity in np.linspace(0, 1, len(PICTURES))]


def by_the_cpu(chains: list[list[Drawn]]) -> np.ndarray:
    pairs = zip(PICTURES, chains, strict=True)
    return np.stack([apply_steps(Sample(picture, picture), chain).lq for picture, chain in pairs])


@pytest.mark.parametrize("kind", COVERED)
def test_a_kind_agrees_with_the_cpu_path(kind: str) -> None:
    steps = [[step] for step in drawn(KINDS[kind])]
    found, expected = as_pictures(apply_batch(as_batch(PICTURES), steps)), by_the_cpu(steps)
    assert np.abs(found - expected).max() < COVERED[kind]
    assert np.abs(expected - PICTURES).max() > 5 / 255


@pytest.mark.parametrize(
    "family",
    [
        replace(Noise(), kinds=("gaussian",), grey=1.0),
        *(replace(FAMILIES["blur"](), kinds=(kind,), sizes=(7, 21)) for kind in ("gaussian", "sinc")),
        *(replace(Resize(), down=(down,)) for down in ("area", "pooled", "linear", "antialiased_lanczos")),
        LowLight(),
    ],
    ids=["grey", "gaussian of a size", "sinc", "area", "pooled", "linear", "antialiased", "no cast"],
)
def test_other_settings_agree_too(family: Degradation) -> None:
    steps = [[step] for step in drawn(family)]
    difference = as_pictures(apply_batch(as_batch(PICTURES), steps)) - by_the_cpu(steps)
    assert np.abs(difference).max() < (NEAR_BLACK if family.name == "low_light" else CLOSE)


@pytest.mark.parametrize("full_colour", [False, True])
@pytest.mark.parametrize("quality", [5, 30, 50, 75, 95, 100])
@pytest.mark.parametrize("sides", [(64, 48), SHAPE, (17, 9), (3, 2)])
def test_jpeg_is_libjpegs(quality: int, full_colour: bool, sides: tuple[int, int]) -> None:
    """Exactly, also at borders, and where colours are too few to be enlarged linearly."""
    family = replace(Compression(), quality=(quality, quality), full_colour=float(full_colour))
    small = [picture[: sides[0], : sides[1]] for picture in PICTURES]
    step = Drawn(family, family.draw(default_rng(0), 0.5))
    found = as_pictures(apply_batch(as_batch(small), [[step]] * len(small)))
    expected = np.stack([family.apply(Sample(one, one), step.parameters).lq for one in small])
    assert np.array_equal(found, expected)


def test_each_picture_has_its_own_quality_and_none_above_100() -> None:
    family = Compression.alone()
    steps = [
        Drawn(family, {"kind": "jpeg", "quality": quality, "full_colour": n % 2 == 1})
        for n, quality in enumerate((10, 20, 60, 80, 95, 101))
    ]
    found = as_pictures(apply_batch(as_batch(PICTURES), [[step] for step in steps]))
    assert np.array_equal(found, by_the_cpu([[step] for step in steps]))
    assert np.array_equal(found[5], PICTURES[5])


def test_jpeg_passes_gradients_as_if_nothing_were_rounded() -> None:
    """The sum of a block's brightness is that of its mean: a gradient of ones comes back as ones in the middle."""
    family = Compression()
    step = Drawn(family, {"kind": "jpeg", "quality": 50, "full_colour": True})
    x = (0.3 + 0.4 * as_batch([PICTURES[0][:64, :48]])).requires_grad_()
    apply_batch(x, [[step]]).sum().backward()
    assert x.grad is not None and torch.allclose(x.grad, torch.ones_like(x), atol=1e-4)


def test_a_chain_runs_in_its_order_and_each_picture_has_its_own() -> None:
    chains = [list(load_preset("compact", "noise").draw(default_rng(n), 0.6)) for n in range(5)]
    chains.append([])
    blur, noise = drawn(KINDS["blur defocus"])[3], drawn(KINDS["noise gaussian"])[3]
    chains[0], chains[1] = [blur, noise], [noise, blur]
    found = as_pictures(apply_batch(as_batch(PICTURES), chains))
    assert np.abs(found - by_the_cpu(chains)).max() < 2 * CLOSE
    assert np.array_equal(found[5], PICTURES[5])


def test_what_runs_on_the_cpu_alone_is_refused_by_name() -> None:
    on_tensors = {kind for kind, family in KINDS.items() if not any(map(lacks, drawn(family)))}
    assert on_tensors == {*COVERED, "compression jpeg"}
    others = [
        replace(Noise(), averaging=1.0),
        Resize(enlarge=False),
        LowLight(lifted=False),
        KINDS["rain streaks"],
    ]
    named = [lacks(drawn(family)[0]) for family in others]
    assert named == ["noise (averaging)", "resize (enlarge: false)", "low_light (lifted: false)", "rain"]
    steps = [[drawn(KINDS["haze fog"])[0]], [drawn(KINDS["blur frames"])[0]]]
    with pytest.raises(
        DegradationError, match=r"not on tensors: blur \(frames\), haze \(fog\): take other kinds"
    ):
        apply_batch(as_batch(PICTURES[:2]), steps)
    with pytest.raises(DegradationError, match="there are 2 pictures and 1 chains"):
        apply_batch(as_batch(PICTURES[:2]), [[]])
    assert set(BATCHED) <= set(FAMILIES)


def test_haze_takes_the_depth_that_is_given_and_never_guesses_a_networks() -> None:
    step = Drawn(
        Haze(), {**drawn(KINDS["haze depth"])[4].parameters, "gamma": 1.0, "beta": 2.0, "depth_by": "net"}
    )
    with pytest.raises(DegradationError, match="the depth is by net: give what it says as `depth`"):
        apply_batch(as_batch(PICTURES[:1]), [[step]])
    depth = torch.full((1, 1, *SHAPE), 0.5)
    black = torch.zeros(1, 3, *SHAPE)
    hazy = apply_batch(black, [[step]], depth=depth)
    air = apply_batch(black, [[step]], depth=torch.full_like(depth, 1e3)) / 0.95  # 0.05 still come through
    assert torch.allclose(hazy, air * (1 - np.exp(-1.0)), atol=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "poisson", "grain", "granular", "salt_pepper", "sensor"])
def test_noise_of_the_device_has_the_law_of_the_cpu_path(kind: str) -> None:
    """On mid grey."""
    family = KINDS[f"noise {kind}"]
    step = Drawn(family, family.draw(default_rng(1), 0.3))
    grey = np.full((200, 200, 3), 0.5, np.float32)
    generator = torch.Generator().manual_seed(3)
    found = as_pictures(apply_batch(as_batch([grey]), [[step]], generator=generator))[0]
    expected = family.apply(Sample(grey, grey), step.parameters).lq
    (deviation, *mine), (other, *theirs) = moments(found - grey), moments(expected - grey)
    assert deviation == pytest.approx(other, rel=0.04)  # salt and pepper: a few thousand values decide
    assert mine == pytest.approx(theirs, abs=0.02)
    assert not np.array_equal(found, expected)
    again = apply_batch(as_batch([grey]), [[step]], generator=torch.Generator().manual_seed(3))
    assert np.array_equal(as_pictures(again)[0], found)


def moments(noise: np.ndarray) -> list[float]:
    """Deviation, mean, correlation of neighbours and of channels, share of what is beyond two deviations."""
    deviation = float(noise.std())
    beside = float(np.mean(noise[:, 1:] * noise[:, :-1])) / deviation**2
    channels = float(np.mean(noise[..., 0] * noise[..., 1])) / deviation**2
    return [deviation, float(noise.mean()), beside, channels, float(np.mean(np.abs(noise) > 2 * deviation))]


def test_low_light_of_the_device_has_the_law_of_the_cpu_path() -> None:
    step = Drawn(LowLight(), LowLight().draw(default_rng(2), 0.5))
    grey = np.full((200, 200, 3), 0.5, np.float32)
    found = as_pictures(apply_batch(as_batch([grey]), [[step]], generator=torch.Generator().manual_seed(3)))[
        0
    ]
    expected = LowLight().apply(Sample(grey, grey), step.parameters).lq
    assert found.mean() == pytest.approx(expected.mean(), rel=0.01)
    assert found.std() == pytest.approx(expected.std(), rel=0.02)


def test_kernels_larger_than_the_picture_reflect_again_and_again() -> None:
    from ggt_hub.degradations.tensors.filters import convolved, gaussian

    small = PICTURES[0][:5, :4]
    expected = ndimage.gaussian_filter(small.astype(float), (3, 3, 0), mode="reflect", truncate=4)
    found = as_pictures(convolved(as_batch([small]), [gaussian(3.0)], "symmetric"))[0]
    assert np.abs(found - expected).max() < 1e-5
