"""What RealRestorer needs of a device's memory, known before it runs, and how to make it fit.

Weights are counted exactly. Activations follow from the sizes of the networks; their factors were found by
running the full-size networks on the `meta` device, which the tests do again. What a GPU takes beyond that
(workspaces of convolutions, memory that PyTorch reserves and cannot use) was measured on an H200 with torch 2.11
and random weights. The plan is of what is reserved, which is what has to fit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import torch
from diffusers.hooks import apply_layerwise_casting
from torch import nn

from ggt_hub.errors import RestorerError
from ggt_hub.pipelines import placement
from ggt_hub.pipelines.offload import PASSING, blocks_of
from ggt_hub.pipelines.placement import Placement
from ggt_hub.pipelines.realrestorer.geometry import NATIVE

if TYPE_CHECKING:
    from ggt_hub.pipelines.realrestorer.pipeline import RealRestorerPipeline

PHASES = {
    "read": "text_encoder",
    "encode": "vae",
    "connect": "connector",
    "denoise": "transformer",
    "decode": "vae",
}
"""The phases of a call, and the network that runs in each."""

KEPT = ("embed", "norm_q", "norm_k", "norm_added", "norm_out", "layernorm", "ln_q", "^norm", "^proj_out")
"""Layers that keep 16 bits when weights take 8: embeddings and norms, which are small, and the last layer."""

_TRANSFORMER = (
    17.5  # tensors of (rows, tokens, width) that FLUX holds at its peak: MLP, q, k, v, rotary floats
)
_AUTOENCODER = 24.1  # bytes per pixel and channel of the first level, at the decoder's last level, float32
_READING = 300_000_000  # vision and language model over fewer than 1,700 patches and tokens
_CONTEXT = 600_000_000  # the driver's
# Measured at 1024x1024: 5.2 GB beside the weights at the peak, which is decoding; `meta` has 3.2.
_WORKSPACES = 1.65
# Measured: reserved beyond allocated, in parts of the largest set of activations (5.2 GB): 3.0 GB all on the
# device, 2.5 one network at a time, 6.4 streamed, 6.4 with 8-bit weights. Expandable segments, which a plan turns
# on, need less; how much is not measured.
_RESERVED: Mapping[Placement, float] = {"none": 0.6, "model": 0.6, "group": 1.25}
_RESERVED_FLOAT8 = 1.25
_MARGIN = 1.02
_LARGEST = 4096 * 4096  # pixels of a picture in tiles whose size is not told
_COMPILING = "about 20 s once on an H200, then 0.8 of the time"


@dataclass(frozen=True)
class Part:
    """A network as the plan sees it.

    Attributes:
        parameters: how many there are.
        kept: how many keep 16 bits when weights take 8.
        block: how many the largest block holds; blocks come and go when a network is streamed ...
        outside: ... and how many are in none of them.
    """

    parameters: int
    kept: int
    block: int
    outside: int

    @classmethod
    def of(cls, network: nn.Module) -> Self:
        """Count a network; it may be on `meta`."""
        leaves = {
            name: sum(p.numel() for p in module.parameters(recurse=False))
            for name, module in network.named_modules()
        }
        kept = sum(size for name, size in leaves.items() if any(re.search(pattern, name) for pattern in KEPT))
        blocks = [sum(p.numel() for p in block.parameters()) for block in blocks_of(network)]
        total = sum(leaves.values())
        return cls(total, kept, max(blocks, default=0), total - sum(blocks))


_PUBLISHED = {
    "text_encoder": Part(7_747_169_280, 546_704_640, 233_057_792, 591_080_704),
    "connector": Part(536_621_825, 63_983_616, 234_942_464, 66_736_897),
    "transformer": Part(11_901_408_320, 64_144_448, 339_831_296, 64_124_992),
    "vae": Part(83_819_683, 1_280, 16_524_800, 230_051),
}


@dataclass(frozen=True)
class MemoryConfig:
    """What is to be run; the defaults are the published weights and call, in bfloat16.

    Attributes:
        parts: the networks.
        width: of the transformer.
        text_width: of the connector's tokens.
        vae_width: channels of the autoencoder's first level. It works in float32.
        pixels: pixels denoised at once: of the working size, or of a tile.
        decoded: pixels that the autoencoder works on at once; None means as many.
        picture: pixels of the whole picture where it is restored in tiles.
        results: how many are restored together.
        guided: whether each step takes two passes.
        steps: of the schedule.
        float8: whether transformer and text encoder are kept in 8 bits, which is an approximation; what they
            compute, they compute as before.
        compile: whether the transformer's blocks are compiled.
        itemsize: bytes of a number in the networks as loaded, 2 for bfloat16.
    """

    parts: Mapping[str, Part] = field(default_factory=lambda: _PUBLISHED)
    width: int = 3072
    text_width: int = 4096
    vae_width: int = 128
    pixels: int = 1024 * 1024
    decoded: int | None = None
    picture: int | None = None
    results: int = 1
    guided: bool = True
    steps: int = 28
    float8: bool = False
    compile: bool = False
    itemsize: int = 2

    @classmethod
    def of(cls, pipe: "RealRestorerPipeline", **run: int | bool | None) -> Self:
        """The configuration of a pipeline that is loaded, or on `meta`; `run` sets the rest."""
        parts = {name: Part.of(net) for name, net in placement.networks_of(pipe).items()}
        return cls(
            parts=parts,
            width=pipe.transformer.inner_dim,
            text_width=pipe.connector.config.hidden_size,
            vae_width=pipe.vae.config.block_out_channels[0],
            itemsize=pipe.connector.dtype.itemsize,
            **run,  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class Plan(placement.Plan):
    """How to run within a budget, and what is done to the networks for it.

    Attributes:
        float8: whether transformer and text encoder are kept in 8 bits.
        compile: whether the transformer's blocks are compiled.
    """

    float8: bool = False
    compile: bool = False

    def __str__(self) -> str:
        weights = "8-bit weights" if self.float8 else "weights as loaded"
        compiled = f"; compiled: {_COMPILING}" if self.compile else ""
        return f"{weights}, {super().__str__()}{compiled}"

    def prepare(self, pipe: Any) -> None:
        """Keep weights in 8 bits, and compile blocks, where that is planned."""
        if self.float8:
            for network in filter(None, (pipe.transformer, pipe.text_encoder)):
                apply_layerwise_casting(network, torch.float8_e4m3fn, network.dtype, KEPT)
        if self.compile:  # sizes of pictures differ, and each size would be compiled anew
            pipe.transformer.compile_repeated_blocks(fullgraph=True, dynamic=True)


def plan_memory(config: MemoryConfig, budget: int) -> Plan:
    """The fastest way to run within `budget` bytes of device memory.

    Nothing of it changes results: 8-bit weights are planned with only where `config` asks for them.

    Raises:
        RestorerError: if no way fits; the message names the smallest budget that would.
    """
    placements: tuple[Placement, ...] = ("none", "model") if config.compile else ("none", "model", "group")
    how = "compiled, which cannot be streamed" if config.compile else "with everything streamed"
    plans = [_plan(config, offload, budget) for offload in placements]
    advice = f"{how}; a smaller size_level or tile needs less"
    return placement.fastest(plans, budget, "RealRestorer", advice)


def pixels_of(tile: int | None, size_level: int, picture: tuple[int, int] | None) -> dict[str, int | None]:
    """How many pixels a call denoises at once, decodes at once, and holds: fields of `MemoryConfig`.

    Raises:
        RestorerError: if a picture is to be restored in one piece, and its size is not told.
    """
    if tile is None:
        return {"pixels": size_level**2}
    if tile:
        whole = _LARGEST if picture is None else picture[0] * picture[1]
        return {"pixels": min(tile**2, whole), "decoded": max(tile, NATIVE) ** 2, "picture": whole}
    if picture is None:
        raise RestorerError("tile=0 takes the memory of the whole picture: plan with picture=(width, height)")
    return {"pixels": picture[0] * picture[1]}


def _plan(config: MemoryConfig, offload: Placement, budget: int = 0) -> Plan:
    """The plan for one placement."""
    return Plan.of(demand(config), offload, budget, float8=config.float8, compile=config.compile)


def demand(config: MemoryConfig) -> placement.Demand:
    """What a call takes of a device's memory."""
    working = _activations(config)
    reserved = dict.fromkeys(_RESERVED, _RESERVED_FLOAT8) if config.float8 else _RESERVED
    spare = {offload: max(working.values()) * part + _CONTEXT for offload, part in reserved.items()}
    return placement.Demand(_weights(config), PHASES, working, spare, _MARGIN)


