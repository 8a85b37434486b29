"""The published networks that blend, as small ones with the reference's weights, and what records say of them."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from ggt_hub.degradations import Assets, Sample, degrade, load_preset, replay
from ggt_hub.degradations.base import to_float
from ggt_hub.degradations.moire import Moire, beats, fused, mixed_blend, pattern_of
from ggt_hub.degradations.reflection import Reflection
from ggt_hub.errors import DegradationError, HubError
from ggt_hub.models import MoireRefiner, SynNet
from ggt_hub.scenes import Scene
from tests.golden import tensors
from tests.photographs import photograph

PHOTO = to_float(photograph(64))


@pytest.fixture(scope="module")
def synnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = SynNet(width=4)
    network.load_state_dict(tensors("degradation/reflection_generator.safetensors"))
    folder = tmp_path_factory.mktemp("networks") / "synnet"
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def unidemoire(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = MoireRefiner(width=4)
    network.load_state_dict(tensors("degradation/moire_refine_network.safetensors"))
    folder = tmp_path_factory.mktemp("networks") / "unidemoire"
    network.save_pretrained(folder)
    return folder


def test_a_reflection_is_mixed_as_the_reference_mixes_it(synnet: Path) -> None:
    golden = tensors("degradation/reflection.safetensors")
    first, second = (
        np.ascontiguousarray(((golden[f"net.{name}"][0] + 1) / 2).permute(1, 2, 0).numpy())
        for name in ("transmission", "reflection")
    )
    opened = Assets.open(weights=synnet)
    weights = opened.mixer.weights(first, second)
    # Reached: 0. The same sums in another order would differ by 1e-6.
    assert np.abs(weights - golden["net.weight"][0].permute(1, 2, 0).numpy()).max() < 1e-5
    mix = ((golden["net.mix"][0] + 1) / 2).permute(1, 2, 0).numpy()
    for share in (0.0, 0.25, 1.0):
        parameters = {"kind": "focused", "share": share, "mixed_by": opened.mixed_by, "seed": 0}
        sample = Sample(first, first, Scene(first, opened))
        whole = Reflection().apply(sample, parameters | {"share": 1.0}).lq
        found = Reflection().apply(sample, parameters).lq
        assert np.abs(found - (first + share * (whole - first))).max() < 1e-6
    assert np.abs(first + weights * (second - first) - mix).max() < 1e-5


def test_a_reflection_of_the_preset_is_the_networks_mix_of_what_was_prepared(synnet: Path) -> None:
    opened = Assets.open(weights=[synnet])
    damaged, record = degrade(photograph(64), "realrestorer", task="reflection", seed=3, assets=opened)
    [step] = record["steps"]
    assert step["mixed_by"] == opened.mixed_by == f"synnet@{opened.mixed_by[-16:]}"
    assert step["share"] == 1.0
    family = load_preset("realrestorer", "reflection").steps[0].degradation
    black = Sample(np.zeros_like(PHOTO), PHOTO, Scene(PHOTO, opened))
    second_times_weight = family.apply(black, step).lq  # nothing behind the glass
    assert second_times_weight.max() > 0.05
    assert np.array_equal(replay(photograph(64), record, assets=Assets.open(weights=synnet)), damaged)
    physical, without = degrade(photograph(64), "realrestorer", task="reflection", seed=3)
    assert without["steps"][0] == {key: value for key, value in step.items() if key != "mixed_by"}
    assert not np.array_equal(physical, damaged)
    with pytest.raises(DegradationError, match=f"mixed by the network {opened.mixed_by}, and none is given"):
        replay(photograph(64), record)


def test_a_moire_is_refined_as_the_reference_refines_it(unidemoire: Path) -> None:
    golden = tensors("degradation/moire.safetensors")
    blended = golden["blend.result"][0].permute(1, 2, 0).numpy()
    refined = Assets.open(weights=unidemoire).refiner.refined(blended)
    # Reached: 2e-6, at gains of order 1.
    assert np.abs(refined - golden["out.refined"][0].permute(1, 2, 0).numpy()).max() < 1e-5


def test_a_moire_of_512_pixels_is_the_refined_one_and_others_keep_their_detail(unidemoire: Path) -> None:
    opened = Assets.open(weights=unidemoire)
    parameters = Moire(kinds=("pattern",)).draw(np.random.default_rng(0), 1.0) | {
        "refined_by": opened.refined_by
    }
    picture = np.tile(PHOTO, (8, 8, 1))
    done = Moire().apply(Sample(picture, picture, Scene(picture, opened)), parameters).lq

    grids = parameters["grids"]
    pattern = fused([pattern_of(beats(picture.shape, grids), 0.45 / np.sqrt(len(grids)))])
    expected = opened.refiner.refined(mixed_blend(picture, pattern, parameters["weight"]))
    assert np.abs(done - expected).max() < 1e-5
    large = np.random.default_rng(0).random((1024, 1024, 3), dtype=np.float32) * np.float32(0.2) + np.float32(
        0.4
    )
    kept = Moire().apply(Sample(large, large, Scene(large, opened)), parameters | {"strength": 0.5}).lq
    fine = (large - large.mean())[::2, ::2].ravel()
    assert np.corrcoef(fine, kept[::2, ::2].ravel())[0, 1] > 0.5  # white noise would not survive halving


def test_the_record_names_the_network_that_refines(unidemoire: Path, synnet: Path) -> None:
    both = Assets.open(weights=[synnet, unidemoire])
    assert set(both.identity) == {"mixer", "refiner"}
    damaged, record = degrade(photograph(64), "realrestorer", task="moire", assets=both)
    assert record["steps"][0]["refined_by"] == both.refined_by
    assert np.array_equal(replay(photograph(64), record, assets=both), damaged)
    with pytest.raises(
        DegradationError, match=rf"refined by the network {both.refined_by}, and none is given: open"
    ):
        replay(photograph(64), record, assets=Assets.open(weights=synnet))
    preset = load_preset("moire").steps[0].degradation
    recaptured = preset.choose(np.random.default_rng(0), {"kind": "recapture"}, both)
    assert recaptured == {"kind": "recapture"}


def test_networks_go_to_other_processes_without_their_weights(synnet: Path) -> None:
    opened = Assets.open(weights=synnet)
    before = opened.mixer.weights(PHOTO, PHOTO[:, ::-1])
    again = pickle.loads(pickle.dumps(opened))
    assert "_net" not in again.mixer.__dict__
    assert np.array_equal(again.mixer.weights(PHOTO, PHOTO[:, ::-1]), before)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(
        HubError, match=r"holds UNet2DModel, which blends nothing: give a folder with one of SynNet"
    ):
        Assets.open(weights=tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "SynNet", "width": 4}')
    opened = Assets.open(weights=tmp_path)
    with pytest.raises(HubError, match="cannot be loaded as mixer"):
        opened.mixer.weights(PHOTO, PHOTO)
