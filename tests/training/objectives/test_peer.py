"""Other people's architectures in training: what is written is a checkpoint that spandrel knows."""

import numpy as np
import pytest
import torch

from ggt_hub import RestorerPipeline
from ggt_hub.errors import TrainingError
from ggt_hub.training import load_recipe
from ggt_hub.training.objectives.peer import PeerObjective
from tests.photographs import photograph


@pytest.mark.parametrize("variant", ["nafnet", "swinir"])
def test_spandrel_loads_what_is_exported_and_gives_the_same(variant, tmp_path):
    recipe = load_recipe("peer", variant=variant)
    torch.manual_seed(0)
    objective = PeerObjective.build(recipe.model, {})
    with torch.no_grad():
        for weight in objective.network.parameters():
            weight.add_(0.02 * torch.randn_like(weight))  # NAFNet's blocks begin as nothing
    objective.network.eval()
    objective.export(tmp_path / "model")
    picture = photograph(64)
    lq = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = objective.network(lq).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    assert np.abs(expected - picture / 255).max() > 0.01
    loaded = RestorerPipeline.from_pretrained(tmp_path / "model/diffusion_pytorch_model.safetensors")
    with objective.restoring() as restoring:
        for pipe in (loaded, restoring):
            found = pipe(picture, output_type="np").images[0]
            np.testing.assert_allclose(found, expected, atol=1e-5)  # SwinIR adds up in another order


def test_the_loss_is_the_mean_absolute_error():
    objective = PeerObjective.build(load_recipe("peer").model, {})
    with torch.no_grad():
        for weight in objective.network.parameters():
            weight.zero_()  # so that it adds nothing
    batch = {"lq": torch.full((2, 3, 16, 16), 0.5), "gt": torch.full((2, 3, 16, 16), 0.25)}
    loss = objective(batch)
    assert float(loss.value) == pytest.approx(0.25)
    torch.testing.assert_close(loss.gain, torch.zeros(2))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"architecture": "Nothing"}, "no architecture 'Nothing'"),
        ({"architecture": "NAFNet", "arguments": {"depth": 3}}, "NAFNet does not take these arguments"),
    ],
)
def test_what_cannot_be_built_is_refused(model, reason):
    with pytest.raises(TrainingError, match=reason):
        PeerObjective.build(model, {})
