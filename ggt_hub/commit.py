"""Files and folders, whole or not at all.

Whatever is written goes to a temporary name of its own in the same folder and is renamed when it is complete, so a
kill, a full disk or a second run at the same time leaves either what was there before or what is new. This module
knows the only names that lie beside what users see: `RECORDS`, the folder in an output folder that notes what was
made, and what is temporary or was replaced, which begins with `.ggt-hub-`.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from ggt_hub.errors import BusyError, WriteError

RECORDS = ".ggt-hub"
"""Folder in an output folder that says from what, and how, each output was made."""

_RESULTS = f"{RECORDS}/results"
_HERE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_LONGEST_NAME = 255  # bytes, of nearly all file systems
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
_tidied: set[tuple[int, Path]] = set()


@contextlib.contextmanager
def committed_file(path: Path) -> Iterator[Path]:
    """A path to write a new file to; it takes the place of `path` in one step when the block ends well.

    A link at `path` is replaced, not written through.

    Raises:
        WriteError: if it cannot be written; what was at `path` is as it was.
    """
    temporary = temporary_name(path)
    with _explained(path):
        try:
            yield temporary
            _flush(temporary)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def committed_folder(path: Path) -> Iterator[Path]:
    """A new folder to write into; it takes the place of `path` when the block ends well. See `swap_folder`.

    Raises:
        WriteError: if it cannot be written; what was at `path` is as it was.
    """
    temporary = temporary_name(path)
    with _explained(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            swap_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def committed_result(folder: Path, name: str) -> Iterator[Path]:
    """`committed_file` for a result under a fixed name in a folder of the user's, such as a report.

    Raises:
        WriteError: if it cannot be written, and as `check_results`.
    """
    check_results(folder, [name])
    path = folder / name
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with committed_file(path) as temporary:
        yield temporary
        replaced = [file_sha256(path)] if path.exists() else []
        # First the record, with both hashes: a kill in between leaves nothing that looks like the user's.
        commit_json(folder / _RESULTS, _results(folder) | {name: [file_sha256(temporary), *replaced]})


@contextlib.contextmanager
def locked(path: Path, *, waits: bool) -> Iterator[None]:
    """Keep other processes out; where the file system has no locks, by a file that is there or not.

    Args:
        path: the lock, a file of ours.
        waits: for whoever holds it, as long as it takes.

    Raises:
        BusyError: if another holds it, and `waits` is false.
        WriteError: if the lock cannot be written.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(FileLock(path, timeout=-1 if waits else 0))
        except NotImplementedError:
            held.enter_context(_without_locks(path, waits))
        except Timeout as error:
            raise BusyError(
                f"another process is writing into {path.parent.parent}: wait until it is done"
            ) from error
        yield


@contextlib.contextmanager
def _without_locks(path: Path, waits: bool) -> Iterator[None]:
    soft = path.with_name(f"{path.name}-soft")
    try:
        with SoftFileLock(soft, timeout=-1 if waits else 0):
            yield
    except Timeout as error:
        raise BusyError(
            f"another process is writing into {path.parent.parent}: wait until it is done or, if it was killed, "
            f"remove {soft}"
        ) from error


def check_results(folder: Path, names: Iterable[str]) -> None:
    """Refuse names at which files lie that no earlier `committed_result` wrote, or that were changed since.

    Raises:
        WriteError: naming the first, and the way out.
    """
    known = _results(folder)
    for name in names:
        path = folder / name
        is_ours = path.is_file() and not path.is_symlink() and file_sha256(path) in known.get(name, ())
        if os.path.lexists(path) and not is_ours:
            raise WriteError(
                f"{path} is not a result of ggt-hub, or was changed since, so it is not replaced: move it away, or "
                "choose another folder"
            )