def _weights(config: MemoryConfig) -> dict[str, placement.Weights]:
    """Bytes of each network."""
    found = {}
    for name, part in config.parts.items():
        wide = 4 if name == "vae" else config.itemsize
        narrow = 1 if config.float8 and name in ("transformer", "text_encoder") else wide
        whole = narrow * (part.parameters - part.kept) + wide * part.kept
        passing = part.outside + PASSING * part.block
        found[name] = placement.Weights(whole, whole if name == "vae" else min(whole, wide * passing))
    return found


def _activations(config: MemoryConfig) -> dict[str, int]:
    """Bytes that each phase works with, beyond weights."""
    rows = config.results * (2 if config.guided else 1)
    target = config.pixels // 256
    texts = config.steps * rows * 640 * config.text_width * config.itemsize
    # Noise, reference, velocity and two sums of tokens of 64 floats; in tiles also the pixels, twice.
    whole = config.results * (config.picture or config.pixels)
    buffers = whole // 256 * 64 * 4 * 5 + (whole * 3 * 4 * 2 if config.picture else 0)
    denoising = _TRANSFORMER * rows * (640 + 2 * target) * config.width * config.itemsize
    decoding = _WORKSPACES * _AUTOENCODER * config.vae_width * (config.decoded or config.pixels)
    return {
        "read": _READING,
        "encode": int(decoding) + buffers,
        "connect": 2 * texts + buffers,
        "denoise": int(denoising) + texts + buffers,
        "decode": int(decoding) + buffers,
    }
