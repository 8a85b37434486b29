"""Purses: the names under which a ledger counts what a run has spent.

The folder of a run carries its purse's name, in `.ggt-hub/purse`, from before its first request: one that is moved
keeps it, and a copy shares it. Earlier versions called purses after the folder; such a name is carried along, too.
"""

import uuid
from pathlib import Path

from ggt_hub.commit import RECORDS, commit_text, locked
from ggt_hub.errors import JudgeError
from ggt_hub.vlm.ledger import Ledger

_RECORD = Path(RECORDS) / "purse"


def purse_of(folder: Path, ledger: Ledger) -> str:
    """The purse of a run: what its folder carries, or is called after it in the ledger, or else a new one.

    Nothing is written: see `keep_purse`.

    Raises:
        JudgeError: if what the folder carries is damaged.
    """
    if (name := _carried(folder)) is not None:
        return name
    place = folder.resolve()
    if ledger.spent(str(place))[0]:
        return str(place)
    return f"{place.name}-{uuid.uuid4().hex}"


def keep_purse(folder: Path, name: str) -> str:
    """Let a folder carry that name, unless it carries one already: which it carries now.

    Raises:
        JudgeError: if what it carries is damaged.
        WriteError: if it cannot be written.
    """
    with locked(folder / RECORDS / "lock-of-the-purse", waits=True):
        carried = _carried(folder)
        if carried is None:
            commit_text(folder / _RECORD, f"{name}\n")
    return carried or name


def _carried(folder: Path) -> str | None:
    path = folder / _RECORD
    try:
        name = path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise JudgeError(f"{path}, the name of the run's budget, cannot be read: {error}") from error
    if not name:
        raise JudgeError(
            f"{path}, the name of the run's budget, is empty: restore it, or remove it to begin anew"
        )
    return name
