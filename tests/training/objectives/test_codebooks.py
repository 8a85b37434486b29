"""The first stage of IQPIR: its turns against the reference's own step, and what is asked for before it begins."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ggt_hub.errors import TrainingError
from ggt_hub.metrics.lpips import Lpips
from ggt_hub.models import PatchDiscriminator
from ggt_hub.training import load_recipe
from ggt_hub.training.objectives import codebooks
from ggt_hub.training.objectives.codebooks import CodebooksObjective, Settings, perceptual_distance
from tests.golden import difference
from tests.golden_iqpir import autoencoder, document, filled, tensors


def objective(**settings: float) -> CodebooksObjective:
    """Of the reference's networks, with its stand-in for LPIPS, the squared error."""
    critic = filled(PatchDiscriminator(channels=8, layers=2))
    return CodebooksObjective(autoencoder(), critic, F.mse_loss, Settings(**settings)).train()


def test_a_step_of_both_turns_is_that_of_the_reference() -> None:
    golden, told = tensors("vqgan_dual_train_step"), document("vqgan_dual_train_step/losses.json")
    given, trained = tensors("vqgan_dual"), objective(game_from=7)
    batch = {"gt": given["x"], "quality": given["scores"]}
    assert trained.turns(6) == {"network": {}}
    first, second = trained.turns(7).items()
    assert (first[0], second[0]) == ("network", "critic")

    optimiser = torch.optim.Adam(trained.learners()["network"], lr=7e-5, betas=(0.9, 0.99))
    loss = trained(batch, **first[1])
    names = {"pixels": "l_g_pix", "perceptual": "l_g_percep", "game": "l_g_gan"}
    names |= {"common": "l_codebook", "hq": "l_codebook_aesthetic"}
    assert loss.terms.keys() == names.keys()
    for own, name in names.items():
        assert loss.terms[own].item() == pytest.approx(told["losses"][name], rel=1e-4), name
    loss.value.backward()
    norms_are(trained.network, told["grad_norms_g"])
    for name, weight in (
        ("codebook_common", trained.network.quantize.embedding.weight),
        ("codebook_hq", trained.network.quantize_aesthetic.embedding.weight),
        ("generator_last", trained.network.last_layer),
    ):
        assert torch.allclose(weight.grad, golden[f"grad_{name}"], atol=1e-6, rtol=1e-3), name
    optimiser.step()
    moved = trained.network.quantize_aesthetic.embedding.weight
    felt = moved.grad.abs() > 1e-6  # below that, Adam's first step is the sign of rounding errors
    assert difference(moved[felt].detach(), golden["updated_codebook_hq"][felt]) < 1e-6

    trained.zero_grad()
    verdict = trained(batch, **second[1])
    assert verdict.gain is None
    for own, name in {"real": "l_d_real", "fake": "l_d_fake"}.items():
        assert verdict.terms[own].item() == pytest.approx(told["losses"][name], rel=1e-4), name
    verdict.value.backward()
    norms_are(trained.critic, told["grad_norms_d"])


def norms_are(network: nn.Module, wanted: dict[str, float]) -> None:
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        # Biases before a normalisation have no gradient but rounding, of 1e-7.
        assert float(parameter.grad.norm()) == pytest.approx(wanted[name], rel=1e-3, abs=1e-6), name


def test_the_game_weighs_what_makes_its_gradient_that_of_the_reconstruction() -> None:
    """Lambda by its formula, where it is not cut off at 1, as it is in the reference's step."""
    trained, given = objective(game_weight=1.0), tensors("vqgan_dual")
    last = trained.critic.main[-1]
    with torch.no_grad():
        for weight in last.parameters():
            weight.mul_(1000)
    found = trained.network(given["x"], given["scores"])
    terms, weight = trained.terms(given["x"], found, plays=True), trained.network.last_layer
    norms = [
        torch.autograd.grad(loss, weight, retain_graph=True)[0].norm()
        for loss in (terms.game, terms.pixels + terms.perceptual)
    ]
    # But for the 1e-4 below the ratio, both are equal.
    assert float(norms[0]) == pytest.approx(float(norms[1]), rel=1e-3)


@torch.no_grad()
def test_the_gain_is_the_psnr_of_the_reconstruction() -> None:
    trained, given = objective(), tensors("vqgan_dual")
    gain = trained({"gt": given["x"], "quality": given["scores"]}).gain
    shown = (trained.network(given["x"], given["scores"]).image.clamp(-1, 1) + 1) / 2
    error = float(((given["x"][0] + 1) / 2 - shown[0]).square().mean())
    assert float(gain[0]) == pytest.approx(-10 * math.log10(error), abs=1e-3)


def test_lpips_is_called_as_published_and_has_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """ImageNet's mean and deviation come off first: LPIPS gets ((x + 1) / 2 - mean) / deviation."""
    torch.manual_seed(0)
    network = Lpips("vgg")
    monkeypatch.setattr(codebooks, "load_lpips", lambda net, folder: network if net == "vgg" else None)
    distance = perceptual_distance("lpips")
    assert distance is not None
    made, gt = (2 * torch.rand(2, 3, 32, 32) - 1 for _ in range(2))
    made.requires_grad_()
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    levels = [127.5 * (1 + ((picture.detach() + 1) / 2 - mean) / deviation) for picture in (made, gt)]
    value = distance(made, gt)
    assert value.item() == pytest.approx(network(*levels).mean().item(), rel=1e-5)
    value.backward()
    assert made.grad.abs().sum() > 0
    with torch.no_grad():
        nudged = made - 1e-3 * made.grad / made.grad.norm()
        assert distance(nudged, gt) < value


def test_without_weights_of_lpips_nothing_begins(tmp_path: Path) -> None:
    recipe = load_recipe("iqpir-codebooks", "tiny")
    with pytest.raises(TrainingError, match=r"vgg16.*cannot be had from the folder .*`--perceptual none`"):
        CodebooksObjective.build(recipe.model, recipe.settings | {"perceptual": str(tmp_path)})
    assert perceptual_distance("none") is None
