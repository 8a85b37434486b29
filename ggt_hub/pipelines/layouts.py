"""How what a person names is found, and recognised as a restorer: by an ordered list that anybody may extend."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import metadata_load

from ggt_hub.converters.checkpoint import read_json
from ggt_hub.converters.dreamclear_names import is_published_dreamclear
from ggt_hub.converters.realrestorer_names import is_published
from ggt_hub.errors import RestorerError
from ggt_hub.hub import snapshot

if TYPE_CHECKING:
    from ggt_hub.pipelines.base import RestorerPipeline

logger = logging.getLogger(__name__)

BUNDLED = Path(__file__).parent / "bundled"
"""Restorers that are part of the package: one folder each, as `save_pretrained` writes it."""

PIPELINES: dict[str, str] = {
    "CompactRestorerPipeline": "ggt_hub.pipelines.compact",
    "DreamClearPipeline": "ggt_hub.pipelines.dreamclear",
    "IQPIRPipeline": "ggt_hub.pipelines.iqpir",
    "RealRestorerPipeline": "ggt_hub.pipelines.realrestorer",
}
"""Class named in a repository's `model_index.json` -> the module that holds it."""

BASELINES = ("identity", "gain", "opencv:nlm", "skimage:tv", "skimage:wavelet")
"""What `peers.BASELINES` computes, so that a name is known before anything is imported."""

EDITORS = (
    "Flux2KleinPipeline",
    "Flux2Pipeline",
    "FluxKontextPipeline",
    "LongCatImageEditPipeline",
    "QwenImageEditPipeline",
    "QwenImageEditPlusPipeline",
    "StableDiffusionInstructPix2PixPipeline",
    "StableDiffusionXLInstructPix2PixPipeline",
)
"""Stock pipelines of diffusers that edit a picture by a prompt, and need nothing else."""

WHERE = ("revision", "token", "cache_dir", "local_files_only")
"""The arguments of `from_pretrained` that say where a repository lies."""

_INDEX = "model_index.json"
_CHECKPOINTS = (".safetensors", ".pth", ".pt", ".ckpt")


@dataclass(frozen=True)
class Layout:
    """A form in which restorers come.

    Attributes:
        name: in words, as a refusal lists it.
        recognises: whether a place has this form: a file, a folder, or the path of nothing, which is a bare name.
            It reads little.
        restorer: the class of the restorer in a place, whose weights are not read for that.
        loader: the class method of it that loads from there; it takes the place and what `from_pretrained` was
            given beyond `WHERE`.
    """

    name: str
    recognises: Callable[[Path], bool]
    restorer: Callable[[Path], type["RestorerPipeline"]]
    loader: str = "from_folder"

    def load(self, place: Path, **kwargs: Any) -> "RestorerPipeline":
        """The restorer in a place."""
        return getattr(self.restorer(place), self.loader)(place, **kwargs)


def find(source: str | Path, where: dict[str, Any]) -> tuple[Layout, Path]:
    """The layout of what `source` stands for, and the place where that lies.

    Args:
        source: as `RestorerPipeline.from_pretrained` takes it.
        where: arguments of `ggt_hub.hub.snapshot`.

    Raises:
        HubError: if exactly this repository and revision cannot be had.
        RestorerError: if no layout recognises it; the message lists those that there are.
    """
    place = _place(source, where)
    for layout in LAYOUTS:
        if layout.recognises(place):
            return layout, place
    raise _unknown(source, place)


def locate(source: str | Path, where: dict[str, Any]) -> Path:
    """The folder that `source` stands for.

    Raises:
        HubError: if exactly this repository and revision cannot be had.
        RestorerError: if there is no such folder.
    """
    place = _place(source, where)
    if not place.is_dir():
        raise _unknown(source, place)
    return place


def _place(source: str | Path, where: dict[str, Any]) -> Path:
    """Where `source` lies; of a card without weights, where the weights lie which it describes."""
    place = _first_place(source, where)
    if (original := _described_only(place)) is None:
        return place
    logger.warning("%s is a card without weights: loading %s, which it describes", source, original)
    return _first_place(original, {key: value for key, value in where.items() if key != "revision"})