def _results(folder: Path) -> dict[str, list[str]]:
    try:
        content = json.loads((folder / _RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def swap_folder(new: Path, path: Path, *, keep: bool = False) -> None:
    """Put the finished folder `new` in the place of `path`, whose old content is moved aside first.

    So at each moment one of the two is whole. All files get the modes of usual ones: some
    libraries write weights that only their owner can read.

    Args:
        new: a folder on the same file system.
        path: where to; may be missing.
        keep: leave the old content at `previous(path)`.
    """
    _usual_modes(new)
    aside = previous(path) if keep else path.with_name(fitting_name(f"{RECORDS}-previous-{path.name}"))
    if path.exists():
        if aside.exists():
            shutil.rmtree(aside)
        path.rename(aside)
    new.rename(path)
    if not keep:
        shutil.rmtree(aside, ignore_errors=True)


def previous(path: Path) -> Path:
    """Where `swap_folder` keeps what was at `path` before."""
    return path.with_name(f"{RECORDS}-previous-{path.name}")


def commit_bytes(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all. Raises as `committed_file`."""
    with committed_file(path) as temporary:
        temporary.write_bytes(data)


def commit_text(path: Path, text: str) -> None:
    """Write a small text file, UTF-8, whole or not at all. Raises as `committed_file`."""
    commit_bytes(path, text.encode())


def commit_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all, making its folder if missing. Raises as `committed_file`."""
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    commit_bytes(path, to_json(content).encode())


def append_json(path: Path, content: Any, *, once: bool = False) -> None:
    """Add a line of JSON to a file of such lines: it is on the disk when this returns, and never half there.

    What a kill left of the last line is removed first. Other processes wait for their turn.

    Args:
        path: of the file.
        content: of the line.
        once: leave the file as it is if it has that line.

    Raises:
        WriteError: if it cannot be written.
    """
    line = json.dumps(content, ensure_ascii=False).encode() + b"\n"
    with _lines_locked(path), _explained(path), path.open("ab+") as file:
        file.seek(0)
        whole = whole_lines(file.read())
        if once and line in whole.splitlines(keepends=True):
            return
        file.truncate(len(whole))
        file.write(line if whole.endswith(b"\n") or not whole else b"\n" + line)
        file.flush()
        os.fsync(file.fileno())


def keep_json_lines(path: Path, is_kept: Callable[[Any], bool]) -> None:
    """Write a file of JSON lines again without some of them; others stay as they are, byte by byte.

    Raises:
        WriteError: if it cannot be written.
    """
    with _lines_locked(path):
        lines = whole_lines(path.read_bytes()).splitlines(keepends=True)
        commit_bytes(path, b"".join(line for line in lines if not line.strip() or is_kept(json.loads(line))))


def _lines_locked(path: Path) -> contextlib.AbstractContextManager[None]:
    return locked(path.parent / RECORDS / f"lock-of-{path.name}", waits=True)


def whole_lines(written: bytes) -> bytes:
    """What was written of a file of JSON lines, without a last line that a kill has cut.

    A last line that is whole JSON is one, even without its end: people write such.
    """
    head, end, tail = written.rpartition(b"\n")
    try:
        json.loads(tail or b"0")
    except ValueError:
        return head + end
    return written


def to_json(content: Any) -> str:
    """Readable JSON; bytes of a file's name that are no UTF-8 are escaped."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    return text if _is_unicode(text) else json.dumps(content, indent=1)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_name(path: Path) -> Path:
    """A name beside `path` that nobody else uses, hidden, and short however long the name of `path` is.

    It says which process uses it. What killed processes of this machine left in the folder is removed first.
    """
    process = os.getpid()
    if (process, path.parent) not in _tidied:
        _tidied.add((process, path.parent))
        _remove_leftovers(path.parent)
    return path.with_name(f"{RECORDS}-{_HERE}-{process}-{secrets.token_hex(4)}.part")


def fitting_name(name: str) -> str:
    """The name, or where it is longer than file systems take, its beginning and end with a hash between."""
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST_NAME:
        return name
    middle = f"~{hashlib.sha256(encoded).hexdigest()[:16]}~"
    end = "".join(Path(name).suffixes[-3:])[-24:]
    room = _LONGEST_NAME - len(os.fsencode(middle + end))
    while len(os.fsencode(name)) > room:
        name = name[:-1]
    return name + middle + end


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(f"{RECORDS}-{_HERE}-*.part"):
        process = path.name.split("-")[3]
        if not process.isdecimal() or _lives(int(process)):
            continue
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _lives(process: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere signal 0 is a signal
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, WriteError) or not _is_about(error, path.parent):
            raise
        raise WriteError(
            f"cannot write {str(path)!r}: {error.strerror}. Check the folder and the free space."
        ) from error


def _is_about(error: OSError, folder: Path) -> bool:
    """Whether it comes from writing into that folder, not from something else that is done meanwhile."""
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str)]
    return bool(error.strerror) and (not names or any(Path(name).is_relative_to(folder) for name in names))


def _flush(path: Path) -> None:
    """Make sure that the content is on the disk before a name points to it, where the file system can do that."""
    with path.open("rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_FSYNC:
                raise


def _usual_modes(folder: Path) -> None:
    """Give all files the mode of a new one, as far as the file system has modes."""
    with contextlib.suppress(OSError):
        probe = temporary_name(folder / "probe")
        probe.touch()
        mode = stat.S_IMODE(probe.stat().st_mode)
        probe.unlink()
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod(mode)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
