"""A quality prior on every host: nothing changes while none is set or it is new, nothing is left when it goes."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
)
from diffusers.training_utils import EMAModel
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from ggt_hub import RestorerPipeline
from ggt_hub.errors import RestorerError
from ggt_hub.models import QualityPrior
from ggt_hub.models.quality_prior import HOSTS
from ggt_hub.pipelines import attach_quality_prior
from ggt_hub.pipelines.quality import find_slot
from tests.photographs import photograph
from tests.pipelines.tiny import tiny_pipeline, tiny_told
from tests.pipelines.tiny_realrestorer import tiny_pipeline as tiny_realrestorer

IMAGE = photograph(40)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def restored(pipe: Any, image: Any = IMAGE, **options: Any) -> Tensor:
    """One picture, or several side by side; of RealRestorer in two steps."""
    quick = {"num_inference_steps": 2, "size_level": 48} if hasattr(pipe, "transformer") else {}
    pipe.set_progress_bar_config(disable=True)
    call = {"generator": seeded(), "output_type": "pt", **quick, **options}
    return torch.cat(pipe(image, **call).images)


def network_of(pipe: Any) -> Any:
    return pipe.transformer if hasattr(pipe, "transformer") else pipe.restorer


def module_of(network: nn.Module) -> nn.Module:
    return network.get_submodule(HOSTS[type(network).__name__])


def trained(prior: QualityPrior) -> QualityPrior:
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in prior.parameters():
            weight.copy_(torch.randn_like(weight))
    return prior


def saved(prior: QualityPrior, folder: Path) -> Path:
    prior.save_pretrained(folder)
    return folder


RESTORERS: dict[str, Callable[[], RestorerPipeline]] = {
    "compact": tiny_pipeline,
    "compact with told parts": tiny_told,
    "realrestorer": tiny_realrestorer,
}
RANKS = {"compact": 2, "compact with told parts": 2, "realrestorer": 0}


@pytest.fixture(params=list(RESTORERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def pipe(name: str) -> Any:
    return RESTORERS[name]()


@pytest.fixture
def prior(pipe: Any, name: str) -> QualityPrior:
    return trained(QualityPrior.of(network_of(pipe), rank=RANKS[name]))


# Off, new, set, gone


def test_a_new_prior_changes_no_bit_at_any_quality(pipe: Any, name: str, tmp_path: Path) -> None:
    plain = restored(pipe)
    pipe.load_quality_prior(saved(QualityPrior.of(network_of(pipe), rank=RANKS[name]), tmp_path))
    for quality in (None, 0, 0.5, 1):
        assert torch.equal(restored(pipe, quality=quality), plain)


def test_a_trained_one_changes_nothing_until_a_quality_is_set_and_after_it_is_gone(
    pipe: Any, prior: QualityPrior, tmp_path: Path
) -> None:
    plain = restored(pipe)
    pipe.load_quality_prior(saved(prior, tmp_path))
    assert torch.equal(restored(pipe), plain)
    low, high = restored(pipe, quality=0.05), restored(pipe, quality=0.95)
    assert not torch.equal(low, plain) and not torch.equal(high, plain) and not torch.equal(low, high)
    pipe.set_quality(0.05)
    assert torch.equal(restored(pipe), low)
    assert torch.equal(restored(pipe, quality=0.95), high)
    assert torch.equal(restored(pipe, quality=np.float32(0.99)), high)  # of the same bin
    pipe.set_quality(None)
    assert torch.equal(restored(pipe), plain)
    pipe.set_quality(0.05)
    pipe.unload_quality_prior()
    assert torch.equal(restored(pipe), plain)
    assert pipe.quality_prior is None and "quality" not in pipe.description.options
    with pytest.raises(RestorerError, match=r"has no quality prior.*load_quality_prior"):
        restored(pipe, quality=0.5)
    pipe.load_quality_prior(tmp_path)
    assert torch.equal(restored(pipe), plain)  # what was set is forgotten, too


def test_keys_files_and_weights_of_the_host_stay(pipe: Any, prior: QualityPrior, tmp_path: Path) -> None:
    network = network_of(pipe)
    before = {key: weight.clone() for key, weight in network.state_dict().items()}
    network.save_pretrained(tmp_path / "before")
    pipe.load_quality_prior(saved(prior, tmp_path / "prior"))
    restored(pipe, quality=0.5)
    after = network.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[key], before[key]) for key in before)
    network.save_pretrained(tmp_path / "after")
    files = {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "after").iterdir()}


def test_it_is_saved_and_loaded_with_the_pipeline(pipe: Any, prior: QualityPrior, tmp_path: Path) -> None:
    pipe.load_quality_prior(saved(prior, tmp_path / "prior"))
    pipe.save_pretrained(tmp_path / "all")
    loaded = RestorerPipeline.from_pretrained(tmp_path / "all")
    assert torch.equal(restored(loaded, quality=0.3), restored(pipe, quality=0.3))
    assert "quality" in type(pipe).describe(tmp_path / "all").options
    other = type(pipe)(**{**pipe.components, "quality_prior": None})
    other.load_quality_prior(tmp_path / "all")  # of a whole restorer, its prior
    assert torch.equal(restored(other, quality=0.3), restored(pipe, quality=0.3))


def test_an_error_in_a_call_leaves_no_quality_behind(
    pipe: Any, prior: QualityPrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = restored(pipe)
    pipe.load_quality_prior(saved(prior, tmp_path))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("planned")

    with monkeypatch.context() as patch:
        patch.setattr(type(module_of(network_of(pipe))), "forward", fail)
        with pytest.raises(RuntimeError, match="planned"):
            restored(pipe, quality=0.5)
    assert torch.equal(restored(pipe), plain)


def test_several_pictures_may_want_several_qualities(pipe: Any, prior: QualityPrior, tmp_path: Path) -> None:
    pipe.load_quality_prior(saved(prior, tmp_path))
    pictures, qualities = [IMAGE, IMAGE[::-1].copy(), IMAGE[:, ::-1].copy()], [0.05, 0.95, 0.55]
    together = pipe_list(pipe, pictures, quality=qualities)
    for number, (picture, quality) in enumerate(zip(pictures, qualities, strict=True)):
        (alone,) = pipe_list(pipe, [picture], quality=quality)
        other = pipe_list(pipe, [picture], quality=0.25)[0]
        # Pictures that run together differ in rounding; another quality by much more.
        assert (together[number] - alone).abs().max() < 1e-4 < (together[number] - other).abs().max(), number
    pipe.set_quality(qualities)
    with pytest.raises(RestorerError, match="3 qualities for 1 pictures"):
        restored(pipe)


def pipe_list(pipe: Any, pictures: list[np.ndarray], **options: Any) -> list[Tensor]:
    quick = {"num_inference_steps": 2, "size_level": 48} if hasattr(pipe, "transformer") else {}
    generators = [seeded() for _ in pictures]
    return pipe(pictures, generator=generators, output_type="pt", **quick, **options).images


@pytest.mark.parametrize(
    ("quality", "message"),
    [
        (95, r"quality is 95: .* takes a number in 0..1, or None; .*not how much a JPEG or WebP file is"),
        (1.01, "it says how good the result should be"),
        (-0.1, "quality is -0.1: .* takes a number in 0..1, or None$"),
        (float("nan"), "quality is nan"),
        (True, "quality is True"),
        ("best", "quality is 'best'"),
        ([0.5, float("nan")], "quality is nan"),
        ([0.5, 2], "quality is 2:"),
    ],
)
def test_what_is_no_quality_is_refused(quality: Any, message: str, tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe.load_quality_prior(saved(QualityPrior.of(pipe.restorer), tmp_path))
    for refused in (lambda: pipe.set_quality(quality), lambda: pipe(IMAGE, quality=quality)):
        with pytest.raises(RestorerError, match=message):
            refused()


# Whose prior it is


def test_a_prior_of_another_host_is_refused(tmp_path: Path) -> None:
    pipe, other, large = tiny_pipeline(), tiny_pipeline(seed=1), tiny_realrestorer()
    with pytest.raises(RestorerError, match="for a CompactRestorer, not for a FluxTransformer2DModel"):
        large.load_quality_prior(saved(QualityPrior.of(pipe.restorer), tmp_path / "own"))
    with pytest.raises(RestorerError, match="trained for other weights of a CompactRestorer"):
        other.load_quality_prior(tmp_path / "own")
    with pytest.raises(RestorerError, match="trained for other weights"):
        type(other)(other.restorer, quality_prior=QualityPrior.of(pipe.restorer))
    with pytest.raises(RestorerError, match=r"adds 16 numbers, conditioner of this CompactRestorer gives 8"):
        pipe.load_quality_prior(saved(QualityPrior("CompactRestorer", 16), tmp_path / "wide"))
    pipe.load_quality_prior(saved(QualityPrior("CompactRestorer", 8), tmp_path / "any"))  # without a base
    assert pipe.quality_prior is not None and other.quality_prior is None


def test_what_is_no_prior_is_refused(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    with pytest.raises(RestorerError, match="no quality prior at"):
        pipe.load_quality_prior(tmp_path / "nothing")
    pipe.restorer.save_pretrained(tmp_path / "network")
    with pytest.raises(RestorerError, match="holds a CompactRestorer, not a QualityPrior"):
        pipe.load_quality_prior(tmp_path / "network")
    folder = saved(QualityPrior.of(pipe.restorer), tmp_path / "broken")
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"no")
    with pytest.raises(RestorerError, match="cannot be loaded"):
        pipe.load_quality_prior(folder)
    with pytest.raises(RestorerError, match="BaselinePipeline takes no quality prior"):
        RestorerPipeline.from_pretrained("identity").load_quality_prior(folder)
    with pytest.raises(RestorerError, match="cannot be asked for a quality: leave out quality"):
        RestorerPipeline.from_pretrained("identity")(IMAGE, quality=0.5)


# The compact restorer


@pytest.mark.parametrize("task", [None, "noise", "low_light", "rain"])
def test_quality_and_changes_of_the_weights_count_in_blind_and_in_told_calls(
    task: str | None, tmp_path: Path
) -> None:
    pipe = tiny_told()
    for rank in (0, 2):
        prior = trained(QualityPrior.of(pipe.restorer, rank=rank))
        if rank:  # the changes alone
            nn.init.zeros_(prior.table.weight)
        plain = restored(pipe, task=task)
        pipe.load_quality_prior(saved(prior, tmp_path / str(rank)))
        assert torch.equal(restored(pipe, task=task), plain)
        assert (restored(pipe, task=task, quality=0.5) - plain).abs().max() > 1e-3


def test_a_compiled_restorer_takes_the_changes_of_its_weights(tmp_path: Path) -> None:
    """In blind calls and by a told part; the eager backend, for what matters is how its weights are called."""
    pipe = tiny_told()
    pipe.load_quality_prior(saved(trained(QualityPrior.of(pipe.restorer, rank=2)), tmp_path))
    calls: list[dict[str, Any]] = [{}, {"quality": 0.9}, {"task": "rain"}, {"task": "rain", "quality": 0.9}]
    eager = [restored(pipe, **call) for call in calls]
    pipe.restorer = torch.compile(pipe.restorer, backend="eager")
    assert all(torch.equal(restored(pipe, **call), one) for call, one in zip(calls, eager, strict=True))


@pytest.mark.parametrize("way", ["model", "sequential", "block_level", "leaf_level"])
def test_the_compact_restorer_may_be_told_to_offload(way: str, tmp_path: Path) -> None:
    pipe, cpu = tiny_told(), torch.device("cpu")
    pipe.load_quality_prior(saved(trained(QualityPrior.of(pipe.restorer, rank=2)), tmp_path))
    calls: list[dict[str, Any]] = [{}, {"quality": 0.9}, {"task": "rain", "quality": 0.9}]
    expected = [restored(pipe, **call) for call in calls]
    if way == "model":
        pipe.enable_model_cpu_offload(device="cpu")
    elif way == "sequential":
        pipe.enable_sequential_cpu_offload(device="cpu")
    else:
        pipe.enable_group_offload(cpu, cpu, offload_type=way, num_blocks_per_group=1)
    assert all(torch.equal(restored(pipe, **call), one) for call, one in zip(calls, expected, strict=True))


def test_loras_and_the_changes_of_weights_add_up(tmp_path: Path) -> None:
    pipe = tiny_told()
    pipe.load_quality_prior(saved(trained(QualityPrior.of(pipe.restorer, rank=2)), tmp_path))
    plain, told = restored(pipe, quality=0.9), restored(pipe, task="rain", quality=0.9)
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["head"]), pipe.restorer)  # zero at first
    assert torch.equal(restored(pipe, quality=0.9), plain)
    assert torch.equal(restored(pipe, task="rain", quality=0.9), told)
    with torch.no_grad():
        pipe.restorer.head.lora_B["default"].weight.fill_(0.1)
    assert not torch.equal(restored(pipe, quality=0.9), plain)


def test_what_was_found_in_a_picture_does_not_depend_on_the_quality(tmp_path: Path) -> None:
    pipe: Any = RestorerPipeline.from_pretrained("compact")
    pipe.set_progress_bar_config(disable=True)
    pipe.load_quality_prior(saved(trained(QualityPrior.of(pipe.restorer)), tmp_path))
    image = photograph(96)
    plain, asked = pipe(image), pipe(image, quality=0.9)
    assert plain.findings == asked.findings and plain.images[0] != asked.images[0]


# RealRestorer


@pytest.fixture
def flux(tmp_path: Path) -> Any:
    pipe = tiny_realrestorer()
    pipe.load_quality_prior(saved(trained(QualityPrior.of(pipe.transformer)), tmp_path / "prior"))
    return pipe


def test_both_sides_of_guidance_and_all_results_of_a_picture_are_told_its_quality(flux: Any) -> None:
    """By what the transformer's blocks are modulated with: prompts, then negative prompts, results together."""
    added: list[Tensor] = []
    outputs: list[Tensor] = []
    module = flux.transformer.time_text_embed
    slot = find_slot(module)
    module.register_forward_hook(lambda _m, _i, out: outputs.append(out))
    module.register_forward_hook(lambda *_: added.append(slot.e))  # type: ignore[union-attr, func-returns-value]
    call = {"num_inference_steps": 1, "size_level": 48, "num_images_per_prompt": 2, "output_type": "latent"}
    pictures = [IMAGE, IMAGE[::-1].copy()]
    flux(pictures, generator=seeded(), quality=[0.05, 0.95], **call)
    told = outputs.pop()
    flux(pictures, generator=seeded(), **call)
    rows = flux.quality_prior(torch.tensor([0.05, 0.05, 0.95, 0.95])).repeat(2, 1)
    assert torch.equal(added[0], rows[:4]) and added[1] is None
    torch.testing.assert_close(told - outputs.pop(), rows)


