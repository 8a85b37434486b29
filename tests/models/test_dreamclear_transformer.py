"""DreamClear's transformer against the reference's own numbers, and what the pipeline relies on."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ggt_hub.models import DreamClearTransformer2DModel
from tests.golden_dreamclear import SHIPPED, case, difference, filled, numbers, tensors, transformer

# Reached: 3.2e-6, at values of order 1. Exact GELU in the place of its approximation makes 1e-4.
FAIR = 1e-5
SMALL = {"sample_size": 8, "caption_channels": 6, "caption_length": 5}


def small(**settings: int) -> DreamClearTransformer2DModel:
    """A network that tells its tensors apart."""
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "control_layers": 2}
    network = DreamClearTransformer2DModel(**{**sizes, **SMALL, **settings})
    for tensor in network.state_dict().values():
        tensor.copy_(torch.randn_like(tensor) * 0.2)
    return network.eval()


def inputs(rows: int, side: int = 8, images: int | None = None) -> dict[str, Tensor]:
    drawn = torch.Generator().manual_seed(1)
    latent, lq, reference = (
        torch.randn(count, 4, side, side, generator=drawn) for count in (rows, images or rows, images or rows)
    )
    caption = torch.randn(rows, 5, 6, generator=drawn)
    return {
        "hidden_states": latent,
        "timestep": torch.full((rows,), 500),
        "encoder_hidden_states": caption,
        "condition_lq": lq,
        "condition_reference": reference,
    }


@pytest.mark.parametrize("name", ["cfg_pair", "single_nomask", "nonsquare", "batch3"])
@torch.no_grad()
def test_the_output_is_that_of_the_reference(name: str) -> None:
    wanted = tensors("transformer/outputs.safetensors")[f"{name}.output"]
    assert difference(transformer()(**case(name)).sample, wanted) < FAIR


@torch.no_grad()
def test_a_small_one_gives_what_it_gave_when_it_agreed_with_the_reference() -> None:
    """So that there is a number where the reference's own weights are too large to ship."""
    network = filled(DreamClearTransformer2DModel(2, 12, num_layers=3, control_layers=2, **SMALL))
    images = {
        name: numbers(seed, 1, 4, 6, 8) for seed, name in enumerate(("condition_lq", "condition_reference"))
    }
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    given = {**images, "encoder_hidden_states": numbers(2, 2, 5, 6), "encoder_attention_mask": mask}
    found = network(numbers(3, 2, 4, 6, 8), torch.tensor([700, 700]), **given).sample
    wanted = load_file(SHIPPED / "recorded.safetensors")["transformer"]
    assert difference(found, wanted) < 1e-5 * float(wanted.abs().max())


@torch.no_grad()
def test_rows_of_other_groups_do_not_see_each_other() -> None:
    """The published network run on one of three pictures, and ours on all three with groups of one."""
    alone = tensors("transformer/outputs.safetensors")["batch3.sample0_alone"]
    assert difference(transformer()(**case("batch3"), group=1).sample[:1], alone) < FAIR


@torch.no_grad()
def test_pairs_of_two_pictures_run_together_as_one_by_one() -> None:
    network, both = small(), inputs(4, images=2)
    together = network(**both, group=2).sample
    for image in (0, 1):
        rows = slice(2 * image, 2 * image + 2)
        own = {name: tensor[rows] for name, tensor in both.items()}
        own |= {name: both[name][image : image + 1] for name in ("condition_lq", "condition_reference")}
        assert difference(network(**own).sample, together[rows]) < 5e-5  # values are of order 10
    assert difference(network(**both).sample, together) > 1e-3


@torch.no_grad()
def test_two_equal_rows_see_each_other_as_one_row_sees_itself() -> None:
    """Attention to keys that are all there twice is attention to them once: what no caption costs is half."""
    network, one = small(), inputs(1)
    twice = {name: tensor.repeat(2, *[1] * (tensor.ndim - 1)) for name, tensor in one.items()}
    assert difference(network(**twice).sample[:1], network(**one).sample) < 5e-5  # values are of order 10


