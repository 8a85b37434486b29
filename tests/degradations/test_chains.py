"""Chains: which steps take part, in which order, how often."""

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng

from ggt_hub.degradations import Sample, apply_steps, severities
from ggt_hub.degradations.blur import Blur
from ggt_hub.degradations.chains import Drawn
from ggt_hub.degradations.compression import Compression
from ggt_hub.degradations.low_light import LowLight
from ggt_hub.degradations.noise import Noise
from ggt_hub.degradations.presets import load_preset, parse_preset
from ggt_hub.degradations.resize import Resize
from ggt_hub.errors import DegradationError

DRAWS = 2000

A, B, C = ({"family": name} for name in ("blur", "noise", "compression"))


def drawn(*steps: dict[str, Any], draws: int = DRAWS) -> Counter[tuple[str, ...]]:
    """How often each sequence of families was drawn."""
    preset, rng = parse_preset("x", {"task": "general", "steps": list(steps)}), default_rng(0)
    return Counter(tuple(step.degradation.name for step in preset.draw(rng)) for _ in range(draws))


def about(share: float) -> Any:
    """Four standard deviations of a share among so many draws."""
    return pytest.approx(share * DRAWS, abs=4 * np.sqrt(DRAWS * share * (1 - share)))


def test_a_step_takes_part_with_its_probability() -> None:
    assert drawn(A | {"probability": 0.3})[("blur",)] == about(0.3)
    assert drawn(A | {"probability": 0})[("blur",)] == 0
    assert drawn(A)[("blur",)] == DRAWS


def test_the_steps_of_the_shipped_presets_take_part_as_their_files_say() -> None:
    rng = default_rng(0)
    mixture = [{step.degradation.name for step in load_preset("mixture").draw(rng)} for _ in range(DRAWS)]
    expected = {"blur": 0.5, "resize": 0.4, "noise": 0.8, "compression": 0.8}
    for family, share in expected.items():
        assert sum(family in names for names in mixture) == about(share)


def test_one_of_takes_each_with_equal_chance() -> None:
    counts = drawn({"one_of": [A, A, B]})
    assert set(counts) == {("blur",), ("noise",)}
    assert counts[("blur",)] == about(2 / 3)


def test_one_of_takes_each_by_its_share() -> None:
    counts = drawn({"one_of": [A, B, C], "shares": [1, 0, 3]})
    assert counts[("blur",)] == about(0.25)
    assert counts[("compression",)] == about(0.75)
    for shares in ([1, 2], [0, 0, 0]):
        with pytest.raises(
            DegradationError, match=r"one_of has 3 steps and the shares \[.*: give one for each"
        ):
            drawn({"one_of": [A, B, C], "shares": shares})


def test_shuffle_takes_some_in_every_order_with_equal_chance() -> None:
    counts = drawn({"shuffle": [A, B, C], "take": [1, 2]})
    names = ("blur", "noise", "compression")
    assert set(counts) == {*permutations(names, 1), *permutations(names, 2)}
    assert all(count == about(1 / (6 if len(order) == 1 else 12)) for order, count in counts.items())


def test_shuffle_takes_all_in_every_order_with_equal_chance() -> None:
    counts = drawn({"shuffle": [A, B, C]})
    assert set(counts) == set(permutations(("blur", "noise", "compression")))
    assert all(count == about(1 / 6) for count in counts.values())


def test_repeat_takes_all_in_order_from_the_fewest_to_the_most_times() -> None:
    counts = drawn({"repeat": [A, B], "times": [1, 3]})
    assert set(counts) == {("blur", "noise") * times for times in (1, 2, 3)}
    assert all(count == about(1 / 3) for count in counts.values())
    rounds = list(
        parse_preset("x", {"task": "general", "steps": [{"repeat": [B], "times": [2, 2]}]}).draw(
            default_rng(0)
        )
    )
    assert rounds[0].parameters != rounds[1].parameters  # each round draws anew


def test_groups_hold_groups_and_have_a_probability() -> None:
    counts = drawn({"one_of": [{"shuffle": [A, B]}, C], "probability": 0.5})
    assert set(counts) == {(), ("compression",), ("blur", "noise"), ("noise", "blur")}
    assert counts[()] == about(0.5)


def test_a_severity_that_is_not_given_is_drawn_uniformly_for_each_step() -> None:
    preset, rng = parse_preset("x", {"task": "noise", "steps": [B | {"sigma": [0, 1]}] * 2}), default_rng(0)
    pairs = np.array([[step.parameters["sigma"] for step in preset.draw(rng)] for _ in range(DRAWS)])
    assert pairs.mean() == pytest.approx(0.5, abs=0.02)
    assert pairs.std() == pytest.approx(1 / np.sqrt(12), abs=0.01)
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.1
    assert [step.parameters["sigma"] for step in preset.draw(rng, 0.25)] == [0.25, 0.25]


def test_steps_are_applied_in_their_order() -> None:
    grey = np.full((8, 8, 3), 0.5, np.float32)
    dark = Drawn(
        LowLight(), {"exposure": 0.1, "contrast": 1.0, "read_noise": 0.0, "shot_noise": 0.0, "seed": 0}
    )
    noise = Drawn(Noise(), {"kind": "gaussian", "sigma": 20.0, "seed": 0})
    first = apply_steps(Sample(grey, grey), [dark, noise]).lq
    assert np.array_equal(
        first,
        noise.degradation.apply(
            dark.degradation.apply(Sample(grey, grey), dark.parameters), noise.parameters
        ).lq,
    )
    assert not np.array_equal(first, apply_steps(Sample(grey, grey), [noise, dark]).lq)


def test_severities_of_a_chain() -> None:
    """By hand: 30 and 40 levels of noise are 50; of quality and blur the worst counts."""
    steps = [
        Drawn(Noise(), {"kind": "gaussian", "sigma": 30.0}),
        Drawn(Noise(), {"kind": "poisson", "sigma": 40.0}),
        Drawn(Compression(), {"quality": 60}),
        Drawn(Compression(), {"quality": 80}),
        Drawn(Blur(), {"kind": "gaussian", "sigma": [4.0, 2.0]}),
        Drawn(Blur(), {"kind": "defocus", "radius": 1.0}),
        Drawn(Resize(), {"scale": 0.5}),
        Drawn(Resize(enlarge=False), {"scale": 0.25}),
    ]
    assert severities(steps) == pytest.approx({"noise": 1.0, "compression": 0.4, "blur": 1.0, "resize": 0.5})
    assert severities([Drawn(Blur(), {"kind": "motion", "length": 12.0})]) == pytest.approx(
        {"blur": 3**0.5 / 3}
    )
    assert severities([Drawn(LowLight(), {"exposure": 0.25})]) == {"low_light": 0.75}
    assert severities([]) == {}