def test_guidance_may_end_during_a_call(flux: Any) -> None:
    def end(pipe: Any, *_: Any) -> dict[str, Any]:
        pipe._guidance_scale = None
        return {}

    ended = restored(flux, quality=0.9, callback_on_step_end=end)
    assert not torch.equal(ended, restored(flux, callback_on_step_end=end))


@pytest.mark.parametrize("way", ["model", "block_level", "leaf_level"])
def test_offloading_gives_the_same(flux: Any, way: str) -> None:
    """Sequential offloading of accelerate does not run on a CPU with this torch; by leaves does the same."""
    expected = restored(flux, quality=0.9), restored(flux)
    if way == "model":
        flux.enable_model_cpu_offload(device="cpu")
    else:
        cpu = torch.device("cpu")
        flux.enable_group_offload(cpu, cpu, offload_type=way, num_blocks_per_group=1)
    assert torch.equal(restored(flux, quality=0.9), expected[0])
    assert torch.equal(restored(flux), expected[1])


def test_loras_and_the_quality_add_up(flux: Any) -> None:
    plain = restored(flux, quality=0.9)
    flux.transformer.add_adapter(
        LoraConfig(r=2, target_modules=["to_q", "linear_1"], init_lora_weights=False)
    )
    with_lora = restored(flux), restored(flux, quality=0.9)
    assert not torch.equal(*with_lora) and not torch.equal(with_lora[1], plain)
    flux.transformer.delete_adapters("default")
    assert torch.equal(restored(flux, quality=0.9), plain)


