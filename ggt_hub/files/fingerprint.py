"""What a model's files hold, as a few characters: the same for a copy elsewhere, another for other weights."""

import hashlib
import json
import os
from pathlib import Path

from huggingface_hub import constants

from ggt_hub.commit import commit_json, file_sha256
from ggt_hub.errors import WriteError

_SMALL = 2**24


def fingerprint(model: Path) -> str:
    """A hash of a model by the names and contents of its files; of what is no file by its name. 16 hex digits.

    A large file is read once and then remembered by its inode, size and times, the time of change among them, which
    no program can set.
    """
    digest = hashlib.sha256()
    if not model.exists():
        digest.update(str(model).encode("utf-8", "surrogateescape"))
    remembered = _Remembered()
    for path in sorted(path for path in (model.rglob("*") if model.is_dir() else [model]) if path.is_file()):
        size = path.stat().st_size
        name = path.relative_to(model) if model.is_dir() else path.name
        digest.update(f"{name} {size}".encode("utf-8", "surrogateescape"))
        digest.update(path.read_bytes() if size < _SMALL else remembered.sha256(path).encode())
    remembered.keep()
    return digest.hexdigest()[:16]


class _Remembered:
    """Hashes of large files, where all that is downloaded is kept; to lose them costs time only."""

    def __init__(self) -> None:
        self.path = Path(constants.HF_HOME) / "ggt-hub" / "hashes.json"
        self.new = False
        try:
            self.known = dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self.known = {}

    def sha256(self, path: Path) -> str:
        state = os.stat(path)  # noqa: PTH116
        key = f"{state.st_dev} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
        if key not in self.known:
            self.known[key], self.new = file_sha256(path), True
        return str(self.known[key])

    def keep(self) -> None:
        if self.new:
            try:
                commit_json(self.path, self.known)
            except WriteError:
                return  # a home that cannot be written: hashed again next time
