"""Photographs come in."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pyarrow as pa
from annotated_types import Ge

from ggt_hub.curation.marks import mark_of_a_model
from ggt_hub.curation.stage import Beginning, Context, Dropped, Kept, Outcome, Row, Seed
from ggt_hub.data.reading.clean import Clean, find_clean
from ggt_hub.data.work.duplicates import perceptual_hash
from ggt_hub.errors import DatasetError, ImageError
from ggt_hub.images.shown import shown_rgb


@dataclass(frozen=True)
class Gather(Beginning):
    """The clean photographs of a folder, or of a data set, as they are.

    Attributes:
        smallest: pixels of the shorter side.
        drawn_too: also files that say that a model has drawn them.
    """

    smallest: Annotated[int, Ge(1)] = 512
    drawn_too: bool = False

    name: ClassVar[str] = "gather"
    gives: ClassVar[Mapping[str, pa.DataType]] = {
        "photograph": pa.large_binary(),
        "source": pa.string(),
        "sha256": pa.string(),
        "hash": pa.uint64(),
    }

    def seeds(self, source: str) -> list[Seed]:
        """One for each picture."""
        return [Seed(clean.name, clean.version, clean) for clean in find_clean(source)]

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep what can be read, is large enough, and does not say that a model has drawn it."""
        return [self._decide(row["seed"]) for row in rows]

    def _decide(self, clean: Clean) -> Outcome:
        try:
            data = clean.read()
            pixels = shown_rgb(data)
        except (ImageError, DatasetError, OSError) as error:
            return Dropped("unreadable", str(error))
        if min(pixels.shape[:2]) < self.smallest:
            return Dropped("too small", f"{pixels.shape[1]}x{pixels.shape[0]}")
        if not self.drawn_too and (mark := mark_of_a_model(data)):
            return Dropped("drawn by a model", mark)
        hashes = {"sha256": hashlib.sha256(data).hexdigest(), "hash": perceptual_hash(pixels)}
        return Kept({"photograph": data, "source": clean.source, **hashes})
