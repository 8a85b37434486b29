"""The text connector against the reference's own numbers, and what the pipeline relies on."""

import pytest
import torch

from ggt_hub.converters.checkpoint import Checkpoint, fill, plan, read_json
from ggt_hub.converters.realrestorer import build_denoiser
from ggt_hub.converters.realrestorer_names import denoiser_destinations
from ggt_hub.models import TextConnector
from ggt_hub.models.text_connector import masked_mean
from tests.golden import difference, place, tensors

# The reference ran on another processor: 1.3e-5 is reached at values of order 1 to 4.
FAIR = 5e-5
FOLDERS = {"v10": "bundle/transformer", "v11": "transformer_v11"}


def published(version: str) -> dict[str, torch.nn.Module]:
    folder = place(FOLDERS[version])
    checkpoint = Checkpoint(folder)
    networks = build_denoiser(checkpoint.shapes, read_json(folder / "config.json"))
    made = plan(checkpoint.shapes, denoiser_destinations(checkpoint.shapes), networks)
    fill(checkpoint, made, networks, torch.float32)
    return {name: network.eval() for name, network in networks.items()}


@pytest.fixture
def connector() -> TextConnector:
    torch.manual_seed(0)
    return TextConnector(in_channels=12, hidden_size=16, num_heads=4, depth=2, pooled_dim=6).eval()


@pytest.mark.parametrize("version", ["v10", "v11"])
@torch.no_grad()
def test_connector_and_transformer_give_the_published_values(version: str) -> None:
    networks, io = published(version), tensors(f"transformer_{version}/io.safetensors")
    transformer, connector = networks["transformer"], networks["connector"]
    found = connector(io["in.encoder_hidden_states"], io["in.timestep"], io["in.prompt_embeds_mask"])
    assert difference(found.tokens, io["mid.connector_tokens"]) < FAIR
    assert difference(found.pooled, io["mid.connector_pooled"]) < FAIR

    def predict(states: str, ids: str, guidance: torch.Tensor | None) -> torch.Tensor:
        hidden = io[states]
        return transformer(
            hidden_states=hidden,
            encoder_hidden_states=found.tokens,
            pooled_projections=found.pooled,
            timestep=io["in.timestep"],
            img_ids=io[ids][0],
            txt_ids=io["in.txt_ids"][0],
            guidance=guidance if transformer.config.guidance_embeds else None,
        ).sample

    guidance = io["in.guidance"]
    assert difference(predict("in.hidden_states", "in.img_ids", guidance), io["out.sample"]) < FAIR
    other = predict("in.hidden_states", "in.img_ids_other_axis", guidance)
    assert difference(other, io["out.sample_other_axis"]) < FAIR
    if "out.sample_guidance_none" in io:
        four = predict("in.hidden_states", "in.img_ids", torch.full_like(guidance, 4.0))
        assert difference(four, io["out.sample_guidance_none"]) < FAIR


@pytest.mark.parametrize("version", ["v10", "v11"])
@torch.no_grad()
def test_each_stage_gives_the_published_values(version: str) -> None:
    connector, io = published(version)["connector"], tensors(f"transformer_{version}/io.safetensors")
    seen: dict[str, torch.Tensor] = {}
    stages = {
        "input_embedder": connector.token_embedder,
        "c_embedder": connector.context_embedder,
        "t_embedder": connector.time_embedder,
        "timestep_sinusoid": connector.time_proj,
        **{f"block{number}": block for number, block in enumerate(connector.blocks)},
    }
    for name, module in stages.items():
        module.register_forward_hook(lambda _, __, output, name=name: seen.__setitem__(name, output))
    connector(io["in.encoder_hidden_states"], io["in.timestep"], io["in.prompt_embeds_mask"])
    assert {
        name for name, output in seen.items() if difference(output, io[f"mid.connector_{name}"]) > FAIR
    } == set()


@torch.no_grad()
def test_a_schedule_at_once_equals_its_times_one_by_one(connector: TextConnector) -> None:
    states, mask = torch.randn(2, 5, 12), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    times = torch.tensor([[1.0, 1.0], [0.4, 0.4], [0.1, 0.1]])
    together = connector(states, times, mask)
    assert together.tokens.shape == (3, 2, 5, 16) and together.pooled.shape == (2, 6)
    for step, time in enumerate(times):
        assert torch.equal(together.tokens[step], connector(states, time, mask).tokens)


@torch.no_grad()
def test_padding_changes_nothing_for_real_tokens(connector: TextConnector) -> None:
    states, time = torch.randn(1, 4, 12), torch.tensor([0.7])
    padded = torch.cat([states, 9 * torch.ones(1, 3, 12)], dim=1)
    short = connector(states, time, torch.ones(1, 4))
    long = connector(padded, time, torch.tensor([[1, 1, 1, 1, 0, 0, 0]]))
    # Sums over other numbers of keys round differently: 1e-6 at values of order 1.
    assert difference(long.tokens[:, :4], short.tokens) < 1e-6
    assert difference(long.pooled, short.pooled) < 1e-6


@torch.no_grad()
def test_a_prompt_without_any_token_stays_finite(connector: TextConnector) -> None:
    found = connector(torch.randn(1, 4, 12), torch.tensor([0.5]), torch.zeros(1, 4))
    assert found.tokens.isfinite().all() and found.pooled.isfinite().all()


def test_mean_in_half_precision_does_not_overflow() -> None:
    states = torch.full((1, 640, 2), 200.0, dtype=torch.float16)  # the sum, 128000, is beyond float16
    assert masked_mean(states, torch.ones(1, 640, dtype=torch.bool)).tolist() == [[200.0, 200.0]]


def test_saved_and_loaded_it_is_the_same(connector: TextConnector, tmp_path) -> None:
    connector.save_pretrained(tmp_path)
    loaded = TextConnector.from_pretrained(tmp_path)
    assert dict(loaded.config).items() >= {"num_heads": 4, "scale_pooled": True}.items()
    assert all(
        torch.equal(loaded.state_dict()[name], value) for name, value in connector.state_dict().items()
    )
    assert TextConnector.__module__ == "ggt_hub.models"  # what published repositories record
