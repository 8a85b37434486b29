"""What is to be known of the data sets that rows may come from: terms, authors, and whom to ask."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Note:
    """Terms and origin of a data set.

    Attributes:
        title: its full name.
        licence: the identifier that the Hub knows it by.
        may_be_shared: whether converted or filtered copies of its pictures may be given away.
        url: where it is published.
        marks: what the address of a picture of it holds, wherever a copy lies.
        contact: whom to ask to have a picture removed.
        citation: a BibTeX entry.
    """

    title: str
    licence: str
    may_be_shared: bool
    url: str
    marks: tuple[str, ...]
    contact: str
    citation: str


NOTES = {
    "ggt-100k": Note(
        "GGT-100K",
        "cc-by-nc-nd-4.0",
        False,
        "https://huggingface.co/datasets/VCLab-PolyU/GGT-100K",
        ("datasets/VCLab-PolyU/GGT-100K@", "/GGT-100K/"),
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
        ("datasets/RealRestorer/RealIR-Bench@", "/RealIR-Bench/"),
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
