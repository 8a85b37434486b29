"""Depth and masks by networks of transformers: tiny ones with random weights, in folders."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ggt_hub.degradations import Assets, degrade, replay
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.errors import DegradationError, HubError
from ggt_hub.scenes.networks import Depth, Masks
from ggt_hub.scenes.procedural import from_inverse
from tests.photographs import photograph

PHOTO = photograph(64)
SEEN = PHOTO.astype(np.float32) / 255


def save_depth(folder: Path, seed: int = 0, **settings: object) -> Path:
    """A Depth Anything of four thousand parameters."""
    from transformers import (
        DepthAnythingConfig,
        DepthAnythingForDepthEstimation,
        Dinov2Config,
        DPTImageProcessor,
    )

    torch.manual_seed(seed)
    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=28,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[4, 4, 4, 4],
        fusion_hidden_size=4,
        head_hidden_size=4,
        **settings,
    )
    network = DepthAnythingForDepthEstimation(config).eval()
    with torch.no_grad():
        for weights in network.parameters():  # as they start, tiny ones say 0 everywhere
            weights.normal_(0.1, 0.3)
    network.save_pretrained(folder)
    DPTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def depth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_depth(tmp_path_factory.mktemp("networks") / "depth")


def test_depth_is_the_networks_inverse_depth_stretched_and_turned_round(depth: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    network, processor = (
        kind.from_pretrained(depth) for kind in (AutoModelForDepthEstimation, AutoImageProcessor)
    )
    with torch.inference_mode():
        said = network(**processor(images=[PHOTO.copy()], return_tensors="pt")).predicted_depth[0].numpy()
    found = Depth.find(depth)(SEEN)
    assert np.abs(found - from_inverse(said, 64, 64)).max() < 1e-6
    assert (found.min(), found.max()) == (0, 1)


def test_a_network_that_says_metres_is_not_turned_round(depth: Path, tmp_path: Path) -> None:
    metric = save_depth(tmp_path / "metric", depth_estimation_type="metric", max_depth=20)
    relative = save_depth(tmp_path / "relative")
    # The heads end differently (metres by a sigmoid), so the order alone is the same, the other way round.
    one, other = Depth.find(metric)(SEEN).ravel(), Depth.find(relative)(SEEN).ravel()
    assert np.corrcoef(one, other)[0, 1] < -0.5


def test_the_network_is_asked_once_for_each_picture(depth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ask = [], Depth._ask
    monkeypatch.setattr(Depth, "_ask", lambda self, picture: asked.append(picture) or ask(self, picture))
    network = Depth.find(depth)
    first, again, other = network(SEEN), network(SEEN.copy()), network(SEEN[:, ::-1])
    assert len(asked) == 2
    assert first is again
    assert not np.array_equal(first, other)


def test_the_record_names_the_network_and_replays_with_it_alone(depth: Path, tmp_path: Path) -> None:
    preset = parse_preset("x", {"task": "haze", "steps": [{"family": "haze", "kinds": ["depth"]}]})
    opened = Assets.open(depth=depth)
    damaged, record = degrade(PHOTO, preset, severity=1.0, assets=opened)
    assert record["steps"][0]["depth_by"] == opened.depth_by == f"depth@{opened.depth_by[-16:]}"
    assert np.array_equal(replay(PHOTO, record, assets=Assets.open(depth=depth)), damaged)
    plain, plain_record = degrade(PHOTO, preset, severity=1.0)
    assert not np.array_equal(plain, damaged)
    assert np.array_equal(replay(PHOTO, plain_record, assets=opened), plain)  # a record of none needs none
    with pytest.raises(
        DegradationError, match=f"depth is by the network {opened.depth_by}, and none is given"
    ):
        replay(PHOTO, record)
    other = save_depth(tmp_path / "depth", seed=1)
    with pytest.raises(DegradationError, match=r"and depth@[0-9a-f]{16} is given: open the assets with it"):
        replay(PHOTO, record, assets=Assets.open(depth=other))


def test_masks_are_painted_over_the_larger_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    small, large, hidden = (np.zeros((8, 8), bool) for _ in range(3))
    small[2:4, 2:4] = large[1:7, 1:7] = hidden[2:4, 2] = True
    network = Masks.find(tmp_path)
    monkeypatch.setitem(network.__dict__, "_generate", lambda picture: {"masks": [small, large, hidden]})
    regions = network(np.zeros((8, 8, 3), np.float32))
    assert regions[0, 0] == 0
    assert regions[6, 6] == 1
    assert (regions[2, 3], regions[2, 2]) == (2, 3)
    assert np.array_equal(np.bincount(regions.ravel()), [28, 32, 2, 2])


def test_segment_noise_follows_the_masks_of_the_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    half = np.zeros((64, 64), bool)
    half[:, 32:] = True
    opened = Assets.open(masks=tmp_path)
    monkeypatch.setitem(opened.masks.__dict__, "_generate", lambda picture: {"masks": [half]})
    preset = parse_preset("x", {"task": "noise", "steps": [{"family": "noise", "kinds": ["segments"]}]})
    grey = np.full((64, 64, 3), 128, np.uint8)
    damaged, record = degrade(grey, preset, severity=0.5, seed=3, assets=opened)
    assert record["steps"][0]["masks_by"] == opened.masks_by
    left, right = (damaged[:, part].astype(float).std() for part in (np.s_[:32], np.s_[32:]))
    assert abs(left - right) > 3
    for half_of_it, deviation in (
        (damaged[:, :16], left),
        (damaged[:, 16:32], left),
        (damaged[:, 48:], right),
    ):
        assert half_of_it.astype(float).std() == pytest.approx(deviation, rel=0.08)
    with pytest.raises(DegradationError, match="masks are by the network"):
        replay(grey, record)


def test_networks_go_to_other_processes_without_their_weights(depth: Path) -> None:
    network = Depth.find(depth)
    found = network(SEEN)
    data = pickle.dumps(network)
    assert len(data) < 1000
    assert np.array_equal(pickle.loads(data)(SEEN), found)


def test_what_is_no_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        HubError, match=r"has no config\.json: give the folder of a transformers model, or a Hub id"
    ):
        Depth.find(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(HubError, match="cannot be loaded as depth"):
        Depth.find(tmp_path)(SEEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="not completely, in the local cache"):
        Depth.find("nobody/nothing-depth")
