"""What the compact restorer learns from, and its loss, by value."""

import hashlib
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from PIL import Image

from ggt_hub.data.reading.mixture import Damage, Example, Mixture
from ggt_hub.data.reading.picture_sources import open_source
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.errors import TrainingError
from ggt_hub.models import CompactRestorer
from ggt_hub.models.compact_restorer import ESTIMATES, TASKS
from ggt_hub.training import load_recipe
from ggt_hub.training.objectives.compact import Batches, CompactObjective
from tests.photographs import photograph


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    """The shipped recipe's, on two photographs."""
    for side in (96, 128):
        Image.fromarray(photograph(side)).save(tmp_path / f"{side}.png")
    (stage,) = load_recipe("compact").stages
    return Mixture([(open_source(tmp_path), 1.0)], stage.groups, crop=32, seed=0)


def samples(mixture: Mixture, count: int) -> list[dict[str, torch.Tensor]]:
    """What batches hold, and the group."""
    prepare, groups = Batches(), mixture.groups
    return [
        prepare(example) | {"group": torch.tensor(groups.index(example.group))}
        for example in (mixture[number] for number in range(count))
    ]


def test_the_samples_of_the_shipped_recipe_are_those_of_0_1(mixture: Mixture) -> None:
    """All that a sample holds, by hash: 240 cover every group."""
    recorded = json.loads((Path(__file__).parent / "recorded_samples.json").read_text())
    made = samples(mixture, len(recorded))
    assert {int(sample["group"]) for sample in made} == set(range(len(mixture.damage)))
    parts = [b"".join(sample[key].numpy().tobytes() for key in sorted(sample)) for sample in made]
    assert [hashlib.sha256(part).hexdigest() for part in parts] == recorded


def test_the_loss_and_its_gradient_are_those_of_0_1(mixture: Mixture) -> None:
    """Of 16 stored samples; the tolerance is that of float32 sums in another order."""
    torch.manual_seed(0)
    network = CompactRestorer(channels=(8, 8, 8), blocks=(1, 1, 1), condition_width=8)
    with torch.no_grad():
        for weight in network.parameters():  # away from the start, where the last layers are zero
            weight.add_(0.05 * torch.randn_like(weight))
    made = samples(mixture, 16)
    batch = {name: torch.stack([sample[name] for sample in made]) for name in made[0]}
    loss = CompactObjective(network, Batches())(batch)
    loss.value.backward()
    norm = sum(w.grad.square().sum() for w in network.parameters() if w.grad is not None).sqrt()
    assert loss.value.item() == pytest.approx(-2.681657, abs=2e-5)
    assert norm.item() == pytest.approx(9.795714, rel=1e-4)
    before = (batch["lq"] - batch["gt"]).square().mean((1, 2, 3)) + 1e-6
    errors = before / 10 ** (loss.gain / 10) - 1e-6
    expected = [
        0.06299845,
        0.11014988,
        0.08446041,
        0.06971920,
        0.05827126,
        0.07319845,
        0.03085478,
        0.04417333,
    ]
    np.testing.assert_allclose(errors[:8], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("severities", "targets"),
    [
        ({}, [0.0, 0.0, 0.0, 0.0]),
        ({"resize": 0.5, "noise": 0.25}, [0.25, 0.0, 0.0, 0.5]),  # in the order of ESTIMATES
        ({"noise": 0.25, "haze": 0.1}, [np.nan] * 4),  # it has no word for haze
        (None, [np.nan] * 4),  # a stored pair
    ],
)
def test_what_is_unknown_of_the_damage_is_not_clean(severities: dict | None, targets: list) -> None:
    assert ESTIMATES == ("noise", "compression", "blur", "resize")
    grey = np.full((32, 32, 3), 0.5, np.float32)
    example = Example(grey, grey, "general", severities, "x", 0, default_rng(0))
    np.testing.assert_array_equal(Batches()(example)["severity"], np.float32(targets))


def test_pairs_of_two_sizes_are_refused(tmp_path: Path) -> None:
    Image.fromarray(photograph(96)).save(tmp_path / "a.png")
    small = {"family": "resize", "enlarge": False, "scale": [0.5, 0.5]}
    damage = Damage(share=1.0, preset=parse_preset("x", {"task": "general", "steps": [small]}))
    example = Mixture([(open_source(tmp_path), 1.0)], {"tiny": damage}, crop=32, seed=0)[0]
    with pytest.raises(TrainingError, match="tiny: lq is smaller than gt"):
        Batches()(example)


def test_samples_are_what_their_group_says(mixture: Mixture) -> None:
    brighter = defaultdict(list)
    for sample in samples(mixture, 300):
        name = mixture.groups[sample["group"]]
        assert sample["lq"].shape == sample["gt"].shape == (3, 32, 32)
        assert torch.equal(sample["lq"] * 255, (sample["lq"] * 255).round())  # an 8-bit picture
        assert bool(sample["lift"]) == (name in ("low_light", "backlit"))
        brighter[name].append(float(sample["gt"].mean() - sample["lq"].mean()))
        if name == "low_light":
            assert TASKS[sample["task"]] == "low_light"
        if name == "clean":
            assert (sample["lq"] - sample["gt"]).abs().max() <= 0.5 / 255 + 1e-6
            assert torch.equal(sample["severity"], torch.zeros(4))
        if name == "compression":
            assert 0.08 <= sample["severity"][ESTIMATES.index("compression")] <= 0.94
    assert set(brighter) == set(mixture.damage)
    assert np.mean(brighter["low_light"]) > 0.1
    assert np.mean(brighter["dark"]) < 0.01  # the target stays as dark as the input


def test_the_hint_is_a_chance(mixture: Mixture) -> None:
    tasks = [
        {TASKS[int(Batches(hint)(mixture[number])["task"])] for number in range(60)} for hint in (0.0, 1.0)
    ]
    assert tasks == [{"general", "low_light"}, set(TASKS)]