def _first_place(source: str | Path, where: dict[str, Any]) -> Path:
    """The package's own folder, a local file or folder, a snapshot from the Hub; else the path of a bare name."""
    text, place = str(source), Path(source).expanduser()
    if (BUNDLED / text / _INDEX).is_file():
        place = BUNDLED / text
    elif not place.exists() and text.count("/") == 1 and not text.startswith((".", "~", "/")):
        return snapshot(text, **where)
    if where.get("revision") is not None:
        raise RestorerError(f"{place.name!r} is a local restorer: it has no revision {where['revision']!r}")
    return place


def _described_only(folder: Path) -> str | None:
    """The repository whose weights a card describes that stands alone (with pictures at most)."""
    if not (folder / "README.md").is_file():
        return None
    files = {path.suffix.lower() for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}
    if files - {".md", ".png", ".jpg", ".jpeg", ".webp"}:
        return None
    header = metadata_load(folder / "README.md") or {}
    original = header.get("base_model")
    return original if isinstance(original, str) else None


def _unknown(source: str | Path, place: Path) -> RestorerError:
    known = "; ".join(layout.name for layout in LAYOUTS)
    if place.exists():
        return RestorerError(f"{place} is not a restorer, which would be one of: {known}")
    names = ", ".join(repr(path.name) for path in sorted(BUNDLED.iterdir()) if path.is_dir())
    return RestorerError(
        f"no restorer at {str(source)!r}: give an id on the Hub (namespace/name), one that ships with the package "
        f"({names}), or one of: {known}"
    )


def pipeline_class(folder: Path) -> type["RestorerPipeline"]:
    """The class that a saved restorer names; its module is imported now, not before.

    Raises:
        RestorerError: if the index is damaged, or names none of ours.
    """
    index = folder / _INDEX
    try:
        name = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
        name = name[1] if isinstance(name, list) else name  # a file of the repository, and the class in it
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RestorerError(f"{index} is damaged: {error!r}") from error
    if name not in PIPELINES:
        raise RestorerError(
            f"{folder} holds a {name}: ggt-hub knows {', '.join(PIPELINES)}; load it with diffusers"
        )
    return load_pipeline_class(name)


def load_pipeline_class(name: str) -> type["RestorerPipeline"]:
    """The class of that name among `PIPELINES`; its module is imported now, not before."""
    return getattr(import_module(PIPELINES[name]), name)


def _is_face_network(place: Path) -> bool:
    """Whether a folder holds a CodeFormer alone, as `ggt-hub convert iqpir` writes it."""
    return (place / "config.json").is_file() and read_json(place / "config.json").get(
        "_class_name"
    ) == "CodeFormer"


def _is_editor(place: Path) -> bool:
    """Whether a folder holds a stock pipeline that edits by instruction."""
    return (place / _INDEX).is_file() and read_json(place / _INDEX).get("_class_name") in EDITORS


def _peer(name: str) -> Callable[[Path], type["RestorerPipeline"]]:
    return lambda place: getattr(import_module("ggt_hub.pipelines.peers"), name)


LAYOUTS: list[Layout] = [
    Layout(
        f"a baseline ({', '.join(BASELINES)})",
        lambda place: str(place) in BASELINES,
        _peer("BaselinePipeline"),
        "from_name",
    ),
    Layout(
        f"a file with weights that spandrel knows ({', '.join(_CHECKPOINTS)})",
        lambda place: place.suffix.lower() in _CHECKPOINTS and place.is_file(),
        _peer("SpandrelPipeline"),
        "from_file",
    ),
    Layout(
        "RealRestorer's published bundle",
        is_published,
        lambda place: load_pipeline_class("RealRestorerPipeline"),
        "from_published",
    ),
    Layout(
        "DreamClear's published files",
        is_published_dreamclear,
        lambda place: load_pipeline_class("DreamClearPipeline"),
        "from_published",
    ),
    Layout(
        "an instruction editor of diffusers (Qwen-Image-Edit, FLUX Kontext, ...)",
        _is_editor,
        lambda place: import_module("ggt_hub.pipelines.editor").EditorPipeline,
        "from_editor",
    ),
    Layout(
        f"a folder that save_pretrained wrote ({_INDEX})",
        lambda place: (place / _INDEX).is_file(),
        pipeline_class,
    ),
    Layout(
        "a network of faces that ggt-hub convert wrote (config.json)",
        _is_face_network,
        lambda place: load_pipeline_class("IQPIRPipeline"),
        "from_network",
    ),
]
"""The forms in which restorers come, looked at in this order; one that is put in front is asked first."""
