"""The second stage of IQPIR and its quality loss, against the reference's own steps."""

from pathlib import Path

import pytest
import torch

from ggt_hub.errors import TrainingError
from ggt_hub.metrics import brisque
from ggt_hub.models import CodeFormer, VQAutoencoder
from ggt_hub.models.code_former import COMMON, HQ
from ggt_hub.training import load_recipe
from ggt_hub.training.objectives.codes import CodesObjective, Settings, scorer
from tests.golden import difference
from tests.golden_iqpir import autoencoder, code_former, document, tensors
from tests.photographs import photograph
from tests.training.objectives.tiny import tiny_autoencoder

TINY = {"latent": 8, "width": 8, "heads": 2, "layers": 1, "fusion_levels": [1]}


def toy_score(pictures: torch.Tensor) -> torch.Tensor:
    return (pictures**2).mean()


def objective(**settings: object) -> CodesObjective:
    return CodesObjective(code_former(), autoencoder(), toy_score, Settings(**settings)).train()


@pytest.mark.parametrize("case", ["supervised", "quality_only", "all"])
def test_a_step_is_that_of_the_reference(case: str) -> None:
    golden = tensors("cf_dual_add_train_step")
    told = document("cf_dual_add_train_step/losses.json")[case]
    trained = objective(quality_weight=0.0 if case == "supervised" else 0.1, quality_form="hinge")
    network = trained.network
    optimiser = torch.optim.Adam(trained.learners()["network"], lr=1e-4, betas=(0.9, 0.99))
    codes = torch.stack([golden["idx_gt_hq"], golden["idx_gt_common"]], dim=-1)
    assert (HQ, COMMON) == (0, 1)
    terms = trained.terms(network.predict(golden["x"], golden["scores"]), codes)
    names = {
        "l_feat_encoder": terms.feature,
        "cross_entropy_loss": terms.common,
        "cross_entropy_loss_aesthetic_codebook": terms.hq,
        "quality_loss": terms.quality,
    }
    for name, loss in names.items():
        if name in told["losses"]:
            assert loss.item() == pytest.approx(told["losses"][name], rel=1e-4), name
    (terms.quality if case == "quality_only" else torch.stack(terms).sum()).backward()

    for name, parameter in network.named_parameters():
        wanted = told["grad_norms"].get(name)
        assert (parameter.grad is None) == (wanted is None), name
        if wanted is not None:  # biases before a normalisation have no gradient but rounding, of 1e-7
            assert float(parameter.grad.norm()) == pytest.approx(wanted, rel=1e-3, abs=1e-6), name
    optimiser.step()
    parameters = dict(network.named_parameters())
    for key, value in golden.items():
        if key.startswith(f"{case}.grad."):
            gradient = parameters[key.removeprefix(f"{case}.grad.")].grad
            assert torch.allclose(gradient, value, atol=1e-6, rtol=1e-3), key
        if key.startswith(f"{case}.updated."):
            parameter = parameters[key.removeprefix(f"{case}.updated.")]
            felt = parameter.grad.abs() > 1e-6  # below, Adam's first step is the sign of rounding errors
            assert difference(parameter[felt].detach(), value[felt]) < 1e-6, key


def test_right_codes_are_those_that_the_first_stage_gives_for_the_ground_truth() -> None:
    x = tensors("vqgan_dual")["x"]
    common, hq = autoencoder().encode(x)
    assert hq is not None
    codes = objective().codes(x)
    assert torch.equal(codes[..., COMMON], common.flatten(1)) and torch.equal(codes[..., HQ], hq.flatten(1))
    assert not torch.equal(codes[..., COMMON], codes[..., HQ])


def test_the_paper_s_quality_loss_is_the_negative_score() -> None:
    golden = tensors("cf_dual_add_train_step")
    negative, hinge = (objective(quality_weight=0.1, quality_form=form) for form in ("negative", "hinge"))
    losses = []
    for trained in (negative, hinge):
        found = trained.network.predict(golden["x"], golden["scores"])
        losses.append(trained.terms(found, trained.codes(golden["x"])).quality.item())
    assert losses[0] == pytest.approx(losses[1] - 0.1, abs=1e-6) and losses[0] < 0


@torch.no_grad()
def test_a_score_is_0_and_1_at_the_given_ends_and_falls_with_a_metric_whose_lower_is_better() -> None:
    picture = torch.from_numpy(photograph(64)).permute(2, 0, 1)[None] / 255
    own = float(brisque([photograph(64)])[0])
    # The metric rounds luma to float32, the loss does not: a thousandth of a point.
    assert float(scorer({"brisque": (own, own - 10)})(picture)) == pytest.approx(0, abs=1e-3)
    assert float(scorer({"brisque": (own + 10, own)})(picture)) == pytest.approx(1, abs=1e-3)
    for experts, said in (
        ({"piqe": (1.0, 0.0)}, "piqe is no loss"),
        ({"brisque": (1.0, 1.0)}, "two different"),
    ):
        with pytest.raises(TrainingError, match=f"experts of the quality loss: .*{said}"):
            scorer(experts)