@torch.no_grad()
def test_each_layer_is_that_of_the_reference() -> None:
    trace, network, found = tensors("transformer/trace_cfg_pair.safetensors"), transformer(), {}

    def keep(*names: str):
        def hook(_module: object, given: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            outputs = output if isinstance(output, tuple) else (output,)
            found.update(zip(names, (*outputs, *given), strict=False))

        return hook

    parts = {
        "transformer_blocks": ("base", "base_in"),
        "controlnet_lq": ("branch_lq",),
        "controlnet_pre": ("branch_ref",),
        "cross_de": ("cross_out", "degradation_map"),
        "am_pre": ("am_ref_gamma", "am_ref_beta"),
        "am_lq": ("am_lq_gamma", "am_lq_beta"),
    }
    handles = [
        module.register_forward_hook(keep(*(f"cfg_pair.block{number}.{name}" for name in names)))
        for part, names in parts.items()
        for number, module in enumerate(network.get_submodule(part))
    ]
    handles += [
        modulator.gate.register_forward_hook(keep(f"cfg_pair.block{number}.gate_logits"))
        for number, modulator in enumerate(network.am_lq)
    ]
    try:
        network(**case("cfg_pair"))
    finally:
        for handle in handles:
            handle.remove()
    assert len(trace) >= 33
    for name, wanted in trace.items():
        assert difference(found[name], wanted) < max(FAIR, 2e-6 * float(wanted.abs().max())), name


@torch.no_grad()
def test_times_sizes_captions_and_positions_are_embedded_as_in_the_reference() -> None:
    given, wanted = tensors("transformer/inputs.safetensors"), tensors("transformer/outputs.safetensors")
    network = transformer()
    times = given["embed.timestep"]
    modulation, embedded = network._embed_times(times, None)
    assert difference(modulation, wanted["embed.t_block"]) < FAIR
    assert difference(embedded, wanted["embed.timestep_emb"] + wanted["embed.size_emb"]) < FAIR
    other = {"resolution": given["embed.img_hw_alt"], "aspect_ratio": given["embed.aspect_alt"]}
    _, elsewhere = network._embed_times(times[:1], other)
    found = elsewhere - wanted["embed.timestep_emb"][:1]
    assert difference(found, wanted["embed.size_emb_alt"]) < FAIR
    for rows, columns in ((8, 8), (6, 10)):
        latent = torch.zeros(1, 4, 2 * rows, 2 * columns)
        conditions = network.embed_conditions(latent, latent, given["embed.caption"])
        assert difference(conditions.positions[0], wanted[f"embed.pos_{rows}x{columns}"]) < FAIR
        assert difference(conditions.caption[:, None], wanted["embed.caption_proj"]) < FAIR


@torch.no_grad()
def test_stock_pixart_weights_load_without_renaming_and_give_its_output() -> None:
    from diffusers import PixArtTransformer2DModel

    torch.manual_seed(1)
    stock = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        cross_attention_dim=24,
        sample_size=8,
        caption_channels=6,
        interpolation_scale=2,
        use_additional_conditions=True,
    ).eval()
    network = small(control_layers=0)
    report = network.load_state_dict(stock.state_dict(), strict=False)
    assert report.unexpected_keys == []
    assert {name for name in report.missing_keys if not name.startswith(("x_embedder", "c_embedder"))} == {
        "y_embedding"
    }
    given = inputs(2)
    size = {"resolution": torch.full((2, 2), 1024.0), "aspect_ratio": torch.ones(2, 1)}
    shared = {name: given[name] for name in ("hidden_states", "encoder_hidden_states", "timestep")}
    assert difference(network(**given).sample, stock(**shared, added_cond_kwargs=size).sample) < FAIR


@torch.no_grad()
def test_a_new_one_that_begins_from_the_backbone_is_the_backbone() -> None:
    """The copies are there, and what they do is nothing yet."""
    torch.manual_seed(0)
    network = DreamClearTransformer2DModel(
        2, 12, num_layers=3, control_layers=2, caption_channels=6, sample_size=8
    )
    network.begin_from_backbone()
    for stack in (network.controlnet_lq, network.controlnet_pre):
        for block, copied in zip(network.transformer_blocks, stack, strict=False):
            assert all(
                torch.equal(a, b) for a, b in zip(block.parameters(), copied.parameters(), strict=True)
            )
    bare = DreamClearTransformer2DModel(
        2, 12, num_layers=3, control_layers=0, caption_channels=6, sample_size=8
    )
    bare.load_state_dict(network.state_dict(), strict=False)
    assert torch.equal(network(**inputs(2)).sample, bare(**inputs(2)).sample)


@torch.no_grad()
def test_conditions_that_were_embedded_before_give_the_same() -> None:
    network, given = small(), inputs(2, images=1)
    mask = torch.tensor([[1, 1, 0, 1, 0]])
    names = ("condition_lq", "condition_reference", "encoder_hidden_states")
    conditions = network.embed_conditions(*(given.pop(name) for name in names), mask)
    again = dict(zip(names, (inputs(2, images=1)[name] for name in names), strict=True))
    found = network(**given, conditions=conditions).sample
    assert torch.equal(found, network(**given, **again, encoder_attention_mask=mask).sample)
    assert difference(found, network(**given, **again).sample) > 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_in_16_bits_the_stream_stays_in_float32(dtype: torch.dtype) -> None:
    """Reached: 0.0002 and 0.0006 relative; it was 0.0034 in bfloat16 before what is delicate was kept."""
    wanted = tensors("transformer/outputs.safetensors")["cfg_pair.output"]
    network, seen = copy.deepcopy(transformer()).to(dtype), []
    network.transformer_blocks[1].register_forward_hook(
        lambda _m, given, out: seen.extend((given[0].dtype, out.dtype))
    )
    found = network(**case("cfg_pair")).sample
    assert seen == [torch.float32, torch.float32] and found.dtype == torch.float32
    assert float((found - wanted).norm() / wanted.norm()) < 0.001
    assert network.adaln_single.linear.weight.dtype == network.y_embedding.dtype == torch.float32
    assert network.dtype == network.controlnet_lq[0].attn1.to_q.weight.dtype == dtype


@torch.no_grad()
def test_what_overflows_in_float16_is_computed_in_bfloat16() -> None:
    """Numbers between two layers reach 65504, which float16 takes for infinite."""
    network, given = small(), inputs(1)
    before, after = network.transformer_blocks[1].ff.net[0].proj, network.transformer_blocks[1].ff.net[2]
    before.weight.mul_(300), before.bias.fill_(65_000), after.weight.mul_(1e-3)
    wanted = network(**given).sample
    for dtype in (torch.float16, torch.bfloat16):
        found = copy.deepcopy(network).to(dtype)(**given).sample
        assert float((found - wanted).norm() / wanted.norm()) < 0.03  # bfloat16 has 8 bits
    with torch.autocast("cpu", torch.float16):
        assert not network(**given).sample.isfinite().all()


def test_checkpointing_gives_the_same_gradients() -> None:
    def gradients(network: DreamClearTransformer2DModel) -> list[Tensor]:
        network(**inputs(2)).sample.square().mean().backward()
        return [parameter.grad for parameter in network.parameters()]

    plain, checkpointed = small(), small()
    checkpointed.enable_gradient_checkpointing()
    for one, other in zip(gradients(plain), gradients(checkpointed), strict=True):
        assert torch.equal(one, other)
