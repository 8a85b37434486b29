"""The presets that ship draw what was published: parameters alone, over a few hundred draws.

Means are held to four standard errors of the published distribution, shares to four of theirs, unless said
otherwise; a draw that is right is refused once in 16,000. Ends of a range are held to what so many draws come near.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

from ggt_hub.degradations import NOTHING, Assets, load_preset, load_presets
from ggt_hub.tasks import TASKS

DRAWS = 400

Step = dict[str, Any]
Chain = list[Step]


def chains(preset: str, task: str | None = None, assets: Assets = NOTHING) -> list[Chain]:
    loaded, rng = load_preset(preset, task), default_rng(0)
    return [[step.record() for step in loaded.draw(rng, assets=assets)] for _ in range(DRAWS)]


def even(values: Iterable[float], low: float, high: float) -> None:
    """Evenly distributed: mean, deviation and ends."""
    found = np.array([*values])
    spread = high - low
    assert len(found) > 25
    assert found.mean() == pytest.approx((low + high) / 2, abs=4 * spread / np.sqrt(12 * len(found)))
    # The deviation of an even distribution has the standard error 0.45 of itself over the root of the number.
    assert found.std() == pytest.approx(spread / np.sqrt(12), rel=2 / np.sqrt(len(found)) + 0.02)
    assert low - 1e-9 <= found.min() <= low + 10 * spread / len(found)
    assert high - 10 * spread / len(found) <= found.max() <= high + 1e-9


def about(share: float, count: int) -> Any:
    return pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / count))


def shares(values: Iterable[Any], published: dict[Any, float]) -> None:
    found = [*values]
    assert set(found) <= set(published)
    for value, share in published.items():
        assert found.count(value) / len(found) == about(share, len(found)), value


def of(chains: list[Chain], family: str, **wanted: Any) -> Chain:
    """All steps of a family that have these parameters."""
    return [
        step
        for chain in chains
        for step in chain
        if step["family"] == family and all(step.get(key) == value for key, value in wanted.items())
    ]


def values(steps: Chain, key: str) -> list[Any]:
    return [step[key] for step in steps]


@pytest.mark.parametrize("name", ["realesrgan", "dreamclear"])
def test_the_second_order_chain(name: str) -> None:
    drawn = chains(name)
    first, second = [], []
    for chain in drawn:
        families = [step["family"] for step in chain]
        assert families[0] == "sharpen"
        assert chain[0]["weight"] == 0.5
        assert families[1:5] == ["mixed_blur", "rescale", "noise", "compression"]
        first.append(chain[1:5])
        second.append(chain[5:])
    _pass(first, (1.5, 0.15), 1.0, (0.2, 0.7, 0.1), sigma=3.0, noise=30, error=3.0)
    opened = [chain[1:] if chain[0]["family"] == "mixed_blur" else chain for chain in second]
    blurred = [chain[:1] for chain in second if chain[0]["family"] == "mixed_blur"]
    assert len(blurred) / DRAWS == about(0.8, DRAWS)
    _kernels([step for [step] in blurred], sigma=1.5)
    _pass(opened, (1.2, 0.3), 1.0, (0.3, 0.4, 0.3), sigma=None, noise=25, error=2.5)
    assert all(step["settings"]["of_gt"] == 4 for step in of(opened, "rescale"))
    ends = [[step["family"] for step in chain[2:]] for chain in opened]
    sinc = ["mixed_blur"]
    orders = {
        ("fit", "mixed_blur", "compression"): 0.4,
        ("fit", "compression"): 0.1,
        ("compression", "fit", "mixed_blur"): 0.4,
        ("compression", "fit"): 0.1,
    }
    shares(map(tuple, ends), orders)
    last = [step for chain in opened for step in chain[2:] if step["family"] in sinc]
    assert set(values(last, "kind")) == {"sinc"}
    even(values(last, "cutoff"), np.pi / 3, np.pi)
    assert all(step["settings"]["part"] == 4 for step in of(opened, "fit"))
    shares(values(of(opened, "fit"), "filter"), dict.fromkeys(("pooled", "linear", "cubic"), 1 / 3))


def _pass(
    drawn: list[Chain],
    limits: tuple[float, float],
    pivot: float,
    ways: tuple[float, float, float],
    *,
    sigma: float | None,
    noise: float,
    error: float,
) -> None:
    if sigma is not None:
        _kernels(of(drawn, "mixed_blur"), sigma)
    scales = values(of(drawn, "rescale"), "scale")
    shares((int(np.sign(scale - pivot)) for scale in scales), dict(zip((1, -1, 0), ways, strict=True)))
    even((scale for scale in scales if scale > pivot), pivot, limits[0])
    even((scale for scale in scales if scale < pivot), limits[1], pivot)
    shares(values(of(drawn, "rescale"), "filter"), dict.fromkeys(("pooled", "linear", "cubic"), 1 / 3))
    shares(values(of(drawn, "noise"), "kind"), {"gaussian": 0.5, "levels": 0.5})
    even(values(of(drawn, "noise", kind="gaussian"), "sigma"), 1, noise)
    even(values(of(drawn, "noise", kind="levels"), "error"), 0.05, error)
    shares(("grey" in step for step in of(drawn, "noise")), {True: 0.4, False: 0.6})
    even(values(of(drawn, "compression"), "quality"), 30, 95)
    assert not any(values(of(drawn, "compression"), "full_colour"))


def _kernels(steps: Chain, sigma: float) -> None:
    shares(values(steps, "size"), dict.fromkeys(range(7, 22, 2), 1 / 8))
    published = {
        "gaussian_iso": 0.45,
        "gaussian_aniso": 0.25,
        "generalized_iso": 0.12,
        "generalized_aniso": 0.03,
        "plateau_iso": 0.12,
        "plateau_aniso": 0.03,
    }
    shares(values(steps, "kind"), {"sinc": 0.1} | {kind: 0.9 * share for kind, share in published.items()})
    round_ones = [step for step in steps if step["kind"].endswith("_iso")]
    even((step["sigma"][0] for step in round_ones), 0.2, sigma)
    shapes = {
        kind: values([s for s in steps if s["kind"].startswith(kind)], "shape")
        for kind in ("generalized", "plateau")
    }
    for kind, (low, high) in {"generalized": (0.5, 4.0), "plateau": (1.0, 2.0)}.items():
        assert low <= min(shapes[kind]) < max(shapes[kind]) <= high


SHRINKING = dict.fromkeys(("pooled", "antialiased_linear", "antialiased_cubic"), 1 / 3)


def _two_passes(drawn: list[Chain], noise: bool) -> None:
    """RealRestorer's blur: facts of both of its uses."""
    first = ["blur", "rescale", *(["noise"] if noise else []), "compression"]
    twice = [[step["family"] for step in chain] == [*first, "blur", "rescale", "fit"] for chain in drawn]
    once = [[step["family"] for step in chain] == [*first, "fit"] for chain in drawn]
    assert all(one != two for one, two in zip(once, twice, strict=True))
    assert np.mean(twice) == about(0.7, len(drawn))
    again = [chain[len(first) :] for chain, second in zip(drawn, twice, strict=True) if second]
    for part, largest, sigma, factors in (
        ([chain[:2] for chain in drawn], 21, 6, (2, 4)),
        ([chain[:2] for chain in again], 13, 5, (3, 5)),
    ):
        sizes = range(7, largest + 1, 2)
        shares(values(of(part, "blur"), "size"), dict.fromkeys(sizes, 1 / len(sizes)))
        shares(values(of(part, "blur"), "kind"), {"sinc": 0.5, "gaussian": 0.5})
        even(values(of(part, "blur", kind="sinc"), "cutoff"), np.pi / 4, np.pi)
        even((step["sigma"][0] for step in of(part, "blur", kind="gaussian")), 0.5, sigma)
        even(values(of(part, "rescale"), "scale"), *factors)
        assert all(step["settings"]["divides"] for step in of(part, "rescale"))
        shares(values(of(part, "rescale"), "filter"), SHRINKING)
    even(values(of(drawn, "compression"), "quality"), 20, 80)
    assert set(values(of(drawn, "fit"), "filter")) == {"antialiased_cubic"}


