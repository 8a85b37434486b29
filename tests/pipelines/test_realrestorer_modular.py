"""RealRestorer as blocks: the same latents as the pipeline, other guiders, and loading again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ClassifierFreeGuidance
from PIL import Image

from ggt_hub.errors import RestorerError
from ggt_hub.models import QualityPrior
from ggt_hub.pipelines.realrestorer import RealRestorerPipeline
from ggt_hub.pipelines.realrestorer.modular import (
    DampedGuidance,
    DenoiseStep,
    RealRestorerBlocks,
    RealRestorerModularPipeline,
)
from tests.golden import BUNDLE, difference
from tests.pipelines.tiny_realrestorer import tiny_pipeline

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
QUICK: dict[str, Any] = {"num_inference_steps": 3, "size_level": 48, "task": "rain"}


@pytest.fixture(scope="module")
def pipe() -> RealRestorerPipeline:
    return tiny_pipeline(reference_axis=1)


@pytest.fixture
def modular(pipe: RealRestorerPipeline) -> RealRestorerModularPipeline:
    blocks = RealRestorerModularPipeline()
    parts = {name: part for name, part in pipe.components.items() if name != "reference_axis"}
    blocks.update_components(**parts)
    blocks.register_to_config(reference_axis=1)
    return blocks


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("tile", [None, 32])
def test_the_blocks_give_what_the_pipeline_gives(pipe, modular, tile: int | None) -> None:
    state = modular(image=PHOTO, **QUICK, tile=tile, generator=seeded())
    wanted = pipe(PHOTO, **QUICK, tile=tile, generator=seeded(), output_type="latent").images[0]
    assert torch.equal(state.get("latents")[0], wanted)
    shown = pipe(PHOTO, **QUICK, tile=tile, generator=seeded()).images[0]
    assert np.array_equal(state.get("images")[0], shown)


@pytest.mark.parametrize("options", [{"guidance_scale": 5.0}, {"truncate": 0.1, "power": 0.7}])
def test_the_guider_is_the_pipelines_guidance(pipe, modular, options: dict) -> None:
    modular.update_components(guider=DampedGuidance(**options))
    names = {"truncate": "timesteps_truncate", "power": "process_norm_power"}
    found = modular(image=PHOTO, **QUICK, generator=seeded(), output="latents")[0]
    call = {**QUICK, **{names.get(name, name): value for name, value in options.items()}}
    assert torch.equal(found, pipe(PHOTO, **call, generator=seeded(), output_type="latent").images[0])


def test_guidance_may_be_left_out_or_be_stock(pipe, modular) -> None:
    modular.update_components(guider=DampedGuidance(enabled=False))
    found = modular(image=PHOTO, **QUICK, generator=seeded(), output="latents")[0]
    wanted = pipe(PHOTO, **QUICK, guidance_scale=None, generator=seeded(), output_type="latent").images[0]
    assert torch.equal(found, wanted)
    modular.update_components(guider=ClassifierFreeGuidance(guidance_scale=3.0))
    found = modular(image=PHOTO, **QUICK, generator=seeded(), output="latents")[0]
    plain = {**QUICK, "timesteps_truncate": 1.0}  # nothing is damped
    wanted = pipe(PHOTO, **plain, generator=seeded(), output_type="latent").images[0]
    assert difference(found, wanted) < 1e-6


def test_guidance_of_the_last_steps_alone(pipe, modular) -> None:
    rows: list[int] = []
    hook = pipe.transformer.x_embedder.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    modular.update_components(guider=DampedGuidance(start=0.5))
    modular(image=PHOTO, **QUICK, generator=seeded())
    hook.remove()
    assert rows == [1, 2, 2]


def test_a_block_may_be_replaced(modular) -> None:
    class Still(DenoiseStep):
        def run(self, pipe: Any, block: Any, components: Any) -> None:
            block.latents = block.image_latents

    blocks = RealRestorerBlocks()
    blocks.sub_blocks["denoise"] = Still()
    other = RealRestorerModularPipeline(blocks)
    other.update_components(**{name: part for name, part in modular.components.items() if name != "guider"})
    state = other(image=PHOTO, **QUICK, generator=seeded())
    assert torch.equal(state.get("latents"), state.get("image_latents"))


def test_it_loads_from_our_layout_and_again_from_what_it_saved(pipe, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "own")
    wanted = pipe(PHOTO, **QUICK, generator=seeded(), output_type="latent").images[0]
    loaded = RealRestorerModularPipeline.from_pretrained(tmp_path / "own")
    loaded.load_components()
    assert torch.equal(loaded(image=PHOTO, **QUICK, generator=seeded(), output="latents")[0], wanted)
    loaded.save_pretrained(str(tmp_path / "modular"))
    again = RealRestorerModularPipeline.from_pretrained(tmp_path / "modular")
    again.load_components()
    assert torch.equal(again(image=PHOTO, **QUICK, generator=seeded(), output="latents")[0], wanted)


def test_a_quality_prior_is_one_of_its_parts(pipe, modular, tmp_path: Path) -> None:
    def latents(blocks: RealRestorerModularPipeline, **options: Any) -> torch.Tensor:
        return blocks(image=PHOTO, **QUICK, **options, generator=seeded(), output="latents")[0]

    plain = latents(modular)
    with pytest.raises(RestorerError, match="there is no quality prior: update_components"):
        latents(modular, quality=0.9)
    prior = QualityPrior.of(pipe.transformer)
    torch.nn.init.normal_(prior.table.weight)
    modular.update_components(quality_prior=prior)
    assert torch.equal(latents(modular), plain)
    with pytest.raises(RestorerError, match="quality is 90"):
        latents(modular, quality=90)
    told = RealRestorerPipeline(**{**pipe.components, "quality_prior": prior})
    wanted = told(PHOTO, **QUICK, generator=seeded(), output_type="latent", quality=0.9).images[0]
    assert torch.equal(latents(modular, quality=0.9), wanted) and not torch.equal(wanted, plain)
    told.save_pretrained(tmp_path / "own")
    loaded = RealRestorerModularPipeline.from_pretrained(tmp_path / "own")
    loaded.load_components()
    assert torch.equal(latents(loaded, quality=0.9), wanted) and torch.equal(latents(loaded), plain)


class Marked(RealRestorerBlocks):
    """Blocks of one's own."""


def test_blocks_of_ones_own_load_again(pipe, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "own")
    first = RealRestorerModularPipeline.from_pretrained(tmp_path / "own", Marked())
    first.load_components()
    first.save_pretrained(str(tmp_path / "modular"))
    again = RealRestorerModularPipeline.from_pretrained(tmp_path / "modular", Marked())
    again.load_components()
    assert type(again.blocks) is Marked
    weights = again.transformer.state_dict()
    assert all(torch.equal(weights[n], value) for n, value in pipe.transformer.state_dict().items())


def test_what_cannot_be_loaded_as_blocks_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RestorerError, match="write it once in our own layout"):
        RealRestorerModularPipeline.from_pretrained(BUNDLE)
    (tmp_path / "processor").mkdir()
    (tmp_path / "processor/tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "evil.Evil"}}')
    with pytest.raises(RestorerError, match="names code to run"):
        RealRestorerModularPipeline.from_pretrained(tmp_path)
