"""What DreamClear needs of a device's memory, known before it runs.

Weights are counted exactly. Activations follow from the sizes of the networks; their factors were found by running
the full-size networks without numbers, which the tests do again. Whole pictures and latents stay in main memory,
and every network sees pieces of at most 1024 pixels a side, so nothing here depends on how large a picture is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from torch import nn

from ggt_hub.pipelines import placement
from ggt_hub.pipelines.offload import PASSING, blocks_of, size_of
from ggt_hub.pipelines.placement import Placement, Plan

if TYPE_CHECKING:
    from ggt_hub.pipelines.dreamclear.pipeline import DreamClearPipeline

PHASES = {
    "clean": "pre_cleaner",
    "describe": "captioner",
    "read": "text_encoder",
    "encode": "vae",
    "denoise": "transformer",
    "decode": "vae",
}
"""The phases of a call, and the network that runs in each."""

PIECE = 1024
"""Side of the largest piece that autoencoder and pre-cleaner see."""

_TRANSFORMER = 58.4  # bytes per row, token and channel: streams in float32, twice, and a feed-forward
_CONDITIONS = 12  # bytes per token and channel: two embedded latents and the table of positions, in float32
_AUTOENCODER = 24.1  # bytes per pixel and channel of the first level, at the decoder's last level, float32
_WORKSPACES = 1.65  # convolutions on a GPU, beyond that; measured with the same autoencoder in RealRestorer
_PRE_CLEANER = 780  # bytes per pixel: three maps of 64 channels in float32
_READING = 300_000_000  # text encoder and captioner over a few hundred tokens
_CONTEXT = 600_000_000  # the driver's
_RESERVED: Mapping[Placement, float] = {"none": 0.6, "model": 0.6, "group": 1.25}
_MARGIN = 1.02


@dataclass(frozen=True)
class MemoryConfig:
    """What is to be run; the defaults are the published networks and call, in 16 bits.

    Attributes:
        weights: bytes of each network.
        width: of the transformer's tokens.
        vae_width: channels of the autoencoder's first level. It works in float32.
        pixels: that the transformer sees at once.
        guided: whether each step sees the caption and the empty one, rather than the empty one alone.
    """

    weights: Mapping[str, placement.Weights]
    width: int = 1152
    vae_width: int = 128
    pixels: int = PIECE**2
    guided: bool = True

    @classmethod
    def of(cls, pipe: "DreamClearPipeline", **run: Any) -> Self:
        """The configuration of a pipeline that is loaded, or on `meta`; `run` sets the rest."""
        transformer = pipe.transformer.config
        return cls(
            weights={name: _weights_of(network) for name, network in placement.networks_of(pipe).items()},
            width=transformer.num_attention_heads * transformer.attention_head_dim,
            vae_width=pipe.vae.config.block_out_channels[0],
            **run,
        )


def plan_memory(config: MemoryConfig, phases: Mapping[str, str], budget: int) -> Plan:
    """The fastest way to run within `budget` bytes of device memory.

    Raises:
        RestorerError: if no way fits; the message names the smallest budget that would.
    """
    asked = demand(config, phases)
    plans = [Plan.of(asked, offload, budget) for offload in _RESERVED]
    return placement.fastest(
        plans, budget, "DreamClear", "with everything streamed; a smaller tile needs less"
    )


def demand(config: MemoryConfig, phases: Mapping[str, str]) -> placement.Demand:
    """What a call takes of a device's memory, in the phases whose networks are there."""
    rows, tokens = (2 if config.guided else 1), config.pixels // 256
    decoding = int(_WORKSPACES * _AUTOENCODER * config.vae_width * PIECE**2)
    working = {
        "clean": int(_WORKSPACES * _PRE_CLEANER * PIECE**2),
        "describe": _READING,
        "read": _READING,
        "encode": decoding,
        "denoise": int((_TRANSFORMER * rows + _CONDITIONS) * tokens * config.width),
        "decode": decoding,
    }
    here = {phase: working[phase] for phase in phases}
    spare = {offload: max(here.values()) * part + _CONTEXT for offload, part in _RESERVED.items()}
    return placement.Demand(config.weights, phases, here, spare, _MARGIN)


def _weights_of(network: nn.Module) -> placement.Weights:
    blocks = [size_of([block]) for block in blocks_of(network)]
    whole = size_of([network])
    return placement.Weights(whole, min(whole, whole - sum(blocks) + PASSING * max(blocks, default=0)))