def test_realrestorer_blur() -> None:
    drawn = chains("realrestorer", "blur")
    _two_passes(drawn, noise=True)
    shares(values(of(drawn, "noise"), "kind"), {"gaussian": 0.75, "photons": 0.25})
    even(values(of(drawn, "noise", kind="gaussian"), "sigma"), 1, 25)
    even(values(of(drawn, "noise", kind="photons"), "photons"), 0.05, 2.5)


def test_realrestorer_noise() -> None:
    drawn = chains("realrestorer", "noise")
    kinds = ("gaussian", "salt_pepper", "levels", "granular")
    added = [[s for s in chain if s["family"] == "noise" and "box" not in s] for chain in drawn]
    shares(map(len, added), dict.fromkeys((2, 3, 4), 1 / 3))
    for kind in kinds:
        assert len(of(added, "noise", kind=kind)) / DRAWS == about(0.75, DRAWS)  # 3 of 4 in the mean
    assert all(len({step["kind"] for step in chain}) == len(chain) for chain in added)
    shares((chain[0]["kind"] for chain in added), dict.fromkeys(kinds, 0.25))
    even(((step["sigma"] / 255) ** 2 for step in of(added, "noise", kind="gaussian")), 0.005, 0.1)
    even(values(of(added, "noise", kind="salt_pepper"), "amount"), 0.005, 0.05)
    even(values(of(added, "noise", kind="granular"), "sigma"), 8 * 0.6, 8 * 2.4)
    assert set(values(of(added, "noise", kind="levels"), "error")) == {1.0}
    averaged = [step for step in of(drawn, "noise") if "box" in step]
    assert len(averaged) / DRAWS == about(0.4, DRAWS)
    assert {step["sigma"] for step in averaged} == {0.0}
    shares(values(averaged, "box"), dict.fromkeys((3, 5, 7), 1 / 3))
    even(values(averaged, "threshold"), 0.4, 0.8)
    tails = [[step for step in chain if step["family"] != "noise"] for chain in drawn]
    tails = [tail for tail in tails if tail]
    assert len(tails) / DRAWS == about(0.5, DRAWS)
    _two_passes(tails, noise=False)


