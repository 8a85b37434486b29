"""Stock text-to-image pipelines of diffusers, as GenIR tunes and uses them: opened safely, tuned tokens loaded."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoPipelineForText2Image, DiffusionPipeline, UNet2DConditionModel
from diffusers.loaders import TextualInversionLoaderMixin

from ggt_hub.commit import commit_json
from ggt_hub.errors import GGTHubError, RestorerError
from ggt_hub.hub import snapshot

SIDES = ("positive", "negative")
LORA = "pytorch_lora_weights.safetensors"
_TUNED = "dual_prompt.json"


class Encoder(NamedTuple):
    """A text encoder of a pipeline, by the name of its component, with its tokenizer."""

    name: str
    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class Tuned:
    """What was tuned, beside the weights.

    Attributes:
        base: the pipeline that was tuned, as it was named.
        positive, negative: the tokens, each of several vectors, as prompts name them.
        attention: "lora" or "full".
    """

    base: str
    positive: str
    negative: str
    attention: str

    def prompts(self, caption: str) -> tuple[str, str]:
        """The prompt and the negative prompt for a caption.

        The paper's form is "A <p1>, ..., <pM> image. <caption>". A stock pipeline writes a token of several vectors
        as that many tokens without commas, and so does this.
        """
        return f"A {self.positive} image. {caption}", f"A {self.negative} image. {caption}"

    def save(self, folder: Path) -> None:
        """Write it beside the weights."""
        commit_json(folder / _TUNED, asdict(self))


def open_text_to_image(source: str | Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """A stock text-to-image pipeline with a U-Net, such as SDXL or Stable Diffusion; weights in safetensors alone.

    Args:
        source: a folder, or an id on the Hub, ID@REVISION.
        dtype: of the weights.

    Raises:
        RestorerError: if it cannot be loaded, or is of another kind.
        HubError: if the repository cannot be had.
    """
    try:
        pipe = AutoPipelineForText2Image.from_pretrained(
            find_text_to_image(source), dtype=dtype, use_safetensors=True
        )
    except (OSError, ValueError, AttributeError, TypeError, ImportError) as error:
        if isinstance(error, GGTHubError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise RestorerError(
            f"{source} is no text-to-image pipeline that diffusers loads: {reason}"
        ) from error
    if not isinstance(pipe, TextualInversionLoaderMixin):
        raise _unfit(source, type(pipe).__name__)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def find_text_to_image(source: str | Path) -> Path:
    """The folder of a pipeline, downloaded where it is on the Hub; weights are not read yet.

    Raises:
        RestorerError, HubError: as `open_text_to_image`.
    """
    folder = Path(source)
    if not folder.is_dir():
        name, _, revision = str(source).partition("@")
        if name.count("/") != 1:
            raise RestorerError(f"no text-to-image pipeline at {source}: give a folder, or an id on the Hub")
        folder = snapshot(
            name, revision=revision or None, allow_patterns=["*.json", "*.txt", "*.safetensors"]
        )
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        kind, denoiser = index["_class_name"], index.get("unet")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RestorerError(f"{source} is no text-to-image pipeline: it has no model_index.json") from error
    if not (denoiser == ["diffusers", UNet2DConditionModel.__name__] and "tokenizer" in index):
        raise _unfit(source, kind)
    return folder


def _unfit(source: str | Path, kind: str) -> RestorerError:
    return RestorerError(
        f"{source} is a {kind}: dual prompts are tuned on text-to-image pipelines with a U-Net and a table of "
        "tokens, such as StableDiffusionXLPipeline or StableDiffusionPipeline"
    )


def encoders_of(pipe: DiffusionPipeline) -> list[Encoder]:
    """The text encoders of a pipeline, in its own order."""
    names = [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")]
    found = [(name, getattr(pipe, name, None), getattr(pipe, words, None)) for name, words in names]
    return [Encoder(name, model, words) for name, model, words in found if model is not None]


def is_read_whole(pipe: Any, prompt: str) -> bool:
    """Whether no encoder of a pipeline would cut a prompt."""
    return all(
        len(words(pipe.maybe_convert_prompt(prompt, words)).input_ids) <= words.model_max_length
        for _, _, words in encoders_of(pipe)
    )


def token_file(side: str, encoder: str) -> str:
    """The file with the vectors of a side for an encoder, in the textual-inversion format."""
    return f"{side}.{encoder}.safetensors"


def load_tuned(pipe: Any, folder: Path) -> Tuned:
    """Load what dual-prompt tuning has written, by the stock calls that its card names.

    Raises:
        RestorerError: if there is nothing of that kind, or it does not fit the pipeline.
    """
    try:
        tuned = Tuned(**json.loads((folder / _TUNED).read_text(encoding="utf-8")))
        for encoder in encoders_of(pipe):
            for side in SIDES:
                pipe.load_textual_inversion(
                    str(folder),
                    weight_name=token_file(side, encoder.name),
                    text_encoder=encoder.model,
                    tokenizer=encoder.tokenizer,
                )
        if tuned.attention == "lora":
            pipe.load_lora_weights(str(folder), weight_name=LORA)
        else:
            pipe.unet = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=pipe.unet.dtype)
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RestorerError(f"{folder} holds no dual prompts for this pipeline: {reason}") from error
    return tuned
