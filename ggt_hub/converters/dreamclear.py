"""DreamClear's published files into a folder that `from_pretrained` loads.

Its authors publish pickles, the largest of 8.9 GB. They are read without running what is in them, and written as
safetensors in shards: one shard is in memory at a time, and what is done stays done when the work is cut off.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, T5Config, T5EncoderModel, T5Tokenizer
from transformers.convert_slow_tokenizer import import_protobuf

from ggt_hub.commit import RECORDS, commit_json, commit_text, file_sha256
from ggt_hub.converters.checkpoint import AGAIN, Checkpoint, Destination, one_line, plan, read_json
from ggt_hub.converters.dreamclear_names import (
    AUTOENCODER,
    PRE_CLEANER,
    TEXT_ENCODER,
    WEIGHTS,
    settings_of,
    transformer_destinations,
)
from ggt_hub.converters.networks import published_network
from ggt_hub.converters.pickles import PickledTensors, explained
from ggt_hub.errors import RestorerError
from ggt_hub.models import DreamClearTransformer2DModel
from ggt_hub.shards import Shard, remove_result, results, run_shards

PUBLISHED = [WEIGHTS, PRE_CLEANER, f"{AUTOENCODER}/*", f"{TEXT_ENCODER}/*"]
"""What is needed of the repository: not the networks that the authors evaluate with."""

SHARD = 2 * 10**9
"""Bytes of the largest shard."""

LICENCE = (
    "labelled Apache-2.0 by its authors. The backbone inside is PixArt-alpha's, whose weights are under the "
    "CreativeML Open RAIL++-M License: its restrictions of use travel with weights derived from them. T5 1.1 is "
    "under Apache-2.0, the autoencoder under MIT; for the pre-cleaner's weights no licence is stated."
)

_SCALING = 0.18215  # of the autoencoder; its published configuration leaves it out


@dataclass(frozen=True)
class Piece:
    """A tensor to be written.

    Attributes:
        name: that it gets.
        source: that it is read from.
        place: which part of that it is.
        dtype: that it is written in.
        shape: of it.
    """

    name: str
    source: str
    place: Destination
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class SafeTensors:
    """Safetensors of published names, as `PickledTensors` gives pickles."""

    def __init__(self, source: Path) -> None:
        stored = Checkpoint(source)
        self.source, self.shapes, self.narrowest = source, stored.shapes, stored.narrowest

    def read(self, name: str) -> Tensor:
        """One of the tensors."""
        with safe_open(self.source, framework="pt") as file:
            return file.get_tensor(name)


Reader = PickledTensors | SafeTensors


def convert_dreamclear(
    source: Path,
    target: Path,
    *,
    dtype: torch.dtype | None = None,
    heads: int | None = None,
    largest: int = SHARD,
) -> list[str]:
    """Write the published files in our own layout.

    Needs the memory of the largest shard. Called again after it was cut off, it goes on with what is not done.

    Args:
        source: the published repository, downloaded; or the file of the transformer among its other files.
        target: folder to write, which holds a restorer when all is done, and not before.
        dtype: of transformer and text encoder; None means as published. What the transformer keeps in float32
            stays so.
        heads: of the transformer's attention; None means heads of 72, as published.
        largest: bytes of the largest shard.

    Returns:
        The parts that were not there, and are not needed by every call: `pre_cleaner`, `text_encoder`.

    Raises:
        RestorerError: if a file is missing or damaged, holds anything besides tensors, or is another network's.
        WriteError: if `target` cannot be written.
    """
    folder, weights = (source, source / WEIGHTS) if source.is_dir() else (source.parent, source)
    reader = _reader(weights)
    network, pieces = _transformer(reader, dtype, heads)
    absent = [
        part
        for part, name in (("pre_cleaner", PRE_CLEANER), ("text_encoder", TEXT_ENCODER))
        if not (folder / name).exists()
    ]
    vae = _autoencoder(folder / AUTOENCODER)  # the small parts first: what is wrong with them costs no time
    cleaner = None if "pre_cleaner" in absent else published_network("swinir", folder / PRE_CLEANER)
    encoder = None if "text_encoder" in absent else TextEncoder.of(folder / TEXT_ENCODER, dtype)

    _write(target / "transformer", network.save_config, [reader], pieces, largest, "diffusion_pytorch_model")
    for name, part in (("vae", vae), ("pre_cleaner", cleaner)):
        if part is not None:
            part.save_pretrained(target / name)
    published_scheduler().save_pretrained(target / "scheduler")
    if encoder is not None:
        encoder.tokenizer.save_pretrained(target / "tokenizer")
        _write(
            target / "text_encoder",
            encoder.config.save_pretrained,
            encoder.readers,
            encoder.pieces,
            largest,
            "model",
        )
    commit_text(target / "README.md", _card(weights, absent))
    commit_json(target / "model_index.json", _index(absent, encoder))
    return absent


def published_scheduler() -> DDPMScheduler:
    """The sampler that the weights were trained for: improved DDPM with a learned range of variance."""
    return DDPMScheduler(
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        variance_type="learned_range",
        clip_sample=False,
        timestep_spacing="linspace",
        prediction_type="epsilon",
    )


def _reader(file: Path) -> Reader:
    if file.suffix == ".safetensors":
        return SafeTensors(file)
    return PickledTensors(file)


def _transformer(
    reader: Reader, dtype: torch.dtype | None, heads: int | None
) -> tuple[DreamClearTransformer2DModel, list[Piece]]:
    """The transformer on `meta`, and what is to be written of it."""
    shapes = reader.shapes
    try:
        with torch.device("meta"):
            network = DreamClearTransformer2DModel(**settings_of(shapes, heads))
    except Exception as error:  # sizes that belong to no network break it in every way
        reason = one_line(error)
        raise RestorerError(
            f"{reader.source} is no transformer of DreamClear's ({reason}): {AGAIN}"
        ) from error
    try:
        made = plan(shapes, transformer_destinations(shapes), {"transformer": network})
    except RestorerError as error:
        raise RestorerError(f"{reader.source} is no whole transformer of DreamClear's: {error}") from error
    kept, tensors = network._keep_in_fp32_modules, network.state_dict()
    return network, [
        Piece(
            to.name,
            name,
            to,
            torch.float32 if any(part in to.name for part in kept) else dtype or reader.narrowest,
            tuple(tensors[to.name].shape),
        )
        for name, places in made.items()
        for to in places
    ]


@dataclass(frozen=True)
class TextEncoder:
    """T5 as published, and what is to be written of it.

    Attributes:
        config: of it.
        tokenizer: of it.
        readers: its files.
        pieces: its tensors; `source` says file and name.
    """

    config: T5Config
    tokenizer: Any
    readers: Sequence[Reader]
    pieces: list[Piece]

    @classmethod
    def of(cls, folder: Path, dtype: torch.dtype | None) -> "TextEncoder":
        """Describe what lies in a folder.

        Raises:
            RestorerError: if something is missing, damaged, or not of a T5.
        """
        described = read_json(folder / "config.json")
        if described.get("model_type") != "t5":
            raise RestorerError(f"{folder}/config.json is missing or not of a T5: {AGAIN}")
        files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
        readers = [_reader(file) for file in files]
        shapes = {name: shape for reader in readers for name, shape in reader.shapes.items()}
        try:
            config = T5Config.from_dict(described)
            if config.num_layers > len(shapes):
                raise ValueError(f"{config.num_layers} layers, and {len(shapes)} tensors are stored")
            with torch.device("meta"):
                wanted = T5EncoderModel(config).state_dict()
        except Exception as error:
            raise RestorerError(f"{folder} describes no text encoder: {one_line(error)}: {AGAIN}") from error
        wanted.pop("encoder.embed_tokens.weight", None)  # the same as `shared`
        for name, tensor in wanted.items():
            if shapes.get(name) != tuple(tensor.shape):
                raise RestorerError(f"{folder}: {name} is missing, or of another size: {AGAIN}")
        kind = readers[0].narrowest if dtype is None else dtype
        kind = torch.bfloat16 if kind == torch.float16 else kind  # T5's states exceed what float16 holds
        pieces = [
            Piece(name, name, Destination("text_encoder", name), kind, tuple(tensor.shape))
            for name, tensor in wanted.items()
        ]
        config.architectures = ["T5EncoderModel"]
        return cls(config, _tokenizer(folder), readers, pieces)


def _tokenizer(folder: Path) -> Any:
    """T5's tokenizer; its words come from SentencePiece's file where there is no `tokenizer.json`."""
    pieces, length = folder / "spiece.model", {"model_max_length": 512}
    try:
        if (folder / "tokenizer.json").is_file():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        described = import_protobuf().ModelProto()
        described.ParseFromString(pieces.read_bytes())
        words = [(piece.piece, piece.score) for piece in described.pieces]
        extra = [(f"<extra_id_{number}>", 0.0) for number in reversed(range(100))]
        charsmap = described.normalizer_spec.precompiled_charsmap or None
        return T5Tokenizer(vocab=words + extra, _spm_precompiled_charsmap=charsmap, **length)
    except ImportError as error:
        raise RestorerError(f"{pieces} needs protobuf to be read: run `pip install protobuf`") from error
    except Exception as error:  # files of strangers break loaders in every way
        raise RestorerError(f"{folder}: no tokenizer can be read ({one_line(error)}): {AGAIN}") from error


def _autoencoder(folder: Path) -> AutoencoderKL:
    """Stable Diffusion's autoencoder, whichever names its release of diffusers had for attention."""
    if not folder.is_dir():
        raise RestorerError(f"{folder}, the autoencoder, is missing: download the whole repository")
    weights = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.bin"))]
    if not weights:
        raise RestorerError(f"{folder} holds no weights: {AGAIN}")
    with explained(weights[0]):
        vae, report = AutoencoderKL.from_pretrained(
            folder,
            local_files_only=True,
            output_loading_info=True,
            torch_dtype=torch.float32,
            use_safetensors=weights[0].suffix == ".safetensors",
        )
    if problems := [name for key in ("missing_keys", "mismatched_keys") for name in report[key]]:
        raise RestorerError(f"{folder} is not a whole autoencoder: {problems[:5]}: {AGAIN}")
    if "scaling_factor" not in read_json(folder / "config.json"):
        vae.register_to_config(scaling_factor=_SCALING)
    return vae