def test_realrestorer_haze() -> None:
    drawn = chains("realrestorer", "haze")
    assert all([step["kind"] for step in chain] == ["depth"] for chain in drawn)
    even(values(of(drawn, "haze"), "beta"), 0.6, 1.8)
    even(values(of(drawn, "haze"), "gamma"), 1, 2)
    even(values(of(drawn, "haze"), "tint"), 0, 1)
    jitter = np.array(values(of(drawn, "haze"), "jitter"))
    assert jitter.std() == pytest.approx(0.01, rel=4 / np.sqrt(2 * jitter.size))
    assert not any("textures" in step for step in of(drawn, "haze"))


def test_realrestorer_haze_with_patterns_of_fog(tmp_path: Path) -> None:
    (tmp_path / "fog").mkdir()
    for number in range(12):
        Image.new("RGB", (4, 4), (20 * number,) * 3).save(tmp_path / f"fog/{number}.png")
    steps = of(chains("realrestorer", "haze", Assets.open(tmp_path)), "haze")
    foggy = [step for step in steps if "textures" in step]
    assert len(foggy) / DRAWS == about(0.7, DRAWS)
    shares((step["scatters"] for step in foggy), {True: 0.8, False: 0.2})  # else it always scatters
    even(values(foggy, "strength"), 0.25, 0.6)
    shares((len(step["textures"]) for step in foggy), dict.fromkeys(range(1, 11), 0.1))