def test_a_pipeline_over_the_same_networks_shares_the_slot_but_not_the_quality(flux: Any) -> None:
    plain = restored(flux)
    flux.set_quality(0.9)
    other = type(flux).from_pipe(flux)
    assert other.quality_prior is flux.quality_prior
    assert torch.equal(restored(other), plain) and torch.equal(restored(other, quality=0.9), restored(flux))
    hooks = flux.transformer.time_text_embed._forward_hooks
    assert len(hooks) == 1


def test_copies_of_a_network_have_slots_of_their_own(flux: Any) -> None:
    twin = pickle.loads(pickle.dumps(copy.deepcopy(flux.transformer)))
    average = EMAModel(twin.parameters(), model_cls=type(twin), model_config=twin.config)
    assert find_slot(twin.time_text_embed) is not find_slot(flux.transformer.time_text_embed)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    average.copy_to(twin.parameters())
    other = type(flux)(**{**flux.components, "transformer": twin})
    assert torch.equal(restored(other, quality=0.9), restored(flux, quality=0.9))


def test_another_transformer_takes_the_quality_too(flux: Any) -> None:
    expected = restored(flux, quality=0.9)
    flux.transformer = tiny_realrestorer().transformer
    assert torch.equal(restored(flux, quality=0.9), expected)


