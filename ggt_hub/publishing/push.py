"""Bringing a repository on the Hub to what the working tree says: one commit, one tag, safe to interrupt.

Every step looks at what is there first. So a call that was cut anywhere is completed by the next one: files that
arrived are not sent again, a commit that took effect is not made twice, and a tag is set once and never moved.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from ggt_hub.errors import PublishError
from ggt_hub.publishing.contents import CARD, Item
from ggt_hub.publishing.manifest import SDKS, Listing

_MADE_BY_THE_HUB = ".gitattributes"


@dataclass(frozen=True)
class Difference:
    """What a repository lacks, has otherwise, and has beyond something else (the working tree, a tag): paths."""

    missing: list[str]
    changed: list[str]
    surplus: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.surplus)


@dataclass(frozen=True)
class Remote:
    """What the Hub has of a repository.

    Attributes:
        commit: the newest commit of `main`; None where there is no such repository yet.
        tags: tag -> commit.
        from_main: how `main` differs from the working tree.
        from_tag: how the tag of this version differs; None where it is not set yet.
        published: the tag of what we have published last; None where there is none.
        by_others: what is on `main` only since then, and publishing would undo: path -> `added`, `changed` or
            `deleted`, by whoever did it.
    """

    commit: str | None
    tags: dict[str, str]
    from_main: Difference
    from_tag: Difference | None
    published: str | None = None
    by_others: dict[str, str] = field(default_factory=dict)


def check_rights(api: HfApi, namespace: str) -> None:
    """Make sure that we are logged in, and may write to a namespace.

    Raises:
        PublishError: if not.
    """
    with explained("login"):
        user = api.whoami()
    may_write = {user["name"], *(o["name"] for o in user.get("orgs", ()) if o.get("roleInOrg") != "read")}
    if namespace not in may_write:
        raise PublishError(
            f"{user['name']} may not publish to {namespace!r}: choose one of {', '.join(sorted(may_write))} with "
            "--namespace, or log in as somebody else with `hf auth login`"
        )


def ask_about_card(listing: Listing, repo_id: str, items: list[Item]) -> None:
    """Let the Hub check a card, whose rules change, before anything is changed there.

    Raises:
        PublishError: with what the Hub says is wrong.
    """
    (card,) = (item.source for item in items if item.path == CARD)
    text = card.decode() if isinstance(card, bytes) else card.read_text(encoding="utf-8")
    with explained(repo_id):
        try:
            RepoCard(text, ignore_metadata_errors=True).validate(repo_type=listing.repo_type)
        except ValueError as error:
            raise PublishError(f"{repo_id}: the Hub refuses README.md: {_reasons(str(error))}") from error


def _reasons(answer: str) -> str:
    """The Hub's reasons out of what its client raises, which is the whole answer."""
    try:
        return "; ".join(error["message"] for error in json.loads(answer)["errors"])
    except (ValueError, KeyError, TypeError):
        return _one_line(answer)


def look(api: HfApi, listing: Listing, repo_id: str, items: list[Item]) -> Remote:
    """Compare a repository on the Hub with the working tree; changes nothing.

    Raises:
        PublishError: if the Hub does not answer.
    """
    with explained(repo_id):
        try:
            refs = api.list_repo_refs(repo_id, repo_type=listing.repo_type)
        except RepositoryNotFoundError:
            return Remote(None, {}, Difference([item.path for item in items], [], []), None)
        commit = next(ref.target_commit for ref in refs.branches if ref.name == "main")
        tags = {ref.name: ref.target_commit for ref in refs.tags}
        now = _tree(api, listing, repo_id, commit)
        from_main = _difference(now, items)
        if listing.tag in tags:  # nothing will be changed, whatever others did since
            return Remote(
                commit, tags, from_main, _difference(_tree(api, listing, repo_id, listing.tag), items)
            )
        published = _last_published(api, listing, repo_id, tags)
        before = _tree(api, listing, repo_id, published) if published else {}
        return Remote(commit, tags, from_main, None, published, _undone(before, now, from_main))


def _tree(api: HfApi, listing: Listing, repo_id: str, revision: str) -> dict[str, RepoFile]:
    listed = api.list_repo_tree(repo_id, recursive=True, revision=revision, repo_type=listing.repo_type)
    return {file.path: file for file in listed if isinstance(file, RepoFile)}


def _difference(there: dict[str, RepoFile], items: list[Item]) -> Difference:
    wanted = {item.path: item for item in items}
    common = [path for path in wanted if path in there]
    return Difference(
        missing=[path for path in wanted if path not in there],
        changed=[path for path in common if not _is_same(wanted[path], there[path])],
        surplus=[path for path in there if path not in wanted and path != _MADE_BY_THE_HUB],
    )


def _last_published(api: HfApi, listing: Listing, repo_id: str, tags: dict[str, str]) -> str | None:
    """The newest tag that stands on a commit of ours: others may set tags, but do not give them our titles."""
    versions = sorted(
        (tuple(map(int, tag[1:].split("."))), tag) for tag in tags if re.fullmatch(r"v\d+\.\d+\.\d+", tag)
    )
    for _, tag in reversed(versions):
        newest = api.list_repo_commits(repo_id, repo_type=listing.repo_type, revision=tag)[0]
        if newest.title == _title(listing.name, tag[1:]):
            return tag
    return None


