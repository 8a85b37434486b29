"""Receipts: what says whose a file in an output folder is.

    OUT/.ggt-hub/NAME.json    from which picture, and how, OUT/NAME was made, and the hash of its bytes

A file is ours as long as a receipt names it and it has the hash that we wrote. All else belongs to the user: a file
without receipt, one that was changed since, whatever a link leads to. The receipt is written before the file, with
the hash of the bytes to come and of those that they replace, so that a kill in between makes nothing of ours look
like the user's.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ggt_hub.commit import RECORDS, commit_json, file_sha256, fitting_name
from ggt_hub.errors import ImageError


@dataclass(frozen=True)
class Receipt:
    """How one output was made.

    Attributes:
        source: the resolved path of the picture; None in receipts of 0.1.
        input_sha256: of the picture's file.
        settings: everything besides the picture that the result depends on.
        output_sha256: of the output.
        details: what the work says of it.
        side_files: SHA-256 of the files of ours that lie beside the output, by name.
        replaces: SHA-256 of the files that were there before, by name.
        kept, left_behind, warnings: what became of all that the picture carries.
    """

    source: str | None
    input_sha256: str
    settings: Any
    output_sha256: str
    details: dict[str, Any]
    side_files: dict[str, str] = field(default_factory=dict)
    replaces: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def is_of(self, source: Path, input_sha256: str) -> bool:
        """Whether it is the same picture: the same path, or the same bytes."""
        return self.source == os.path.realpath(source) or self.input_sha256 == input_sha256

    def knows(self, path: Path, output: str) -> bool:
        """Whether a file is as we wrote it.

        Args:
            path: the output, or a file beside it.
            output: the output's name.
        """
        written = self.output_sha256 if path.name == output else self.side_files.get(path.name)
        known = {written, self.replaces.get(path.name)}
        return file_sha256(path) in known or (path.name != output and self._is_record(path))

    def _is_record(self, path: Path) -> bool:
        """Whether it holds the recipe (so 0.1 called records) in the details: it did not note the file's hash."""
        try:
            return json.loads(path.read_text(encoding="utf-8")) == self.details.get("recipe", path)
        except (OSError, ValueError):
            return False


def receipt_path(output: Path, name: Path) -> Path:
    """Where the receipt of the output of that relative name lies."""
    return output / RECORDS / name.with_name(fitting_name(f"{name.name}.json"))


def read_receipt(output: Path, name: Path) -> Receipt | None:
    """The receipt of an output; None if there is none that can be read."""
    try:
        content = json.loads(receipt_path(output, name).read_text(encoding="utf-8"))
        known = {key: content[key] for key in Receipt.__dataclass_fields__ if key in content}
        return Receipt(**({"source": None} | known))
    except (OSError, ValueError, TypeError):
        return None


def write_receipt(output: Path, name: Path, receipt: Receipt) -> None:
    """Write a receipt; see `commit_json`."""
    commit_json(receipt_path(output, name), vars(receipt))


def made_in(path: Path) -> tuple[Path, Receipt] | None:
    """The output folder in which a file is a result of ours, or lies beside one, and its receipt; else None."""
    for folder in path.absolute().parents:
        if (folder / RECORDS).is_dir():
            name = path.absolute().relative_to(folder)
            receipt = read_receipt(folder, name)
            if receipt is None and path.suffix == ".json":
                receipt = read_receipt(folder, name.with_suffix(""))
            if receipt is not None:
                return folder, receipt
    return None


def check_not_input(target: Path, source: Path) -> None:
    """Refuse a result that would be written over its own picture.

    Raises:
        ImageError: with the way out.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise ImageError("the result would overwrite the input: choose another --output, or another --format")


def check_place(output: Path, name: Path, beside: Iterable[Path] = ()) -> None:
    """Refuse a place that is not ours for certain, without reading any file.

    Args:
        output: the output folder.
        name: of the output, relative to it.
        beside: files to be written beside it, likewise.

    Raises:
        ImageError: with the way out.
    """
    for folder in [*name.parents, receipt_path(output, name).parent.relative_to(output)]:
        if folder != Path() and (output / folder).is_symlink():
            raise ImageError(
                f"{output / folder} is a link, and links in the output folder are never written through: "
                "remove the link, or choose another --output"
            )
    for folder in name.parents:
        if os.path.lexists(output / folder) and not (output / folder).is_dir():
            raise ImageError(f"{output / folder} is a file where a folder is needed: choose another --output")
    for place in (name, *beside):
        path = output / place
        if path.is_symlink():
            raise ImageError(
                f"{path} is a link, and links in the output folder are never written through: remove it, or choose "
                "another --output"
            )
        if path.is_dir():
            raise ImageError(f"{path} is a folder: rename it, or choose another --output")
        if path.exists() and read_receipt(output, name) is None:
            raise ImageError(
                f"{path} was not made by ggt-hub, as far as its records tell, so it is not replaced: move it away, "
                "or choose another --output"
            )


def check_ours(
    output: Path, name: Path, beside: Iterable[Path], source: Path, input_sha256: str, *, overwrite: bool
) -> dict[str, str]:
    """Refuse to replace what is not the result of the same picture.

    Args:
        output: the output folder.
        name: of the output, relative to it.
        beside: files to be written beside it, likewise.
        source: the picture.
        input_sha256: of its file.
        overwrite: replace results of other pictures, too.

    Returns:
        The SHA-256 of each file that is to be replaced, by name.

    Raises:
        ImageError: with the way out.
    """
    check_place(output, name, beside)
    receipt, replaced = read_receipt(output, name), {}
    for path in (output / place for place in (name, *beside)):
        if receipt is None or not path.exists():
            continue
        if not receipt.knows(path, name.name):
            raise ImageError(
                f"{path} was changed since ggt-hub made it, so it is yours and is not replaced: move it away, or "
                "choose another --output"
            )
        if not receipt.is_of(source, input_sha256) and not overwrite:
            other = receipt.source or "another picture"
            raise ImageError(
                f"{path} is the result of {other}: choose another --output, or replace it with --overwrite"
            )
        replaced[path.name] = file_sha256(path)
    return replaced