def test_gradients_reach_the_prior_alone_where_the_host_is_frozen(flux: Any) -> None:
    network, prior = flux.transformer.requires_grad_(False), flux.quality_prior
    slot = find_slot(network.time_text_embed)
    e = prior(torch.tensor([0.95]))
    with slot.filled(e):  # type: ignore[union-attr]
        call_flux(network).sum().backward()
    assert prior.table.weight.grad[9].any() and not prior.table.weight.grad[:9].any()
    assert all(weight.grad is None for weight in network.parameters())


@pytest.mark.slow
def test_compiled_before_the_prior_came_it_takes_the_quality(tmp_path: Path) -> None:
    """The whole graph; the eager backend, for what matters is what the graph knows of the slot."""
    pipe, eager = tiny_realrestorer(), tiny_realrestorer()
    prior = saved(trained(QualityPrior.of(pipe.transformer)), tmp_path)
    pipe.transformer = torch.compile(pipe.transformer, fullgraph=True, backend="eager")
    plain = restored(pipe)
    for one in (pipe, eager):
        one.load_quality_prior(prior)
    torch.compiler.reset()
    frames = torch._dynamo.utils.counters["frames"]
    asked = [restored(pipe, quality=quality) for quality in (0.05, 0.95)]
    before = frames["total"]
    assert torch.equal(restored(pipe, quality=0.55), restored(eager, quality=0.55))
    assert torch.equal(restored(pipe), plain) and torch.equal(plain, restored(eager))
    assert torch.equal(asked[1], restored(eager, quality=0.95)) and not torch.equal(*asked)
    assert frames["total"] - before <= 1  # no recompilation for another quality; one for none


