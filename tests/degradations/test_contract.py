"""What holds for every family, tried on each of `tiny.py`."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.random import default_rng

from ggt_hub.degradations import FAMILIES, Degradation, Sample, degrade, load_preset, replay
from ggt_hub.degradations.base import Parameters, to_float, to_uint8
from ggt_hub.degradations.chains import Drawn
from ggt_hub.degradations.presets import Preset, parse_preset, parse_step
from ggt_hub.scenes import NOTHING, Assets, Named
from ggt_hub.tasks import TASKS
from tests.degradations.tiny import ALONE, KINDS, SET_UP, every_preset
from tests.photographs import photograph

PHOTO = to_float(photograph(64))
EVERY = ALONE | SET_UP
SEVERITIES = (0.0, 0.3, 0.7, 1.0)

every_family = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)


def sample(shape: tuple[int, int, int] | None = None) -> Sample:
    lq = PHOTO if shape is None else default_rng(1).random(shape, dtype=np.float32)
    return Sample(lq.copy(), lq.copy())


def draws(family: Degradation) -> Iterator[Parameters]:
    for severity in SEVERITIES:
        for seed in range(3):
            yield family.draw(default_rng(seed), severity)


def same(one: Sample, other: Sample) -> bool:
    return np.array_equal(one.lq, other.lq) and np.array_equal(one.gt, other.gt)


def test_every_family_is_tried() -> None:
    assert set(ALONE) == set(FAMILIES)
    assert {type(make()) for make in SET_UP.values()} == set(FAMILIES.values())
    for name, family in FAMILIES.items():
        assert family.name == name
        assert family.task in TASKS


@every_family
def test_the_same_draw_and_the_same_bytes_every_time(make: Callable[[], Degradation]) -> None:
    for one, other in zip(draws(make()), draws(make()), strict=True):
        assert one == other
        assert same(make().apply(sample(), one), make().apply(sample(), other))


@every_family
def test_nothing_that_is_given_is_written_into(make: Callable[[], Degradation]) -> None:
    for parameters in draws(make()):
        given, kept, before = sample(), copy.deepcopy(parameters), sample()
        make().apply(given, parameters)
        assert same(given, before)
        assert parameters == kept


@every_family
def test_global_random_numbers_are_neither_used_nor_moved(make: Callable[[], Degradation]) -> None:
    results = []
    for seed in (1, 2):
        np.random.seed(seed)
        random.seed(seed)
        numpy_state, python_state = np.random.get_state()[1].tolist(), random.getstate()
        results.append([make().apply(sample(), parameters) for parameters in draws(make())])
        assert np.random.get_state()[1].tolist() == numpy_state
        assert random.getstate() == python_state
    assert all(same(one, other) for one, other in zip(*results, strict=True))


@every_family
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 3), (37, 2, 3), (24, 31, 3)])
def test_layout_and_range_at_any_size(make: Callable[[], Degradation], shape: tuple[int, int, int]) -> None:
    for parameters in draws(make()):
        done = make().apply(sample(shape), parameters)
        for side in (done.lq, done.gt):
            assert side.dtype == np.float32
            assert 0 <= side.min() <= side.max() <= 1
        factor = done.gt.shape[0] // done.lq.shape[0]
        assert done.gt.shape == (done.lq.shape[0] * factor, done.lq.shape[1] * factor, 3)
        assert done.gt.shape[0] > shape[0] - factor  # no more is cut off than must be
        assert done.gt.shape[1] > shape[1] - factor


@every_family
def test_a_record_replays_to_the_same_bytes_after_json(make: Callable[[], Degradation]) -> None:
    family = make()
    for parameters in draws(family):
        record = json.loads(json.dumps(Drawn(family, parameters).record()))
        again = parse_step(record)
        assert again.degradation == family
        assert same(again.degradation.apply(sample(), again.parameters), family.apply(sample(), parameters))


class Everything(Assets):
    """Has something of each kind, and remembers what was asked for."""

    asked: ClassVar[set[str]] = set()

    @property
    def depth_by(self) -> str:
        self.asked.add("depth")
        return "depth@1"

    @property
    def masks_by(self) -> str:
        self.asked.add("masks")
        return "masks@1"

    def files(self, kind: str) -> list[Path]:
        self.asked.add(kind)
        return [Path("a.png")]

    def pick(self, rng: np.random.Generator, kind: str, *counts: int) -> list[Named]:
        self.asked.add(kind)
        return [{"name": "a.png", "sha256": "0" * 64}]


@every_family
def test_what_a_family_uses_besides_the_picture_is_among_its_needs(make: Callable[[], Degradation]) -> None:
    family = make()
    Everything.asked.clear()
    for seed in range(40):
        drawn = family.draw(default_rng(seed), 0.5)
        kept = copy.deepcopy(drawn)
        chosen = family.choose(default_rng(seed), drawn, Everything())
        assert drawn == kept
        assert {name: chosen[name] for name in kept} == kept
        assert family.choose(default_rng(seed), drawn, NOTHING) == kept
    assert Everything.asked <= family.needs
    if make in ALONE.values():
        assert Everything.asked == family.needs


@pytest.mark.parametrize(("name", "kind"), [("rain", "streaks"), ("snow", ""), ("flare", "glare")])
def test_half_of_the_draws_use_a_pattern_where_there_are_some(name: str, kind: str) -> None:
    family, rng = KINDS[f"{name} {kind}".strip()], default_rng(0)
    used = ["pattern" in family.choose(rng, family.draw(rng, 0.5), Everything()) for _ in range(400)]
    assert sum(used) == pytest.approx(200, abs=40)  # four deviations


@every_family
def test_the_severity_is_named_and_grows_from_none(make: Callable[[], Degradation]) -> None:
    family = make()
    for parameters in draws(family):
        assert all(value >= 0 for value in family.severity(parameters).values())
    if make in ALONE.values():
        (name,) = family.severity(family.draw(default_rng(0), 1.0))
        said = [family.severity(family.draw(default_rng(0), severity))[name] for severity in SEVERITIES]
        assert said[0] == 0
        assert said == sorted(set(said))


@pytest.mark.parametrize("name", ALONE)
def test_severity_0_of_a_family_alone_leaves_the_picture_within_one_level(name: str) -> None:
    assert load_preset(name).steps[0].degradation == ALONE[name]()
    for seed in range(12):
        damaged, _ = degrade(photograph(64), name, severity=0, seed=seed)
        assert np.abs(damaged.astype(int) - photograph(64)).max() <= 1


@pytest.mark.parametrize("name", ALONE)
def test_the_last_severity_of_a_family_alone_is_its_worst(name: str) -> None:
    """Mean absolute change over draws, far from each other: no kind of damage is left behind."""
    change = [
        np.mean(
            [
                np.abs(to_float(degrade(photograph(64), name, severity=s, seed=n)[0]) - PHOTO).mean()
                for n in range(8)
            ]
        )
        for s in (0.1, 0.4, 0.7, 1.0)
    ]
    assert 1 / 255 / 10 < change[0] < change[1] < change[2] < change[3]


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_alone_begins_with_nothing_and_grows(name: str) -> None:
    """Mean absolute change over draws at each severity; none at 0, where the parameters are those of no damage."""
    change = []
    for severity in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
        draws = [KINDS[name].draw(default_rng(seed), severity) for seed in range(4)]
        done = [np.abs(KINDS[name].apply(sample(), drawn).lq - PHOTO) for drawn in draws]
        change.append(float(np.mean(done)))
        assert severity or max(map(np.max, done)) <= 1 / 255
    assert all(less < more for less, more in pairwise(change)), change


@every_preset
def test_a_preset_replays_to_the_same_bytes_after_json(preset: Preset) -> None:
    for seed in range(4):
        damaged, record = degrade(photograph(64), preset, seed=seed)
        assert record == json.loads(json.dumps(record))
        assert np.array_equal(replay(photograph(64), record), damaged)


@dataclass(frozen=True)
class Tint(Degradation):
    """A family of a user: what `apply` adds is a setting, not a parameter."""

    name: ClassVar[str] = "tint"
    task: ClassVar = "general"

    level: float = 0.25

    @classmethod
    def alone(cls) -> "Tint":
        return cls()

    def draw(self, rng: np.random.Generator, severity: float) -> Parameters:
        return {"share": severity}

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        share = np.float32(parameters["share"])
        return replace(sample, lq=(1 - share) * sample.lq + share * np.float32(self.level))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        return {"tint": parameters["share"]}


def test_settings_reach_apply_in_a_chain_and_in_its_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "tint", Tint)
    preset = parse_preset("mine", {"task": "general", "steps": [{"family": "tint", "level": 0.75}]})
    damaged, record = degrade(photograph(64), preset, severity=1.0)
    assert (damaged == to_uint8(np.float32(0.75))).all()
    assert record["steps"] == [{"family": "tint", "share": 1.0, "settings": {"level": 0.75}}]
    assert np.array_equal(replay(photograph(64), json.loads(json.dumps(record))), damaged)
