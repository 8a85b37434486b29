"""Stock editors of diffusers under the contract of restorers, on tiny random models; see also test_contract."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from ggt_hub import RestorerPipeline
from ggt_hub.curation.generators.local import LocalEditor
from ggt_hub.errors import JudgeError, RestorerError
from ggt_hub.pipelines.editor import EditorPipeline
from ggt_hub.pipelines.layouts import EDITORS
from ggt_hub.pipelines.realrestorer import instruction
from ggt_hub.vlm import Question
from tests.photographs import photograph
from tests.pipelines.tiny_editors import tiny_kontext, tiny_pix2pix, tiny_qwen_edit
from tests.servers.image_editors import picture

QUICK = {"num_inference_steps": 1, "size_level": 32, "output_type": "np"}


class Recorder:
    """An editor that notes what it is asked, and draws grey."""

    def __init__(self, kind: type) -> None:
        self.asked: dict = {}
        self.__class__ = type("Recorder", (Recorder,), {"__call__": self.wrapped(kind)})

    def wrapped(self, kind: type):
        import functools

        @functools.wraps(kind.__call__)
        def call(this, **asked):
            this.asked = asked
            size = asked.get("width", asked["image"].width), asked.get("height", asked["image"].height)
            return type("Out", (), {"images": [np.full((*size[::-1], 3), 0.5, np.float32)]})

        return call


def asked(kind: type, picture: np.ndarray, **options) -> dict:
    recorder = Recorder(kind)
    EditorPipeline(recorder)(picture, **options)
    return recorder.asked


def test_all_classes_are_those_of_diffusers() -> None:
    assert not [name for name in EDITORS if not hasattr(diffusers, name)]


def test_an_editor_is_shown_the_native_area_and_told_the_instruction() -> None:
    wide = np.zeros((300, 600, 3), np.uint8)
    told = asked(diffusers.FluxKontextPipeline, wide, task="rain", guidance_scale=2.0)
    assert told["image"].size == (told["width"], told["height"]) == (1440, 720)
    assert told["max_area"] == 1440 * 720 and told["_auto_resize"] is False
    assert (told["prompt"], told["num_inference_steps"], told["guidance_scale"]) == (
        instruction("rain"),
        28,
        2.0,
    )
    told = asked(diffusers.QwenImageEditPipeline, wide, prompt="brighter", guidance_scale=2.0)
    assert (told["prompt"], told["negative_prompt"], told["true_cfg_scale"]) == ("brighter", " ", 2.0)
    assert "guidance_scale" not in told
    told = asked(diffusers.StableDiffusionInstructPix2PixPipeline, wide)
    assert "width" not in told and "guidance_scale" not in told
    assert told["prompt"] == instruction("general")


@pytest.mark.parametrize("make", [tiny_kontext, tiny_qwen_edit, tiny_pix2pix])
def test_what_the_stock_pipeline_draws_comes_back_at_the_pictures_size(make, monkeypatch) -> None:
    """With a picture of the working size nothing is resized: the pixels are those of the stock pipeline."""
    module = diffusers.pipelines.qwenimage.pipeline_qwenimage_edit
    own = module.calculate_dimensions
    # Qwen-Image-Edit itself works at 1024 x 1024, which takes too long here.
    monkeypatch.setattr(module, "calculate_dimensions", lambda area, ratio: own(64 * 64, ratio))
    stock, shown = make(), photograph(64)
    pipe = EditorPipeline(stock)
    told = {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(3), "output_type": "np"}
    ours = pipe(shown, prompt="no rain", size_level=64, **told).images[0]
    from PIL import Image

    sizes = {} if make is tiny_pix2pix else {"width": 64, "height": 64}
    further = {"max_area": 64 * 64, "_auto_resize": False} if make is tiny_kontext else {}
    further |= {"negative_prompt": " "} if make is tiny_qwen_edit else {}
    theirs = stock(
        image=Image.fromarray(shown), prompt="no rain", **sizes, **further,
        **told | {"generator": torch.Generator().manual_seed(3)},
    ).images[0]  # fmt: skip
    assert np.abs(ours - theirs).max() <= 1e-6
    other = pipe(photograph(40), prompt="no rain", size_level=64, **told).images[0]
    assert other.shape == (40, 40, 3)


def test_a_folder_of_diffusers_loads_as_a_restorer_and_with_a_lora_draws_otherwise(tmp_path: Path) -> None:
    stock = tiny_kontext()
    stock.save_pretrained(tmp_path / "editor")
    pipe = RestorerPipeline.from_pretrained(tmp_path / "editor")
    pipe.set_progress_bar_config(disable=True)
    assert type(pipe) is EditorPipeline

    def drawn(one) -> np.ndarray:
        return one(photograph(32), prompt="x", generator=torch.Generator().manual_seed(0), **QUICK).images[0]

    plain = drawn(EditorPipeline(stock))
    assert np.abs(drawn(pipe) - plain).max() < 1e-5  # rounding: weights lie otherwise in memory
    from peft import LoraConfig

    stock.transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    with torch.no_grad():
        for name, weight in stock.transformer.named_parameters():
            if "lora" in name:
                weight.mul_(10)
    from peft.utils import get_peft_model_state_dict

    layers = get_peft_model_state_dict(stock.transformer)
    diffusers.FluxKontextPipeline.save_lora_weights(tmp_path / "lora", transformer_lora_layers=layers)
    tuned = RestorerPipeline.from_pretrained(tmp_path / "editor")
    tuned.load_lora_weights(tmp_path / "lora")
    tuned.set_progress_bar_config(disable=True)
    assert np.abs(drawn(tuned) - plain).max() > 2e-3
    assert np.abs(drawn(tuned) - drawn(EditorPipeline(stock))).max() < 2e-4


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    tiny_kontext().save_pretrained(tmp_path)
    (tmp_path / "transformer/config.json").write_text("{")
    with pytest.raises(RestorerError, match=r"the editor in .* cannot be loaded"):
        RestorerPipeline.from_pretrained(tmp_path)


def test_a_local_generator_draws_each_candidate_from_a_seed_of_its_own(tmp_path: Path) -> None:
    tiny_kontext().save_pretrained(tmp_path / "editor")
    options = {"num_inference_steps": 1, "size_level": 32}
    editor = LocalEditor(str(tmp_path / "editor"), options=options)
    editor.check()
    assert (editor.model, editor.parameters, editor.canvas((37, 21))) == ("editor", options, (37, 21))
    shown = picture((40, 24))
    first, second, again = (
        editor.send(Question("no rain", pictures=(shown,), number=number)).pictures[0]
        for number in ((0, 0), (1, 0), (0, 0))
    )
    assert first == again != second
    assert LocalEditor(str(tmp_path / "editor"), options=options).revision == editor.revision


def test_a_restorer_that_takes_no_instruction_is_no_generator(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="is a CompactRestorerPipeline, which takes no instruction"):
        LocalEditor("compact").check()
    with pytest.raises(JudgeError, match=r"the generator .* cannot be loaded"):
        LocalEditor(str(tmp_path)).check()


def test_step1x_edit_is_a_file_of_its_own_among_the_parts_of_realrestorer(tmp_path: Path) -> None:
    """It has RealRestorer's architecture, and comes as one file; a LoRA changes it further."""
    from safetensors.torch import save_file

    from tests.pipelines.tiny_realrestorer import tiny_pipeline

    tiny_pipeline(0).save_pretrained(tmp_path / "parts")
    other = tiny_pipeline(1)
    tensors = {
        f"{part}.{name}": weight.contiguous()
        for part in ("transformer", "connector")
        for name, weight in getattr(other, part).state_dict().items()
    }
    save_file(tensors, tmp_path / "step1x.safetensors")
    options = {"num_inference_steps": 1, "size_level": 64}
    question = Question("no rain", pictures=(picture((64, 64)),))
    parts = LocalEditor(str(tmp_path / "parts"), options=options)
    whole = LocalEditor(
        str(tmp_path / "parts"), weights=str(tmp_path / "step1x.safetensors"), options=options
    )
    whole.check()
    assert whole.revision != parts.revision
    assert whole.send(question).pictures != parts.send(question).pictures