# Stock pipelines


def call_flux(network: Any, batch: int = 1) -> Tensor:
    torch.manual_seed(3)
    width, pooled = network.config.joint_attention_dim, network.config.pooled_projection_dim
    return network(
        hidden_states=torch.randn(batch, 4, network.config.in_channels),
        encoder_hidden_states=torch.randn(batch, 3, width),
        pooled_projections=torch.randn(batch, pooled),
        timestep=torch.full((batch,), 0.5),
        guidance=torch.full((batch,), 3.5),
        img_ids=torch.zeros(4, 3),
        txt_ids=torch.zeros(3, 3),
        return_dict=False,
    )[0]


def call_sd3(network: Any, batch: int = 1) -> Tensor:
    torch.manual_seed(3)
    return network(
        hidden_states=torch.randn(batch, 4, 8, 8),
        encoder_hidden_states=torch.randn(batch, 3, 16),
        pooled_projections=torch.randn(batch, 12),
        timestep=torch.full((batch,), 500.0),
        return_dict=False,
    )[0]


def call_qwen(network: Any, batch: int = 1) -> Tensor:
    torch.manual_seed(3)
    return network(
        hidden_states=torch.randn(batch, 4, 16),
        encoder_hidden_states=torch.randn(batch, 3, 16),
        encoder_hidden_states_mask=torch.ones(batch, 3),
        timestep=torch.full((batch,), 0.5),
        img_shapes=[[(1, 2, 2)]] * batch,
        return_dict=False,
    )[0]