def _write(
    folder: Path,
    save_config: Callable[[Path], Any],
    readers: Sequence[Reader],
    pieces: Sequence[Piece],
    largest: int,
    stem: str,
) -> None:
    """Write tensors in shards, with the index and the configuration that loaders look for."""
    groups = list(_shards(pieces, largest))
    names = [_shard_name(stem, number, len(groups)) for number in range(len(groups))]
    files = [reader.source for reader in readers]
    state = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    asked = {"files": state, "dtypes": [str(piece.dtype) for piece in pieces], "largest": largest}
    shards = [Shard(name, (group,)) for name, group in zip(names, groups, strict=True)]
    run_shards(partial(_write_shard, readers), shards, folder, settings=asked, title=folder.name)
    for name in set(results(folder, "")) - set(names):  # of an earlier run in another precision
        remove_result(folder, name)
    if len(groups) > 1:
        where = {piece.name: name for name, group in zip(names, groups, strict=True) for piece in group}
        total = sum(piece.nbytes for piece in pieces)
        commit_json(
            folder / f"{stem}.safetensors.index.json",
            {"metadata": {"total_size": total}, "weight_map": where},
        )
    save_config(folder)
    shutil.rmtree(folder / RECORDS)


def _write_shard(readers: Sequence[Reader], pieces: Sequence[Piece], path: Path) -> dict[str, Any]:
    """Write one shard; each published tensor is read for each of its parts, and let go of."""
    owners = {name: reader for reader in readers for name in reader.shapes}
    tensors = {
        piece.name: piece.place.take(owners[piece.source].read(piece.source)).to(piece.dtype).contiguous()
        for piece in pieces
    }
    save_file(tensors, path, {"format": "pt"})
    return {}


