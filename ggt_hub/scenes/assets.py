"""What may be used besides the picture: a folder of pictures and clips, and networks for depth and masks."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ggt_hub.errors import DegradationError, HubError, ImageError
from ggt_hub.images.shown import shown_rgb
from ggt_hub.scenes.blending import Mixer, Refiner, find_blender
from ggt_hub.scenes.clips import CLIPS, read_clip
from ggt_hub.scenes.networks import Depth, Masks
from ggt_hub.scenes.tables import find_tables, unpacked

Array = NDArray[np.float32]

Kind = Literal["clips", "flare", "fog", "moire", "pictures", "rain", "snow"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""The subfolders of an assets folder: patterns to lay over pictures, second pictures, and clips."""

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif"}


class Named(TypedDict):
    """How a record names a file: its place in the kind's folder, and its SHA-256."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Assets:
    """What families may use besides the picture; where something is not given, they do without or make it up.

    Attributes:
        folder: has a subfolder for each kind that there is, one of `KINDS`.
        depth: the network for depth.
        masks: the network for regions.
        mixer: the network that mixes reflections.
        refiner: the network that refines moire.
    """

    folder: Path | None = None
    depth: Depth | None = None
    masks: Masks | None = None
    mixer: Mixer | None = None
    refiner: Refiner | None = None

    @classmethod
    def open(
        cls,
        source: str | Path | None = None,
        *,
        depth: str | Path | None = None,
        masks: str | Path | None = None,
        weights: str | Path | Sequence[str | Path] = (),
    ) -> "Assets":
        """Look at what there is.

        Args:
            source: a folder with a subfolder for each kind, one of `KINDS`, or the Hub id of a dataset laid out so,
                or with a config for each. What is in Parquet is unpacked into the cache folder.
            depth: Hub id or folder of a network for depth, such as `depth-anything/Depth-Anything-V2-Small-hf`.
            masks: the same for masks, such as `facebook/sam-vit-base`.
            weights: Hub ids or folders of the published networks that blend, SynNet for reflections and
                UniDemoire's for moire; their files say which they are.

        Raises:
            DegradationError: if the folder or dataset cannot be had, has no subfolder of these names, or one
                holds nothing that can be used.
            HubError: if a network cannot be had; it is loaded when it is first used.
        """
        folder = None if source is None else _folder(source)
        blenders = [find_blender(one) for one in ([weights] if isinstance(weights, (str, Path)) else weights)]
        opened = cls(
            folder,
            None if depth is None else Depth.find(depth),
            None if masks is None else Masks.find(masks),
            next((one for one in blenders if isinstance(one, Mixer)), None),
            next((one for one in blenders if isinstance(one, Refiner)), None),
        )
        if folder is not None:
            kinds = [kind for kind in KINDS if (folder / kind).is_dir() or find_tables(folder, kind)]
            if not kinds:
                raise DegradationError(
                    f"{source} has no folder of assets: put pictures or clips, or Parquet that holds them, into "
                    f"subfolders named {', '.join(KINDS)}"
                )
            for kind in kinds:
                if not opened.files(kind):
                    raise DegradationError(
                        f"{folder / kind} holds no {_what(kind)}: put some there, or remove the folder"
                    )
        return opened

    @property
    def depth_by(self) -> str | None:
        """How records name the network for depth; None if there is none."""
        return None if self.depth is None else self.depth.identity

    @property
    def masks_by(self) -> str | None:
        """How records name the network for masks; None if there is none."""
        return None if self.masks is None else self.masks.identity

    @property
    def mixed_by(self) -> str | None:
        """How records name the network that mixes reflections; None if there is none."""
        return None if self.mixer is None else self.mixer.identity

    @property
    def refined_by(self) -> str | None:
        """How records name the network that refines moire; None if there is none."""
        return None if self.refiner is None else self.refiner.identity

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what is used, as plain JSON; empty if there is nothing."""
        told: dict[str, Any] = {"depth": self.depth_by, "masks": self.masks_by}
        told |= {"mixer": self.mixed_by, "refiner": self.refined_by}
        for kind in KINDS:
            told[kind] = [_sha256(path) for path in self.files(kind).values()]
        return {name: value for name, value in told.items() if value}

    def files(self, kind: str) -> Mapping[str, Path]:
        """The pictures or clips of a kind by name, their place in the kind's folder."""
        return {} if self.folder is None else _files(self.folder, kind)

    def pick(self, rng: Generator, kind: Kind, fewest: int = 1, most: int = 1) -> list[Named]:
        """Choose some, each at most once, as records name them; an empty list, and no draw, if there are none."""
        files = [*self.files(kind).items()]
        if not files:
            return []
        most = min(most, len(files))
        count = int(rng.integers(min(fewest, most), most + 1))
        chosen = [files[n] for n in rng.choice(len(files), count, replace=False)]
        return [{"name": name, "sha256": _sha256(path)} for name, path in chosen]

    def picture(self, kind: str, named: Named) -> Array:
        """See `Scene.asset`."""
        return _picture(self._find(kind, named)).astype(np.float32) / np.float32(255.0)

    def clip(self, named: Named) -> list[NDArray[np.uint8]]:
        """See `Scene.clip`."""
        return read_clip(self._find("clips", named))

    def depth_of(self, picture: Array, by: str) -> Array:
        """See `Scene.depth`."""
        if self.depth is None or self.depth_by != by:
            raise DegradationError(
                f"the record's depth is by the network {by}, and {self.depth_by or 'none'} is given: open the "
                "assets with it as `depth`"
            )
        return self.depth(picture)

    def masks_of(self, picture: Array, by: str) -> NDArray[np.int32]:
        """See `Scene.masks`."""
        if self.masks is None or self.masks_by != by:
            raise DegradationError(
                f"the record's masks are by the network {by}, and {self.masks_by or 'none'} is given: open the "
                "assets with it as `masks`"
            )
        return self.masks(picture)

    def weights_of(self, first: Array, second: Array, by: str) -> Array:
        """See `Scene.weights`."""
        if self.mixer is None or self.mixed_by != by:
            raise DegradationError(
                f"the record's reflection is mixed by the network {by}, and {self.mixed_by or 'none'} is given: "
                "open the assets with it among `weights`"
            )
        return self.mixer.weights(first, second)

    def refined(self, blended: Array, by: str) -> Array:
        """See `Scene.refined`."""
        if self.refiner is None or self.refined_by != by:
            raise DegradationError(
                f"the record's moire is refined by the network {by}, and {self.refined_by or 'none'} is given: "
                "open the assets with it among `weights`"
            )
        return self.refiner.refined(blended)

    def _find(self, kind: str, named: Named) -> Path:
        """The file of that hash: where it was, or wherever else it is now."""
        files = self.files(kind)
        for path in (files.get(named["name"]), *files.values()):
            if path is not None and path.is_file() and _sha256(path) == named["sha256"]:
                return path
        where = "no assets are given" if self.folder is None else f"it is not in {self.folder / kind}"
        raise DegradationError(
            f"the record used {named['name']} (SHA-256 {named['sha256']}) of the kind {kind!r}, and {where}: give "
            "the assets folder that it was made with"
        )