def call_pixart(network: Any, batch: int = 1) -> Tensor:
    torch.manual_seed(3)
    return network(
        hidden_states=torch.randn(batch, 4, 8, 8),
        encoder_hidden_states=torch.randn(batch, 3, 16),
        timestep=torch.full((batch,), 500.0),
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        return_dict=False,
    )[0]


def make_sd3() -> Any:
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=12,
        out_channels=4,
        pos_embed_max_size=8,
    )


def make_qwen(**options: Any) -> Any:
    return QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
        **options,
    )


def make_pixart() -> Any:
    return PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
        patch_size=2,
        use_additional_conditions=False,
    )


def make_flux() -> Any:
    return tiny_realrestorer().transformer


class Stock:
    """What the function needs to know of a stock pipeline."""

    def __init__(self, transformer: nn.Module) -> None:
        self.transformer = transformer


STOCK: dict[str, tuple[Callable[[], Any], Callable[..., Tensor]]] = {
    "flux": (make_flux, call_flux),
    "sd3": (make_sd3, call_sd3),
    "qwen": (make_qwen, call_qwen),
    "qwen, with times of the reference": (lambda: make_qwen(zero_cond_t=True), call_qwen),
    "pixart": (make_pixart, call_pixart),
}


@pytest.mark.parametrize("kind", list(STOCK))
@torch.no_grad()
def test_stock_transformers_take_a_prior_and_are_left_as_they_were(kind: str, tmp_path: Path) -> None:
    make, call = STOCK[kind]
    torch.manual_seed(0)
    network = make().eval()
    for weight in network.parameters():  # some are zero at first, and would hide the vector
        weight.add_(0.05 * torch.randn_like(weight))
    plain, keys = call(network, 2), list(network.state_dict())
    new = attach_quality_prior(Stock(network), saved(QualityPrior.of(network), tmp_path / "new"))
    new.set(0.9)
    assert torch.equal(call(network, 2), plain)
    new.remove()
    prior = trained(QualityPrior.of(network))
    attached = attach_quality_prior(Stock(network), saved(prior, tmp_path / "trained"))
    assert torch.equal(call(network, 2), plain) and list(network.state_dict()) == keys
    attached.set(0.9)
    high = call(network, 2)
    attached.set([0.05, 0.95])
    each = call(network, 2)
    assert (high - plain).abs().max() > 1e-4
    torch.testing.assert_close(each[1], high[1])
    assert (each[0] - high[0]).abs().max() > 1e-4
    attached.set(None)
    assert torch.equal(call(network, 2), plain)
    attached.set(0.9)
    attached.remove()
    assert torch.equal(call(network, 2), plain) and not module_of(network)._forward_hooks


def test_priors_of_other_transformers_and_late_ones_are_refused(tmp_path: Path) -> None:
    network = make_flux()
    folder = saved(QualityPrior.of(network), tmp_path)
    with pytest.raises(RestorerError, match="for a FluxTransformer2DModel, not for a SD3Transformer2DModel"):
        attach_quality_prior(Stock(make_sd3()), folder)
    with pytest.raises(RestorerError, match="no place for a quality prior in a Linear"):
        attach_quality_prior(Stock(nn.Linear(2, 2)), folder)
    with pytest.raises(RestorerError, match="is compiled and would not notice"):
        attach_quality_prior(Stock(torch.compile(network)), folder)  # type: ignore[arg-type]
    attached = attach_quality_prior(Stock(network), folder)
    with pytest.raises(RestorerError, match="quality is 90: this prior takes a number"):
        attached.set(90)
    attached.set([0.1, 0.2, 0.3])
    with pytest.raises(RestorerError, match="3 qualities for a batch of 2"):
        call_flux(network, 2)


def test_the_four_classes_are_those_that_the_function_names() -> None:
    assert {FluxTransformer2DModel.__name__, *(type(make()).__name__ for make, _ in STOCK.values())} == (
        set(HOSTS) - {"CompactRestorer", "DreamClearTransformer2DModel"}  # of restorers of ours
    )
