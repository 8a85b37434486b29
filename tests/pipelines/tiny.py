"""A small restorer of each kind, of the true architecture with random weights: contract tests try all of `TINY`."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

from ggt_hub import RestorerPipeline
from ggt_hub.models import CodeFormer, CompactRestorer, QualityPrior, ToldParts
from ggt_hub.pipelines import CompactRestorerPipeline
from ggt_hub.pipelines.iqpir import IQPIRPipeline


def tiny_pipeline(seed: int = 0) -> CompactRestorerPipeline:
    torch.manual_seed(seed)
    network = CompactRestorer(channels=(8, 8, 8), blocks=(1, 1, 1), condition_width=8).eval()
    pipe = CompactRestorerPipeline(network)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_told(seed: int = 0) -> CompactRestorerPipeline:
    """With parts for rain (veil and adapter) and haze (a veil), neither of them as new."""
    restorer = tiny_pipeline(seed).restorer
    parts = ToldParts({"rain": 2, "haze": 0}, channels=(8, 8, 8), blocks=(1, 1, 1), width=4)
    with torch.no_grad():
        for weight in (*restorer.parameters(), *parts.parameters()):
            weight.add_(0.02 * torch.randn_like(weight))
    pipe = CompactRestorerPipeline(restorer, parts.eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_with_prior(seed: int = 0) -> CompactRestorerPipeline:
    """With a trained quality prior that also changes the convolutions, and a told part that does."""
    pipe = tiny_told(seed)
    prior = QualityPrior.of(pipe.restorer, rank=2)
    with torch.no_grad():
        for weight in prior.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    pipe.register_modules(quality_prior=prior.eval())
    return pipe


def tiny_realrestorer() -> RestorerPipeline:
    from tests.pipelines.tiny_realrestorer import tiny_pipeline

    return tiny_pipeline()


def tiny_dreamclear() -> RestorerPipeline:
    from tests.pipelines.tiny_dreamclear import tiny_pipeline

    return tiny_pipeline()


def tiny_editor() -> RestorerPipeline:
    from ggt_hub.pipelines.editor import EditorPipeline
    from tests.pipelines.tiny_editors import tiny_kontext

    return EditorPipeline(tiny_kontext(), "tiny kontext")


def tiny_iqpir(**settings: Any) -> IQPIRPipeline:
    """With a network for faces of 32 pixels."""
    torch.manual_seed(0)
    small = {
        "channels": 32,
        "multipliers": (1, 1, 1),
        "blocks": 1,
        "attention_levels": (2,),
        "fusion_levels": (1,),
        "code_width": 4,
        "codes": 8,
        "hq_codes": 8,
        "latent": 8,
        "width": 16,
        "heads": 2,
        "layers": 1,
    }
    return IQPIRPipeline(CodeFormer(**(small | settings)).eval())


def tiny_peer(architecture: str, module: str, class_name: str, **settings: Any) -> RestorerPipeline:
    spandrel = pytest.importorskip("spandrel")
    from ggt_hub.pipelines.peers import SpandrelNetwork, SpandrelPipeline

    torch.manual_seed(0)
    home = importlib.import_module(f"spandrel.architectures.{architecture}.__arch.{module}")
    state = getattr(home, class_name)(**settings).state_dict()
    return SpandrelPipeline(SpandrelNetwork(spandrel.ModelLoader().load_from_state_dict(state).eval()))


@dataclass(frozen=True)
class Tiny:
    """How a small restorer is made and called.

    Attributes:
        make: makes it.
        quick: arguments with which a call takes little time.
        entry: the network that sees whole pictures or tiles (B, 3, H, W) first; None if there is none.
    """

    make: Callable[[], RestorerPipeline]
    quick: Mapping[str, Any] = field(default_factory=dict)
    entry: Callable[[Any], nn.Module] | None = None


def _baseline(name: str) -> Tiny:
    return Tiny(lambda: RestorerPipeline.from_pretrained(name))


TINY: dict[str, Tiny] = {
    "compact": Tiny(tiny_pipeline, entry=lambda pipe: pipe.restorer),
    "compact with told parts": Tiny(tiny_told, entry=lambda pipe: pipe.restorer),
    "compact with a quality prior": Tiny(tiny_with_prior, entry=lambda pipe: pipe.restorer),
    "realrestorer": Tiny(
        tiny_realrestorer, {"num_inference_steps": 1, "size_level": 64}, lambda pipe: pipe.vae.encoder
    ),
    "dreamclear": Tiny(tiny_dreamclear, {"num_inference_steps": 1}, lambda pipe: pipe.pre_cleaner),
    "an editor of diffusers": Tiny(
        tiny_editor, {"num_inference_steps": 1, "size_level": 32}, lambda pipe: pipe.editor.vae.encoder
    ),
    "iqpir": Tiny(tiny_iqpir, {"background": "none"}),
    "iqpir, aligned faces": Tiny(tiny_iqpir, {"faces": "aligned"}, lambda pipe: pipe.network),
    "codeformer, aligned faces": Tiny(
        lambda: tiny_iqpir(hq_codes=None, bins=None), {"faces": "aligned"}, lambda pipe: pipe.network
    ),
    "spandrel, twice as large": Tiny(
        lambda: tiny_peer("Compact", "SRVGG", "SRVGGNetCompact", num_feat=8, num_conv=1, upscale=2),
        entry=lambda pipe: pipe.restorer.model,
    ),
    "spandrel, in multiples": Tiny(
        lambda: tiny_peer(
            "NAFNet",
            "NAFNet_arch",
            "NAFNet",
            width=4,
            middle_blk_num=1,
            enc_blk_nums=[1, 1],
            dec_blk_nums=[1, 1],
        ),
        entry=lambda pipe: pipe.restorer.model,
    ),
    "identity": _baseline("identity"),
    "gain": _baseline("gain"),
    "opencv:nlm": _baseline("opencv:nlm"),
    "skimage:tv": _baseline("skimage:tv"),
    "skimage:wavelet": _baseline("skimage:wavelet"),
}
"""A new restorer is tried by a line here."""
