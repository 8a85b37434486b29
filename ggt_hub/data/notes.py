"""What is to be known of the data sets that rows may come from: terms, authors, and whom to ask."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from ggt_hub.errors import DatasetError


@dataclass(frozen=True)
class Note:
    """Terms and origin of a data set.

    Attributes:
        title: its full name.
        licence: the identifier that the Hub knows it by.
        may_be_shared: whether converted or filtered copies of its pictures may be given away.
        url: where it is published.
        contact: whom to ask to have a picture removed.
        citation: a BibTeX entry.
    """

    title: str
    licence: str
    may_be_shared: bool
    url: str
    contact: str
    citation: str


NOTES = {
    "ggt-100k": Note(
        "GGT-100K",
        "cc-by-nc-nd-4.0",
        False,
        "https://huggingface.co/datasets/VCLab-PolyU/GGT-100K",
        "the authors, by the Community tab of their repository",
        """\
@article{kong2026ggt100k,
  title={GGT-100K: Generative Ground Truth for Generalizable Real-World Image Restoration},
  author={Kong, Xiangtao and Zhao, Jixin and Sun, Lingchen and Wu, Rongyuan and Zhang, Lei},
  journal={arXiv:2605.31039},
  year={2026}
}""",
    ),
    "realir-bench": Note(
        "RealIR-Bench",
        "other",
        False,
        "https://huggingface.co/datasets/RealRestorer/RealIR-Bench",
        "the authors, by the Community tab of their repository",
        """\
@article{realrestorer2026,
  title={RealRestorer},
  journal={arXiv:2603.25502},
  year={2026}
}""",
    ),
}


def sources_of(tables: Iterable[Path]) -> list[str]:
    """The data sets that the rows of some Parquet files of the pair schema come from."""
    columns = [pq.read_table(path, columns=["source"])["source"] for path in tables]
    chunks = [chunk for column in columns for chunk in column.chunks]
    return sorted(pc.unique(pa.chunked_array(chunks, pa.string())).to_pylist())


def check_shareable(folder: Path) -> None:
    """Refuse a folder with converted pictures of a data set whose licence forbids to share them.

    An index, which holds no pictures, may be shared.

    Raises:
        DatasetError: naming the data set and its licence.
    """
    for path in sorted(folder.rglob("*.parquet")):
        file = pq.ParquetFile(path)
        if "lq" not in file.schema_arrow.names:
            continue
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["source", "lq.bytes", "gt.bytes"])
            for source in pc.unique(table["source"]).to_pylist():
                note = NOTES.get(source)
                if note and not note.may_be_shared and _holds_pictures(table):
                    raise DatasetError(
                        f"{path.name} holds pictures of {note.title}, whose licence ({note.licence}) forbids to "
                        "share converted copies: publish an index instead (`ggt-hub data index`)"
                    )


def forbid_upload() -> None:
    """Make `push_to_hub` refuse what comes from a data set that may not be shared: it would embed the pictures.

    Other data are pushed as ever. What `map`, `select` and the like make of such rows is refused too, for they keep
    the homepage by which it is known; that is why the classes themselves are changed, and not what was loaded.
    """
    for kind in (Dataset, IterableDataset, DatasetDict, IterableDatasetDict):
        if not hasattr(kind.push_to_hub, "__wrapped__"):
            kind.push_to_hub = _refusing(kind.push_to_hub)


def _refusing(push: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(push)
    def push_to_hub(self: Any, *args: Any, **kwargs: Any) -> Any:
        for dataset in self.values() if isinstance(self, dict) else (self,):
            for note in NOTES.values():
                if not note.may_be_shared and note.url in (dataset.info.homepage or ""):
                    raise DatasetError(
                        f"{note.title} is licensed {note.licence}: its pictures may not be uploaded again, and "
                        "push_to_hub would embed them. Publish an index instead (`ggt-hub data index`), whose "
                        "files hold no pictures"
                    )
        return push(self, *args, **kwargs)

    return push_to_hub


def _holds_pictures(table: pa.Table) -> bool:
    return any(
        table[side].combine_chunks().field("bytes").null_count < len(table)
        for side in ("lq", "gt")
        if side in table.column_names
    )