NOTHING = Assets()


def _what(kind: str) -> str:
    return (
        f"clip ({', '.join(sorted(CLIPS))})"
        if kind == "clips"
        else f"picture ({', '.join(sorted(_PICTURES))})"
    )


def _folder(source: str | Path) -> Path:
    if Path(source).is_dir():
        return Path(source)
    from ggt_hub.hub import snapshot

    try:
        return snapshot(str(source), repo_type="dataset")
    except HubError as error:
        raise DegradationError(
            f"the assets {str(source)!r} are neither a folder nor a dataset: {error}"
        ) from error


@cache
def _files(folder: Path, kind: str) -> dict[str, Path]:
    """Those in the subfolder itself, then those that its tables hold."""
    endings = CLIPS if kind == "clips" else _PICTURES
    tables = find_tables(folder, kind)
    roots = [folder / kind, *([unpacked(tables, endings)] if tables else [])]
    return {
        path.relative_to(root).as_posix(): path
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in endings and path.is_file()
    }


def _sha256(path: Path) -> str:
    """Of the file as it is now: hashed again only where it was written since."""
    try:
        state = path.stat()
        return _hash(path, state.st_size, state.st_mtime_ns, state.st_ino)
    except OSError as error:
        raise DegradationError(
            f"the asset {path} cannot be read: {error}: make it readable or remove it"
        ) from error


@cache
def _hash(path: Path, *state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=32)
def _picture(path: Path) -> NDArray[np.uint8]:
    try:
        return shown_rgb(path)
    except ImageError as error:
        raise DegradationError(f"the asset {path} cannot be read: {error}: replace or remove it") from error
