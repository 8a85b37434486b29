"""A small one of each objective: contract tests try them all, so that a new one is tested by being listed."""

import io
from pathlib import Path

import numpy as np
import torch
from datasets import Features, Value
from PIL import Image

from ggt_hub.data.pairs import PAIR_FEATURES, pair_row
from ggt_hub.data.work.export import write_rows
from ggt_hub.models import CompactRestorer, VQAutoencoder
from ggt_hub.training import Recipe, load_recipe
from ggt_hub.training.objectives import OBJECTIVES
from tests.tiny_kontext import save_tiny_kontext
from tests.tiny_sdxl import save_tiny_sdxl

_COMPACT = """\
objective: compact
model: {channels: [8, 8, 8], blocks: [1, 1, 1], condition_width: 8}
crop: 32
batch: 2
steps: 3
warmup_steps: 2
ema_decay: 0.5
groups:
  noise: {share: 1, task: noise, steps: [{family: noise, sigma: [10, 60]}]}
"""

_TOLD = """\
objective: told
settings: {task: rain, restorer: RESTORER}
model: {rank: 2, width: 4}
crop: 32
batch: 2
steps: 3
warmup_steps: 2
ema_decay: 0.5
groups:
  rain: {share: 1, task: rain, steps: [{family: rain}]}
"""

_DIAL = """\
objective: dial
settings: {restorer: RESTORER}
model: {rank: 2}
crop: 32
batch: 2
steps: 3
warmup_steps: 2
ema_decay: 0.5
groups:
  noise: {share: 1, task: noise, steps: [{family: noise, sigma: [10, 60]}]}
"""

_CODEBOOKS = """\
objective: codebooks
settings: {perceptual: none, game_from: 1, critic: {channels: 4, layers: 1}}
model: {channels: 32, multipliers: [1, 1], blocks: 1, attention_levels: [], code_width: 4, codes: 8, hq_codes: 8}
crop: 16
batch: 2
steps: 4
warmup_steps: 0
ema_decay: 0.5
groups:
  clean: {share: 1, task: general, steps: []}
"""

_CODES = """\
objective: codes
settings: {codebooks: CODEBOOKS, quality_weight: 0.1}
model: {bins: 10, latent: 8, width: 8, heads: 2, layers: 1, fusion_levels: [1]}
crop: 16
batch: 2
steps: 3
warmup_steps: 0
ema_decay: 0.5
groups:
  faces: {share: 1, preset: iqpir}
"""

_DUAL_PROMPT = """\
objective: dual_prompt
settings: {pipeline: SDXL, positive: highly detailed photo, negative: blurry cartoon}
model: {positive: 3, negative: 2, rank: 2}
aligned: true
crop: 16
batch: 2
steps: 3
warmup_steps: 0
ema_decay: 0.5
groups:
  spoilt: {share: 1, task: noise, steps: [{family: noise, sigma: [10, 60]}]}
"""

_DREAMCLEAR = """\
objective: dreamclear
settings: {coupled: false}
model: {num_attention_heads: 2, attention_head_dim: 12, num_layers: 1, control_layers: 1, sample_size: 8,
        caption_channels: 8, caption_length: 4}
crop: 64
batch: 2
steps: 3
warmup_steps: 0
ema_decay: 0.5
aligned: true
groups:
  photographs: {share: 1, preset: dreamclear}
"""

_FLOW = """\
objective: flow
settings: {base: KONTEXT, bfloat16: false, checkpointing: false}
model: {rank: 2}
aligned: true
crop: 32
batch: 2
steps: 3
warmup_steps: 0
ema_decay: 0.5
groups:
  noise: {share: 1, task: noise, steps: [{family: noise, sigma: [10, 60]}]}
"""

_PEER = """\
objective: peer
model: {architecture: NAFNet, arguments: {width: 8, middle_blk_num: 1, enc_blk_nums: [1], dec_blk_nums: [1]}}
crop: 32
batch: 2
steps: 3
warmup_steps: 0
ema_decay: 0.5
groups:
  noise: {share: 1, task: noise, steps: [{family: noise, sigma: [10, 60]}]}
"""

RECIPES: dict[str, str] = {
    "dual_prompt": _DUAL_PROMPT,
    "compact": _COMPACT,
    "told": _TOLD,
    "dial": _DIAL,
    "codebooks": _CODEBOOKS,
    "codes": _CODES,
    "dreamclear": _DREAMCLEAR,
    "flow": _FLOW,
    "peer": _PEER,
}


def tiny_recipe(name: str, data: Path, folder: Path) -> Recipe:
    """The recipe of an objective, on the pictures in `data`; its file, and what it needs, go into `folder`."""
    tiny_restorer().save_pretrained(folder / "restorer")
    tiny_autoencoder().save_pretrained(folder / "codebooks")
    text = RECIPES[name].replace("RESTORER", str(folder / "restorer"))
    if "SDXL" in text:
        text = text.replace("SDXL", str(save_tiny_sdxl(folder / "sdxl")))
    if "KONTEXT" in text:
        text = text.replace("KONTEXT", str(save_tiny_kontext(folder / "kontext")))
    path = folder / f"{name}.yaml"
    path.write_text(f"data: {{{data}: 1}}\n{text.replace('CODEBOOKS', str(folder / 'codebooks'))}")
    return load_recipe(path)


def scored(folder: Path, pixels: np.ndarray) -> None:
    """A clean picture as `data score-quality` writes it, with how good it is."""
    folder.mkdir()
    Image.fromarray(pixels).save(png := io.BytesIO(), "PNG")
    row = pair_row("a", None, {"bytes": png.getvalue(), "path": "a.png"}, source="x", quality=0.75)
    write_rows(folder / "train.parquet", [row], Features({**PAIR_FEATURES, "quality": Value("float64")}))


def tiny_autoencoder() -> VQAutoencoder:
    torch.manual_seed(1)
    shape = {"multipliers": (1, 1), "blocks": 1, "attention_levels": (), "code_width": 4}
    network = VQAutoencoder(channels=32, codes=8, hq_codes=8, **shape)
    for book in (network.quantize, network.quantize_aesthetic):  # as wide apart as features are
        torch.nn.init.normal_(book.embedding.weight)
    return network


def tiny_restorer() -> CompactRestorer:
    """A compact restorer whose last layers are not zero, as they are before any training."""
    torch.manual_seed(0)
    network = CompactRestorer(channels=(8, 8, 8), blocks=(1, 1, 1), condition_width=8)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return network.eval()


def every_objective() -> list[str]:
    """Names of all; a factory is missing where one is not in `RECIPES`."""
    assert set(RECIPES) == set(OBJECTIVES)
    return list(RECIPES)
