"""Id + revision -> exact snapshot, online or offline.

The client library falls back to what it has in the cache when the Hub refuses or does not answer, with a line
in the log at most. Here a revision that cannot be had is an error: what is given back is what was asked for.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from ggt_hub.errors import HubError
from ggt_hub.revisions import pinned

T = TypeVar("T")

_BUSY = 429
_tokens: dict[str, str | bool | None] = {}
# Seconds before a Hub is asked again: at once where the connection broke, and then only if it is busy.
_PAUSES = (0.0, 0.5, 1.5)


def snapshot(
    repo_id: str,
    *,
    repo_type: str = "model",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    allow_patterns: str | list[str] | None = None,
) -> Path:
    """Download a repository at one revision, or find it in the cache.

    Args:
        repo_id: `namespace/name`.
        repo_type: `model`, `dataset` or `space`.
        revision: branch, tag or commit; None means the one in `ggt_hub.revisions` or, if it has none, `main`.
        token: an access token; None takes the one that was stored at login, False none.
        cache_dir: where downloads are kept; None means the cache that all Hugging Face libraries share.
        local_files_only: look only in the cache. Offline mode (`HF_HUB_OFFLINE=1`) does the same.
        allow_patterns: take only the files that match, such as `["*.json"]`.

    Returns:
        The folder with the files, read-only by convention; its name is the commit.

    Raises:
        HubError: if exactly this revision cannot be had: no such repository or revision, gated, offline and
            not in the cache, or the Hub does not answer.
    """
    where: dict[str, Any] = {"repo_type": repo_type, "token": token, "cache_dir": cache_dir}
    where["local_files_only"] = local_files_only
    commit = resolve(repo_id, revision=revision, **where)
    download = partial(snapshot_download, repo_id, revision=commit, allow_patterns=allow_patterns, **where)
    with explained(repo_id, repo_type, revision):
        return Path(_asked_again(download))


def check_hashes(folder: Path) -> None:
    """Check the large files of a snapshot against the SHA-256 that the Hub knows them by.

    The client looks at sizes alone. A file that differs is removed, so that the next download fetches it again.

    Args:
        folder: what `snapshot` gave; its large files are links to files named by their hash.

    Raises:
        HubError: naming the first file that differs.
    """
    for path in sorted(folder.rglob("*")):
        stored = path.resolve()
        if not path.is_symlink() or len(stored.name) != 64:  # small files are named by another hash
            continue
        with stored.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != stored.name:
            path.unlink()
            stored.unlink()
            raise HubError(f"{path.name} came with wrong bytes (SHA-256 {found}), and was removed: try again")


def resolve(
    repo_id: str,
    *,
    repo_type: str = "model",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> str:
    """Find the commit (40 hex digits) that a revision names now or, offline, named when it was last seen.

    The arguments and errors are those of `snapshot`. A commit is returned as it is, without asking the Hub.
    """
    revision = revision or pinned(repo_id, repo_type)
    offline = local_files_only or constants.HF_HUB_OFFLINE
    with explained(repo_id, repo_type, revision):
        return (
            _StrictApi(token=token)
            .resolve_revision(
                repo_id,
                repo_type=repo_type,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=offline,
            )
            .resolved
        )


def remember_token(repo_id: str, token: str | bool | None) -> None:
    """Let all later reads of a dataset repository use the token that it was loaded with; None forgets it."""
    _tokens[repo_id] = token


def token_for(uri: str, token: str | bool | None) -> str | bool | None:
    """The token for `hf://datasets/NAMESPACE/NAME@COMMIT/PATH`: the one given, else the remembered one."""
    return _tokens.get(uri.removeprefix("hf://datasets/").partition("@")[0]) if token is None else token


def cached_file(uri: str) -> Path | None:
    """The file at `hf://datasets/NAMESPACE/NAME@COMMIT/PATH` if it was downloaded whole; else None."""
    repo_id, _, rest = uri.removeprefix("hf://datasets/").partition("@")
    commit, _, path = rest.partition("/")
    found = try_to_load_from_cache(repo_id, path, revision=commit, repo_type="dataset")
    return Path(found) if isinstance(found, str) else None


class _StrictApi(HfApi):
    """The client, but for one thing: where the Hub does not answer, it asks again and then raises.

    `resolve_revision`, which remembers its answers for offline use, would fall back to an older answer instead.
    """

    def repo_info(self, repo_id: str, **kwargs: Any) -> Any:
        try:
            return _asked_again(partial(super().repo_info, repo_id, **kwargs))
        except HTTPError as error:
            if _may_pass(error):
                raise _silence(f"{kwargs.get('repo_type')} {repo_id!r}", error) from error
            raise


def _asked_again(ask: Callable[[], T]) -> T:
    """What the client gives, asked again where the Hub is busy or the connection breaks."""
    for pause in _PAUSES:
        try:
            return ask()
        except HTTPError as error:
            # Where nobody answers at all, waiting does not help.
            if not _may_pass(error) or (pause and not isinstance(error, HfHubHTTPError)):
                raise
        time.sleep(pause)
    return ask()


def _may_pass(error: Exception) -> bool:
    """Whether it is no answer of the Hub, or says that the Hub is busy or broken."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    return status is None or status >= 500 or status == _BUSY


def _named(revision: str | None) -> str:
    return f"revision {revision or constants.DEFAULT_REVISION!r}"


@contextmanager
def explained(repo_id: str, repo_type: str, revision: str | None) -> Iterator[None]:
    """Turn the client's errors into a `HubError` that says what was asked for and what to do.

    Args:
        repo_id: the repository that is asked.
        repo_type: `model`, `dataset` or `space`.
        revision: the revision that is asked for.

    Raises:
        HubError: in place of any error of the client.
    """
    what = f"{repo_type} {repo_id!r}"
    page = f"{constants.ENDPOINT}/{constants.REPO_TYPES_URL_PREFIXES.get(repo_type, '')}{repo_id}"
    try:
        yield
    except GatedRepoError as error:
        raise HubError(
            f"{what} is gated: accept its terms at {page}, then run `hf auth login` or pass token="
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{what} does not exist at {constants.ENDPOINT}, or is private: check the spelling, "
            "or run `hf auth login` or pass token="
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(
            f"{what} has no {_named(revision)}: choose a branch, tag or commit listed at {page}/tree/main"
        ) from error
    except (LocalEntryNotFoundError, RevisionResolutionError, OfflineModeIsEnabled) as error:
        raise HubError(
            f"{what}: {_named(revision)} is not, or not completely, in the local cache: load it once while "
            "connected, without local_files_only and HF_HUB_OFFLINE"
        ) from error
    except HFValidationError as error:
        raise HubError(f"{repo_id!r} is neither a folder nor an id like 'namespace/name': {error}") from error
    except HTTPError as error:
        raise _silence(what, error) from error


def _silence(what: str, error: Exception) -> HubError:
    reason = str(error).splitlines()[0]
    return HubError(
        f"{what}: {constants.ENDPOINT} cannot be reached or refuses to answer ({reason}): try again later, or "
        "take what is in the local cache with local_files_only=True or HF_HUB_OFFLINE=1"
    )