def _shards(pieces: Sequence[Piece], largest: int) -> Iterator[list[Piece]]:
    """Pieces that share a shard, in their order."""
    group: list[Piece] = []
    for piece in pieces:
        if group and sum(one.nbytes for one in group) + piece.nbytes > largest:
            yield group
            group = []
        group.append(piece)
    yield group


def _shard_name(stem: str, number: int, count: int) -> str:
    return f"{stem}.safetensors" if count == 1 else f"{stem}-{number + 1:05}-of-{count:05}.safetensors"


def _index(absent: Sequence[str], encoder: TextEncoder | None) -> dict[str, Any]:
    """The index of the pipeline."""
    parts: dict[str, tuple[str, str] | tuple[None, None]] = {
        "transformer": ("ggt_hub.models", "DreamClearTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "scheduler": ("diffusers", "DDPMScheduler"),
        "pre_cleaner": ("ggt_hub.models", "SwinIR"),
        "text_encoder": ("transformers", "T5EncoderModel"),
        "tokenizer": ("transformers", type(encoder.tokenizer).__name__) if encoder else (None, None),
        "captioner": (None, None),
        "captioner_processor": (None, None),
        "quality_prior": (None, None),
    }
    return {
        "_class_name": "DreamClearPipeline",
        "_diffusers_version": diffusers.__version__,
        "minimum_size": 1024,
    } | {name: [None, None] if name in absent else list(part) for name, part in parts.items()}


def _card(weights: Path, absent: Sequence[str]) -> str:
    left_out = f"\nNot among the files that were converted: {', '.join(absent)}.\n" if absent else ""
    return f"""---
library_name: diffusers
pipeline_tag: image-to-image
license: other
license_name: apache-2.0-with-an-openrail-backbone
---

# DreamClear

Converted by ggt-hub from `{weights.name}`, SHA-256 `{file_sha256(weights)}`, and the files beside it; the numbers
are unchanged, but for the precision that was asked for.

```python
from ggt_hub import RestorerPipeline

pipe = RestorerPipeline.from_pretrained("this folder")
```
{left_out}
Origin: Yuang Ai et al., DreamClear: High-Capacity Real-World Image Restoration with Privacy-Safe Dataset Curation,
NeurIPS 2024, arXiv 2410.18666; https://github.com/shallowdream204/DreamClear

Licence: {LICENCE}
"""