def test_realrestorer_rain() -> None:
    steps = of(chains("realrestorer", "rain"), "rain")
    assert {step["kind"] for step in steps} == {"streaks"}
    even(values(steps, "streaks"), 8000, 15000)
    even(values(steps, "angle"), 75, 105)
    even(values(steps, "splashes"), 0.02, 0.07)
    even(values(steps, "texture"), 0.25, 0.6)
    assert all(step["length"] == [5, 50] and step["veil"] == 0 for step in steps)


def test_realrestorer_reflection() -> None:
    steps = of(chains("realrestorer", "reflection"), "reflection")
    shares(values(steps, "kind"), dict.fromkeys(("focused", "defocused", "ghosting"), 1 / 3))
    doubled = [step for step in steps if step["kind"] == "ghosting"]
    even(values([step for step in steps if step["kind"] == "defocused"], "sigma"), 5, 10)
    even((part for step in doubled for part in step["shift"]), 0.05, 0.1)
    even(values(doubled, "attenuation"), 0.5, 1)


def test_realrestorer_moire() -> None:
    steps = of(chains("realrestorer", "moire"), "moire")
    assert {(step["kind"], step["strength"]) for step in steps} == {("pattern", 1.0)}
    even(values(steps, "weight"), 0.65, 0.75)


def test_what_was_not_released_of_realrestorer_is_there_too() -> None:
    assert [preset.task for preset in load_presets("realrestorer")] == list(TASKS[:9])
    even(values(of(chains("realrestorer", "low_light"), "low_light"), "exposure"), 0.04, 0.5)
    even(values(of(chains("realrestorer", "flare"), "flare"), "strength"), 0.2, 1.0)
    worst = [
        min(step["quality"] for step in of([chain], "compression"))
        for chain in chains("realrestorer", "compression")
    ]
    assert 8 <= min(worst) < 20 < 60 < max(worst) <= 75


def test_realrestorer_web() -> None:
    drawn = chains("realrestorer-web")
    even(values(of(drawn, "rescale"), "scale"), 0.5, 0.9)
    even(values(of(drawn, "rescale"), "small"), 0.8, 1.0)
    shares(values(of(drawn, "rescale"), "filter"), SHRINKING)
    assert len(of(drawn, "blur")) / DRAWS == about(0.6, DRAWS)
    shares(values(of(drawn, "blur"), "size"), {3: 0.5, 5: 0.5})
    even((step["sigma"][0] for step in of(drawn, "blur")), 0.1, 1.2)
    assert len(of(drawn, "noise")) / DRAWS == about(0.5, DRAWS)
    even(values(of(drawn, "noise"), "sigma"), 1, 10)
    jpeg = of(drawn, "compression")
    low, high = ([q for q in values(jpeg, "quality") if (q < 60) == worse] for worse in (True, False))
    # 60 is in both ranges: a 21st part of the lower one, too.
    assert len(low) / DRAWS == about(0.2 * 20 / 21, DRAWS)
    even(low, 40, 59)
    even(high, 60, 95)
    shares(values(of(drawn, "fit"), "filter"), {"antialiased_linear": 0.5, "antialiased_cubic": 0.5})
    assert [step["family"] for step in max(drawn, key=len)] == [
        "rescale",
        "blur",
        "noise",
        "compression",
        "fit",
    ]


def test_compact_draws_what_the_recipe_of_its_training_draws() -> None:
    """Each task's links are those of the recipe's groups, by their shares."""
    from ggt_hub.training import load_recipe

    groups = load_recipe("compact").stages[0].groups
    for task, names in {
        "noise": ("noise", "dark"),
        "compression": ("compression", "resize"),
        "low_light": ("low_light", "backlit"),
    }.items():
        [choice] = load_preset("compact", task).steps
        assert choice.links == tuple(link for name in names for link in groups[name].preset.steps)
        assert choice.shares == tuple(groups[name].share for name in names)
    assert load_preset("compact", "blur").steps == groups["blur"].preset.steps
    assert load_preset("compact", "general").steps == load_preset("mixture").steps
