"""The index of a data set, with its card: what is published where pictures may not be."""

from pathlib import Path
from typing import Any

from ggt_hub.data.reading.opening import open_builder
from ggt_hub.data.recognising.told import Told
from ggt_hub.data.sources.index import copy_index, explain_refused, read_summary
from ggt_hub.data.sources.indexed import IndexedPairs
from ggt_hub.data.work.cards import write_card
from ggt_hub.data.work.export import write_sums
from ggt_hub.errors import DatasetError


def make_index(
    source: str,
    folder: Path,
    *,
    revision: str | None = None,
    data_dir: str | None = None,
    card: Path | None = None,
    told: Told | None = None,
) -> dict[str, Any]:
    """Write the index of a data set, with its card (see `cards.write_card`), ready to be published.

    Returns:
        The content of `index.json`.

    Raises:
        DatasetError: if the data set cannot be indexed, or `folder` holds other files where the index belongs, or
            its source.
        HubError: if the repository or revision cannot be had.
    """
    check_apart(folder, source, data_dir)
    builder = open_builder(source, revision, data_dir, told=told)
    if not isinstance(builder, IndexedPairs):
        raise DatasetError(f"{source} is published as a table: it needs no index")
    index = builder.index()
    summary = read_summary(index)
    if summary["refused"]:
        raise DatasetError(explain_refused(summary["repository"], summary["refused"]))
    copy_index(index, folder)
    write_card(folder, card, folder.resolve().name)
    write_sums(folder)
    return summary


def check_apart(output: Path, *sources: str | None) -> None:
    """Refuse an output folder that holds its source, or lies in it.

    Raises:
        DatasetError: naming both.
    """
    made = output.expanduser().resolve()
    for source in filter(None, sources):
        there = Path(source).expanduser().resolve()
        if there.is_dir() and (there.is_relative_to(made) or made.is_relative_to(there)):
            raise DatasetError(f"{output} and its source {source} overlap: choose an --output outside of it")