def test_networks_of_another_stage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="name its folder `model/` with --codebooks"):
        CodesObjective.build(TINY, {})
    CodeFormer(**code_former().config).save_pretrained(tmp_path / "codes")
    with pytest.raises(TrainingError, match="codes: it holds a CodeFormer, and here belongs a VQAutoencoder"):
        CodesObjective.build(TINY, {"codebooks": str(tmp_path / "codes")})
    (tmp_path / "codes/config.json").write_text('{"_class_name": "VQAutoencoder", "channels": 1}')
    with pytest.raises(TrainingError, match=r"the codebooks in .*codes cannot be loaded"):
        CodesObjective.build(TINY, {"codebooks": str(tmp_path / "codes")})
    with pytest.raises(TrainingError, match=r"two books in .*longer differ in length"):
        autoencoder(hq_codes=25).save_pretrained(tmp_path / "longer")
        CodesObjective.build(TINY, {"codebooks": str(tmp_path / "longer")})
    tiny_autoencoder().save_pretrained(tmp_path / "codebooks")
    trained = CodesObjective.build(TINY, {"codebooks": str(tmp_path / "codebooks")})
    with pytest.raises(TrainingError, match="it holds a VQAutoencoder, and here belongs a CodeFormer"):
        trained.start_from(tmp_path / "codebooks")
    torch.nn.init.zeros_(trained.network.quantize.embedding.weight)
    trained.export(tmp_path / "other")
    fresh = CodesObjective.build(TINY, {"codebooks": str(tmp_path / "codebooks")})
    with pytest.raises(TrainingError, match="other: it was trained for other --codebooks"):
        fresh.start_from(tmp_path / "other")
    with pytest.raises(TrainingError, match="cannot start from"):
        trained.start_from(tmp_path / "codebooks/diffusion_pytorch_model.safetensors")


def test_the_table_of_qualities_may_begin_at_zero(tmp_path: Path) -> None:
    tiny_autoencoder().save_pretrained(tmp_path)
    for zero in (False, True):
        trained = CodesObjective.build(TINY, {"codebooks": str(tmp_path), "zero_table": zero})
        assert bool((trained.network.score_embed.weight == 0).all()) == zero


def test_one_book_and_no_quality_is_codeformer(tmp_path: Path) -> None:
    """As the released file has it: told no quality, it does not see it."""
    torch.manual_seed(0)
    shape = {"multipliers": (1, 1), "blocks": 1, "attention_levels": (), "code_width": 4}
    VQAutoencoder(channels=32, codes=8, hq_codes=None, **shape).save_pretrained(tmp_path)
    trained = CodesObjective.build(TINY | {"bins": None}, {"codebooks": str(tmp_path)})
    batch = {"lq": torch.rand(2, 3, 16, 16), "gt": torch.rand(2, 3, 16, 16)}
    loss = trained(batch | {"quality": torch.tensor([0.1, 0.9])})
    assert loss.terms["hq"] == 0 and loss.terms["common"] > 0
    assert torch.equal(loss.value, trained(batch | {"quality": torch.tensor([0.8, 0.3])}).value)


@pytest.mark.parametrize(
    ("name", "variant", "told"),
    [
        ("iqpir-codes", "paper", {"quality_weight": 0.0, "quality_form": "negative"}),
        ("iqpir-quality", "paper", {"quality_weight": 0.1, "quality_form": "negative"}),
        ("iqpir-quality", "released", {"quality_weight": 0.2, "quality_form": "hinge"}),
        ("iqpir-general", "general", {"quality_weight": 0.1, "quality_form": "negative"}),
    ],
)
def test_recipes_have_the_published_weights_of_losses(
    name: str, variant: str, told: dict[str, object]
) -> None:
    recipe = load_recipe(name, variant)
    settings = Settings(**recipe.settings)
    assert (settings.feature_weight, settings.code_weight) == (1.0, 0.5)
    assert {field: getattr(settings, field) for field in told} == told
    assert (recipe.ema_decay, recipe.stages[0].weight_decay, recipe.largest_gradient) == (0.995, 0, None)
    (stage,) = recipe.stages
    assert (stage.learning_rate, stage.last_learning_rate, stage.warmup_steps) == (1e-4, 1e-4, 0)


@pytest.mark.parametrize(
    ("variant", "bins", "parameters"), [("paper", 10, 95_554_499), ("released", None, 94_899_139)]
)
def test_networks_of_the_recipes_have_the_published_size(
    variant: str, bins: int | None, parameters: int
) -> None:
    first, second = load_recipe("iqpir-codebooks", "paper"), load_recipe("iqpir-codes", variant)
    with torch.device("meta"):
        books = VQAutoencoder(**first.model)
        shared = {name: books.config[name] for name in first.model if name != "hq_threshold"}
        network = CodeFormer(**shared, **second.model)
    assert sum(weight.numel() for weight in books.parameters()) == 64_002_243
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    assert network.config.bins == bins
    assert load_recipe("iqpir-codebooks", "released").model["hq_codes"] is None
    for name in ("iqpir-codebooks", "iqpir-codes", "iqpir-quality", "iqpir-general"):
        assert load_recipe(name) == load_recipe(name, "general" if name == "iqpir-general" else "paper")
