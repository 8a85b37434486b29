"""What RealRestorer needs of a device's memory, known before it runs, and how to make it fit.

Weights are counted exactly. Activations follow from the sizes of the networks; their three factors were found
by running the full-size networks on the `meta` device, which the tests do again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

import torch
from diffusers.hooks import apply_layerwise_casting
from torch import nn

from ggt_hub.errors import RestorerError

if TYPE_CHECKING:
    from ggt_hub.pipelines.realrestorer.pipeline import RealRestorerPipeline

Offload = Literal["none", "model", "group"]

KEPT = ("embed", "norm_q", "norm_k", "norm_added", "norm_out", "layernorm", "ln_q", "^norm", "^proj_out")
"""Layers that keep 16 bits when weights take 8: embeddings and norms, which are small, and the last layer."""

_TRANSFORMER = (
    17.5  # tensors of (rows, tokens, width) that FLUX holds at its peak: MLP, q, k, v, rotary floats
)
_AUTOENCODER = 24.1  # bytes per pixel and channel of the first level, at the decoder's last level, float32
_READING = 300_000_000  # vision and language model over fewer than 1,700 patches and tokens
_CONTEXT = 1_000_000_000  # CUDA context, workspaces and fragmentation


@dataclass(frozen=True)
class Part:
    """A network as the plan sees it.

    Attributes:
        parameters: how many there are.
        largest: how many of them one leaf module holds at most; so many come and go at once when streamed.
        kept: how many keep 16 bits when weights take 8.
    """

    parameters: int
    largest: int
    kept: int

    @classmethod
    def of(cls, network: nn.Module) -> Self:
        """Count a network; it may be on `meta`."""
        leaves = {
            name: sum(p.numel() for p in module.parameters(recurse=False))
            for name, module in network.named_modules()
        }
        kept = sum(size for name, size in leaves.items() if any(re.search(pattern, name) for pattern in KEPT))
        return cls(sum(leaves.values()), max(leaves.values()), kept)


_PUBLISHED = {
    "text_encoder": Part(7_747_169_280, 544_997_376, 546_704_640),
    "connector": Part(536_621_825, 67_125_248, 63_983_616),
    "transformer": Part(11_901_408_320, 56_641_536, 64_144_448),
    "vae": Part(83_819_683, 2_359_808, 1_280),
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
    itemsize: int = 2

    @classmethod
    def of(cls, pipe: "RealRestorerPipeline", **run: int | bool | None) -> Self:
        """The configuration of a pipeline that is loaded, or on `meta`; `run` sets the rest."""
        parts = {name: Part.of(net) for name, net in pipe.components.items() if isinstance(net, nn.Module)}
        return cls(
            parts=parts,
            width=pipe.transformer.inner_dim,
            text_width=pipe.connector.config.hidden_size,
            vae_width=pipe.vae.config.block_out_channels[0],
            itemsize=pipe.connector.dtype.itemsize,
            **run,  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class Plan:
    """How to run within a budget.

    Attributes:
        offload: `none`: all networks stay on the device; `model`: one at a time; `group`: their layers are
            streamed in as they are needed.
        float8: whether transformer and text encoder are kept in 8 bits.
        device: bytes of device memory at the peak.
        host: bytes of main memory that hold what is not on the device.
    """

    offload: Offload
    float8: bool
    device: int
    host: int

    def __str__(self) -> str:
        weights = "8-bit weights" if self.float8 else "weights as loaded"
        how = {"none": "all on the device", "model": "one network at a time", "group": "streamed by layer"}
        return (
            f"{weights}, {how[self.offload]}: {self.device / 1e9:.1f} GB on the device, "
            f"{self.host / 1e9:.1f} GB of main memory"
        )

    def apply(self, pipe: "RealRestorerPipeline", device: torch.device | str) -> None:
        """Bring the pipeline to the device as planned."""
        device = torch.device(device)
        if self.float8:
            for network in filter(None, (pipe.transformer, pipe.text_encoder)):
                apply_layerwise_casting(network, torch.float8_e4m3fn, network.dtype, KEPT)
        if self.offload == "none":
            pipe.to(device)
        elif self.offload == "model":
            pipe.enable_model_cpu_offload(device=device)
        else:
            pipe.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")


def plan_memory(config: MemoryConfig, budget: int) -> Plan:
    """The fastest way to run within `budget` bytes of device memory.

    Nothing of it changes results: 8-bit weights are planned with only where `config` asks for them.

    Raises:
        RestorerError: if no way fits; the message names the smallest budget that would.
    """
    plans = [_plan(config, offload) for offload in ("none", "model", "group")]
    for plan in plans:
        if plan.device <= budget:
            return plan
    raise RestorerError(
        f"RealRestorer does not fit into {budget / 1e9:.1f} GB: it needs {min(p.device for p in plans) / 1e9:.1f} "
        "GB with everything streamed; a smaller size_level or tile needs less"
    )


def parse_memory(text: str) -> int:
    """Bytes of a text such as `16GB` (10^9 each) or `16GiB` (2^30 each).

    Raises:
        RestorerError: if it is nothing of the kind.
    """
    units = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG]i?B)", text.strip())
    if match is None:
        raise RestorerError(f"memory {text!r}: write a number and a unit ({', '.join(units)}), such as 16GB")
    return int(float(match[1]) * units[match[2]])


def _plan(config: MemoryConfig, offload: Offload) -> Plan:
    weights, streamed = _weights(config)
    everything = sum(weights.values())
    working = _activations(config)
    # The network that runs in each phase, and the one that model offload has not sent away yet.
    phases = {
        "read": ("text_encoder", ""),
        "encode": ("vae", "text_encoder"),
        "connect": ("connector", "vae"),
        "denoise": ("transformer", "vae"),
        "decode": ("vae", ""),
    }
    present = {
        "none": dict.fromkeys(phases, everything),
        "model": {phase: sum(weights.get(name, 0) for name in names) for phase, names in phases.items()},
        "group": {phase: 2 * streamed.get(running, 0) for phase, (running, _) in phases.items()},
    }[offload]
    peak = max(present[phase] + working[phase] for phase in phases)
    host = 0 if offload == "none" else everything
    return Plan(offload, config.float8, int(peak + _CONTEXT), int(host))


def _weights(config: MemoryConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of each network, and of what is of it on the device at once when it is streamed."""
    whole, streamed = {}, {}
    for name, part in config.parts.items():
        wide = 4 if name == "vae" else config.itemsize
        narrow = 1 if config.float8 and name in ("transformer", "text_encoder") else wide
        whole[name] = narrow * (part.parameters - part.kept) + wide * part.kept
        streamed[name] = wide * part.largest
    return whole, streamed


def _activations(config: MemoryConfig) -> dict[str, int]:
    """Bytes that each phase works with, beyond weights."""
    rows = config.results * (2 if config.guided else 1)
    target = config.pixels // 256
    texts = config.steps * rows * 640 * config.text_width * config.itemsize
    # Noise, reference, velocity and two sums of tokens of 64 floats; in tiles also the pixels, twice.
    whole = config.results * (config.picture or config.pixels)
    buffers = whole // 256 * 64 * 4 * 5 + (whole * 3 * 4 * 2 if config.picture else 0)
    denoising = _TRANSFORMER * rows * (640 + 2 * target) * config.width * config.itemsize
    decoding = _AUTOENCODER * config.vae_width * (config.decoded or config.pixels)
    return {
        "read": _READING,
        "encode": int(decoding) + buffers,
        "connect": 2 * texts + buffers,
        "denoise": int(denoising) + texts + buffers,
        "decode": int(decoding) + buffers,
    }