def _undone(before: dict[str, RepoFile], now: dict[str, RepoFile], ours: Difference) -> dict[str, str]:
    """What somebody did after `before`, and a commit of our difference would undo."""
    undone = {
        path: "changed" if path in before else "added"
        for path in [*ours.changed, *ours.surplus]
        if path not in before or before[path].blob_id != now[path].blob_id
    }
    if not before:
        undone.pop(_MADE_BY_THE_HUB, None)
    return dict(sorted((undone | {path: "deleted" for path in ours.missing if path in before}).items()))


def _is_same(item: Item, file: RepoFile) -> bool:
    return item.sha256 == file.lfs.sha256 if file.lfs else item.git_sha1 == file.blob_id


def check_tag(listing: Listing, repo_id: str, remote: Remote) -> None:
    """Refuse to publish other content under a version that exists.

    Raises:
        PublishError: if the tag of this version is there, with other content.
    """
    if remote.from_tag:
        changed = [*remote.from_tag.missing, *remote.from_tag.changed, *remote.from_tag.surplus]
        shown = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
        raise PublishError(
            f"{repo_id} {listing.tag} is published with other content ({shown}), and tags never move: raise the "
            "version in the manifest and in ggt_hub/revisions.py"
        )


def check_others(repo_id: str, remote: Remote) -> None:
    """Refuse to undo what somebody else did on the Hub.

    Raises:
        PublishError: naming each file, and what was done to it.
    """
    if remote.by_others:
        since = (
            f"after {remote.published} was published" if remote.published else "and nothing is published yet"
        )
        files = ", ".join(f"{path} ({how})" for path, how in remote.by_others.items())
        raise PublishError(
            f"{repo_id} was changed on the Hub {since}, and publishing would undo that: {files}: bring it into "
            "the working tree, or give --overwrite-others to lose it"
        )


def push(api: HfApi, listing: Listing, repo_id: str, items: list[Item], remote: Remote) -> bool:
    """Do what is left to be done: make the repository, commit, tag.

    Args:
        api: the client, logged in.
        listing: which repository.
        repo_id: its id on the Hub.
        items: its files.
        remote: what `look` has just found.

    Returns:
        Whether anything was done.

    Raises:
        PublishError: if the Hub refuses or the connection breaks; the next call goes on from there.
    """
    if remote.from_tag is not None:
        return False
    with explained(repo_id):
        commit = remote.commit
        if commit is None:
            sdk = SDKS.get(listing.kind)
            api.create_repo(repo_id, repo_type=listing.repo_type, space_sdk=sdk, exist_ok=True)
            commit = api.repo_info(repo_id, repo_type=listing.repo_type).sha
        if remote.from_main:
            commit = _commit(api, listing, repo_id, items, remote.from_main, commit)
        api.create_tag(repo_id, tag=listing.tag, revision=commit, repo_type=listing.repo_type)
    return True


def _commit(
    api: HfApi,
    listing: Listing,
    repo_id: str,
    items: list[Item],
    difference: Difference,
    parent: str | None,
) -> str:
    """Commit the difference on top of `parent`, and on nothing else; return the new commit."""
    sent = {*difference.missing, *difference.changed}
    additions = [CommitOperationAdd(item.path, item.source) for item in items if item.path in sent]
    deletions = [CommitOperationDelete(path) for path in difference.surplus]
    return api.create_commit(
        repo_id,
        [*additions, *deletions],
        commit_message=_title(listing.name, listing.version),
        repo_type=listing.repo_type,
        parent_commit=parent,
    ).oid


def _title(name: str, version: str) -> str:
    """What our commits are called."""
    return f"{name} {version}"


_AGAIN = "run the same command again: it goes on from what is there"
_TO_DO = {
    401: "check the token with `hf auth whoami`",
    403: "check the token and its rights with `hf auth whoami`",
    408: _AGAIN,
    409: _AGAIN,
    412: _AGAIN,
    429: f"wait, then {_AGAIN}",
}
"""What helps against a refusal, by its status; those of the Hub's own faults (500 and more) pass."""


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what the client raises into one `PublishError` that says what to do."""
    try:
        yield
    except PublishError:
        raise
    except LocalTokenNotFoundError as error:
        raise PublishError("publishing needs a login: run `hf auth login` first") from error
    except OfflineModeIsEnabled as error:
        raise PublishError(
            f"{what}: the Hub was not asked, because offline mode is on: unset HF_HUB_OFFLINE, then run this again"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = _one_line(error.server_message or str(error))
        to_do = _TO_DO.get(
            status, _AGAIN if status >= 500 else "correct that, then run the same command again"
        )
        raise PublishError(f"{what}: the Hub refuses with {status} ({reason}): {to_do}") from error
    except ValueError as error:  # the Hub's verdict on a card
        raise PublishError(f"{what}: {_one_line(str(error))}") from error
    except (HTTPError, OSError, RuntimeError) as error:  # a file that failed to upload is a RuntimeError
        reason = _one_line(str(error)) or type(error).__name__
        raise PublishError(f"{what}: no answer from {ENDPOINT} ({reason}): {_AGAIN}") from error


def _one_line(text: str) -> str:
    return " ".join(text.split())
