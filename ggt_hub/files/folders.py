"""What lies in people's folders: pictures, what only looks like them, and what cameras and systems leave there."""

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

from ggt_hub.errors import ImageError

PICTURE_SUFFIXES = {
    ".apng", ".avif", ".avifs", ".bmp", ".btf", ".dib", ".gif", ".hdp", ".ico", ".j2c", ".j2k", ".jfif", ".jls",
    ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jps", ".jpx", ".jxr", ".mpo", ".pam", ".pbm", ".pfm",
    ".pgm", ".pjp", ".pjpeg", ".png", ".pnm", ".ppm", ".tf8", ".tga", ".tif", ".tiff", ".wdp", ".webp",
}  # fmt: skip
"""The endings that are looked for in folders."""

_CONVERT = "convert it to PNG or JPEG first"
_DEVELOP = "a camera's raw file: develop it into a 16-bit TIFF first"
UNREAD_SUFFIXES = {
    **dict.fromkeys((".heic", ".heif", ".hif"), f"a HEIC photograph: {_CONVERT}"),
    ".jxl": f"JPEG XL: {_CONVERT}",
    **dict.fromkeys(
        (".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr"), _DEVELOP
    ),
    **dict.fromkeys(
        (".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf"), _DEVELOP
    ),
    **dict.fromkeys((".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"), _DEVELOP),
    **dict.fromkeys((".psd", ".psb"), "a Photoshop document: export it as TIFF or PNG"),
    **dict.fromkeys((".exr", ".hdr"), "a picture of high dynamic range: convert it to a 16-bit TIFF first"),
    **dict.fromkeys((".eps", ".svg"), "a drawing: render it to PNG first"),
}
"""Pictures that are not read, by their ending, and what helps."""

_JUNK = {
    "$recycle.bin", "#recycle", "#snapshot", "@eadir", "@recently-snapshot", "@recycle", "@tmp", "__macosx",
    "desktop.ini", "ehthumbs.db", "ehthumbs_vista.db", "icon\r", "lost+found", "system volume information",
    "thumbs.db",
}  # fmt: skip
_JUNK_SUFFIXES = (".lrdata", ".lrprev", ".photoslibrary")


def is_junk(name: str, *, hidden_too: bool = True) -> bool:
    """Whether a file or folder is what systems, cameras' programs or we ourselves leave beside pictures.

    Args:
        name: of the file or folder alone.
        hidden_too: also whatever else begins with a dot.
    """
    plain = name.casefold()
    if plain in _JUNK or plain.endswith(_JUNK_SUFFIXES) or plain.startswith(("._", ".ggt-hub", ".ds_store")):
        return True
    return hidden_too and name.startswith(".")


def is_picture(path: Path) -> bool:
    """Whether the ending says so."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def walk(folder: Path, problems: dict[str, str], *, leave_out: Path | None = None) -> Iterator[Path]:
    """All files below a folder but junk, sorted; each real folder once, whatever links lead to it.

    What lies in the folder itself comes first and linked folders last, so that a link never renames what it points
    to. A link that leads to a folder around `folder` is not followed.

    Args:
        folder: where to begin.
        problems: gets the folders that cannot be searched, each with a line that says so.
        leave_out: a folder, resolved, that is passed over.
    """
    around = Path(os.path.realpath(folder))
    seen, linked = {str(leave_out)}, [folder]
    while linked:
        waiting = [linked.pop(0)]
        while waiting:
            here = waiting.pop()
            real = os.path.realpath(here)
            if real in seen or (here != folder and around.is_relative_to(real)):
                continue
            seen.add(real)
            folders, files = _entries(here, problems)
            yield from files
            linked += [path for path in folders if path.is_symlink()]
            waiting += [path for path in reversed(folders) if not path.is_symlink()]


def _entries(folder: Path, problems: dict[str, str]) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, each sorted, links to files last."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(
                (entry for entry in found if not is_junk(entry.name)), key=lambda entry: entry.name
            )
    except OSError as error:
        problems[str(folder)] = (
            f"cannot search {str(folder)!r}: {error.strerror}. What is in it was left out."
        )
        return [], []
    folders = [folder / entry.name for entry in entries if _leads_to_folder(entry)]
    files = [entry for entry in entries if not _leads_to_folder(entry)]
    return folders, [folder / entry.name for entry in sorted(files, key=lambda entry: entry.is_symlink())]


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def list_pictures(folder: Path) -> list[Path]:
    """All pictures in a folder, searched to the bottom, sorted.

    Raises:
        ImageError: if a folder below cannot be searched.
    """
    problems: dict[str, str] = {}
    found = sorted(path for path in walk(folder, problems) if is_picture(path))
    if problems:
        raise ImageError(next(iter(problems.values())))
    return found


def find_matches(pattern: str, problems: dict[str, str]) -> tuple[Path, list[Path]]:
    """The folder before the first wildcard of a pattern, and the files and folders that match the rest.

    What exists under a name is that, brackets and all. `**` stands for any number of folders; links are followed as
    in `walk`.
    """
    parts = Path(pattern).parts
    fixed = Path()
    while parts and (os.path.lexists(fixed / parts[0]) or not _is_magic(parts[0])):
        fixed, parts = fixed / parts[0], parts[1:]
    if not parts:
        return fixed.parent, []  # it has no wildcard, and nothing is there
    return fixed, list(dict.fromkeys(_matches(fixed, parts, problems)))


def _matches(folder: Path, parts: tuple[str, ...], problems: dict[str, str]) -> Iterator[Path]:
    if not parts:
        if os.path.lexists(folder):
            yield folder
    elif parts[0] == "**" and len(parts) == 1:
        yield from walk(folder, problems)
    elif parts[0] == "**":
        for below in dict.fromkeys([folder, *(path.parent for path in walk(folder, problems))]):
            yield from _matches(below, parts[1:], problems)
    elif not _is_magic(parts[0]) or os.path.lexists(folder / parts[0]):
        yield from _matches(folder / parts[0], parts[1:], problems)
    else:
        folders, files = _entries(folder, problems)
        for path in sorted(folders + files):
            if fnmatch.fnmatchcase(path.name, parts[0]) and (len(parts) == 1 or path in folders):
                yield from _matches(path, parts[1:], problems)


def _is_magic(part: str) -> bool:
    return any(character in part for character in "*?[")
