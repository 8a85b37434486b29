"""A folder of pairs to a dataset repository: checked before, one commit, and fetched again to prove it."""

from pathlib import Path

import yaml
from huggingface_hub import CommitOperationAdd, HfApi

from ggt_hub.errors import PublishError
from ggt_hub.publishing.contents import CARD, Item, gather
from ggt_hub.publishing.manifest import Listing
from ggt_hub.publishing.proof import prove
from ggt_hub.publishing.push import ask_about_card, check_rights, explained, look
from ggt_hub.publishing.refusals import check

_NO_LICENCE = (None, "", "unknown", ["unknown"])


def push_data(
    folder: Path, repo_id: str, api: HfApi, *, private: bool = False, overwrite: bool = False
) -> tuple[str, str]:
    """Bring a data set to the Hub. What else is in the repository stays.

    Args:
        folder: what `data export`, `data index` or `degrade --pairs` wrote, its card completed.
        repo_id: `namespace/name`; made if need be.
        api: the client, logged in.
        private: whether a new repository is private.
        overwrite: replace files that the repository has with other content.

    Returns:
        The commit, and what was proven of it in a few words.

    Raises:
        PublishError: before anything is sent: naming all that forbids it (no licence, a card that the Hub refuses,
            pictures that may not be shared, secrets, files that would be replaced); or if the Hub refuses, or what
            comes back differs.
    """
    namespace, _, name = repo_id.partition("/")
    if not name or "/" in name:
        raise PublishError(f"{repo_id!r} is no id like namespace/name")
    if not (folder / CARD).is_file():
        raise PublishError(f"{folder} has no {CARD}: write it with `ggt-hub data export` or `data index`")
    listing = Listing("dataset", name, "0.0.0", folder)
    items = gather(folder)
    if problems := [*check(listing, items), *_licence(items)]:
        raise PublishError(
            f"{folder} cannot be pushed:\n" + "\n".join(f"  {problem}" for problem in problems)
        )
    check_rights(api, namespace)
    ask_about_card(listing, repo_id, items)
    state = look(api, listing, repo_id, items)
    replaced = [path for path in state.from_main.changed if path != ".gitattributes"]
    if replaced and not overwrite:
        shown = ", ".join(replaced[:5]) + (" ..." if len(replaced) > 5 else "")
        raise PublishError(
            f"{repo_id} has other content in {shown}: look at it, then give --overwrite to replace that"
        )
    commit = _commit(api, repo_id, items, {*state.from_main.missing, *replaced}, state.commit, private)
    return commit, prove(listing, repo_id, items, commit)


def _licence(items: list[Item]) -> list[str]:
    (card,) = (item.source for item in items if item.path == CARD)
    text = card.decode() if isinstance(card, bytes) else ""
    header = yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else {}
    known = isinstance(header, dict) and header.get("license") not in _NO_LICENCE
    return [] if known else [f"{CARD} states no licence: write `license:` into its header, as the card asks"]


def _commit(
    api: HfApi, repo_id: str, items: list[Item], paths: set[str], parent: str | None, private: bool
) -> str:
    with explained(repo_id):
        if parent is None:
            api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
            parent = api.repo_info(repo_id, repo_type="dataset").sha
        additions = [CommitOperationAdd(item.path, item.source) for item in items if item.path in paths]
        if not additions:
            return str(parent)
        return api.create_commit(
            repo_id, additions, commit_message="Pairs", repo_type="dataset", parent_commit=parent
        ).oid
