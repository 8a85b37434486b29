"""The proof after a push: each repository is fetched at its tag, compared byte by byte, and loaded."""

import tempfile
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError

from ggt_hub.commit import file_sha256
from ggt_hub.errors import PublishError
from ggt_hub.publishing.contents import Item
from ggt_hub.publishing.manifest import Listing
from ggt_hub.publishing.push import explained


def prove(listing: Listing, repo_id: str, items: list[Item], revision: str | None = None) -> str:
    """Fetch a repository at its tag, or at another revision, as a user would, and load it.

    Args:
        listing: which repository.
        repo_id: its id on the Hub.
        items: the files that were published.
        revision: None takes the tag of the listing's version.

    Returns:
        What was proven, in a few words.

    Raises:
        PublishError: if a file is missing or differs, or the client cannot load it.
    """
    revision = revision or listing.tag
    with tempfile.TemporaryDirectory(prefix="ggt-hub-proof-") as folder:
        with explained(repo_id):
            snapshot_download(repo_id, repo_type=listing.repo_type, revision=revision, local_dir=folder)
        _compare(Path(folder), repo_id, items)
    try:
        loaded = _load(listing, repo_id, {item.path for item in items}, revision)
    except (HTTPError, OSError, ValueError, RuntimeError, ImportError) as error:
        raise PublishError(f"{repo_id} {revision} is published, but cannot be loaded: {error}") from error
    return f"{len(items)} files as sent{loaded}"


def _compare(folder: Path, repo_id: str, items: list[Item]) -> None:
    for item in items:
        path = folder / item.path
        if not path.is_file() or file_sha256(path) != item.sha256:
            problem = "differs from what was sent" if path.is_file() else "did not come back"
            raise PublishError(
                f"{repo_id}: {item.path} {problem}; do not use this version: raise it, and publish again"
            )


def _load(listing: Listing, repo_id: str, paths: set[str], revision: str) -> str:
    """Load with the library that its users have, and say so. A card alone, the demo and the leaderboard are not."""
    if listing.kind == "dataset":
        return _load_dataset(repo_id, revision)
    if listing.kind == "metric":
        return _load_metric(listing, repo_id)
    return _load_model(listing, repo_id) if "model_index.json" in paths else ""


def _load_dataset(repo_id: str, revision: str) -> str:
    import datasets

    rows = 0
    configs = datasets.get_dataset_config_names(repo_id, revision=revision)
    for config in configs:
        splits = datasets.load_dataset(repo_id, config, revision=revision, streaming=True)
        rows += sum(1 for split in splits.values() for _ in split.decode(False).take(1))
    if not rows:
        raise PublishError(f"{repo_id} {revision} loads, but has no rows")
    return f", loaded by datasets ({', '.join(configs)})"


def _load_metric(listing: Listing, repo_id: str) -> str:
    import evaluate

    return f", loaded by evaluate ({evaluate.load(repo_id, revision=listing.tag).name})"


def _load_model(listing: Listing, repo_id: str) -> str:
    from ggt_hub.pipelines import RestorerPipeline

    return f", loaded as {type(RestorerPipeline.from_pretrained(repo_id, revision=listing.tag)).__name__}"
