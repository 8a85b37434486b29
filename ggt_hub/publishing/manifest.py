"""`hub.toml`: every repository that is published, where its files are, and its version."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggt_hub.errors import PublishError
from ggt_hub.revisions import NAMESPACE, OURS

PACKAGE = Path(__file__).resolve().parents[1]
"""Where `ggt_hub` is installed: in a checkout, or in an environment."""

KINDS = {"dataset": "dataset", "model": "model", "metric": "space", "demo": "space", "leaderboard": "space"}
"""What a listing is -> what the Hub calls it."""

SDKS = {"metric": "gradio", "demo": "gradio", "leaderboard": "static"}
"""What runs a Space of this kind."""

_PLACES = (Path("hub.toml"), PACKAGE / "publishing/source/hub.toml", PACKAGE.parent / "hub.toml")

_KEYS = {"kind", "name", "version", "folder", "card", "made_by", "results"}


@dataclass(frozen=True)
class Listing:
    """One repository to publish.

    Attributes:
        kind: a key of `KINDS`.
        name: its name, below the namespace.
        version: such as "1.0.0"; the tag is `v1.0.0`.
        folder: its files; None for a repository that is a card alone.
        card: its README.md where that is not in the folder. A folder beside it of the same name without `.md`
            holds what belongs to the card: pictures, `.eval_results`.
        made_by: the command that makes the folder, for those that are not in the source tree.
        results: output folders of `ggt-hub bench` runs: their `.eval_results` are published, and the card may
            show their tables as `{{ results }}`.
    """

    kind: str
    name: str
    version: str
    folder: Path | None = None
    card: Path | None = None
    made_by: str = ""
    results: tuple[Path, ...] = ()

    @property
    def tag(self) -> str:
        """The tag of this version."""
        return f"v{self.version}"

    @property
    def repo_type(self) -> str:
        """The Hub's word for its kind: `model`, `dataset` or `space`."""
        return KINDS[self.kind]


@dataclass(frozen=True)
class Manifest:
    """What `hub.toml` says: the repositories in the order of publishing, so that none refers to a later one."""

    namespace: str
    listings: list[Listing]

    def chosen(self, names: list[str]) -> list[Listing]:
        """The listings of these names, or all where none is given.

        Raises:
            PublishError: for a name that is not there.
        """
        known = [listing.name for listing in self.listings]
        for name in names:
            if name not in known:
                raise PublishError(f"there is no {name!r} in the manifest: it has {', '.join(known)}")
        return [listing for listing in self.listings if not names or listing.name in names]


def find_manifest() -> Path:
    """`hub.toml` in the working directory or, where there is none, the one that came with the package."""
    return next((path for path in _PLACES if path.is_file()), _PLACES[0])


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Its paths are relative to the folder that it lies in, but for folders that a command makes: those are relative
    to the working directory. `{package}` in a folder stands for `PACKAGE`, `{here}` in a command for the folder of
    the manifest.

    Raises:
        PublishError: if it cannot be read, says something unknown, or disagrees with `ggt_hub.revisions`.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PublishError(f"{path} does not exist: name the manifest with --manifest") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PublishError(f"{path} cannot be read: {error}") from error
    listings = [_listing(item, path) for item in content.get("repository", [])]
    if not listings:
        raise PublishError(f"{path} names nothing to publish: it needs [[repository]] tables")
    ids = [(listing.repo_type, listing.name) for listing in listings]
    for repeated in {i for i in ids if ids.count(i) > 1}:
        raise PublishError(f"{path} names the {repeated[0]} {repeated[1]!r} twice: give it another name")
    manifest = Manifest(content.get("namespace", NAMESPACE), listings)
    _check_table(manifest, path)
    return manifest


def _listing(item: dict[str, Any], path: Path) -> Listing:
    name = item.get("name", "?")
    unknown = set(item) - _KEYS
    missing = {"kind", "name", "version"} - set(item)
    if unknown or missing:
        problem = f"unknown {', '.join(sorted(unknown))}" if unknown else f"no {', '.join(sorted(missing))}"
        raise PublishError(f"{path}: {name!r} has {problem}; known are {', '.join(sorted(_KEYS))}")
    if item["kind"] not in KINDS:
        raise PublishError(f"{path}: {name!r} is of kind {item['kind']!r}; there is {', '.join(KINDS)}")
    if not re.fullmatch(r"\d+\.\d+\.\d+", item["version"]):
        raise PublishError(f"{path}: {name!r} has version {item['version']!r}; write it like 1.0.0")
    if "folder" not in item and "card" not in item:
        raise PublishError(f"{path}: {name!r} has neither folder nor card: say where its files are")
    here = path.parent
    places: dict[str, Any] = {"results": tuple(here / run for run in item.get("results", ()))}
    if "card" in item:
        places["card"] = here / item["card"]
    if "folder" in item:
        made = "made_by" in item
        places["folder"] = (Path() if made else here) / item["folder"].replace("{package}", str(PACKAGE))
    return Listing(**(item | places | {"made_by": item.get("made_by", "").replace("{here}", str(here))}))


def _check_table(manifest: Manifest, path: Path) -> None:
    """What users are given by default must be what is published."""
    if manifest.namespace != NAMESPACE:
        return
    for listing in manifest.listings:
        tag = OURS.get((listing.repo_type, f"{NAMESPACE}/{listing.name}"))
        if tag != listing.tag:
            raise PublishError(
                f"{path} publishes {listing.name} {listing.tag}, but ggt_hub/revisions.py loads {tag}: "
                "make them agree"
            )
