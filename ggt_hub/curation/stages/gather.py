"""Photographs come in."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pyarrow as pa
from annotated_types import Ge

from ggt_hub.curation.stage import Beginning, Context, Dropped, Kept, Outcome, Row, Seed
from ggt_hub.data.reading.clean import Clean, find_clean
from ggt_hub.errors import DatasetError, ImageError
from ggt_hub.images.shown import shown_rgb


@dataclass(frozen=True)
class Gather(Beginning):
    """The clean photographs of a folder, or of a data set, as they are.

    Attributes:
        smallest: pixels of the shorter side.
    """

    smallest: Annotated[int, Ge(1)] = 512

    name: ClassVar[str] = "gather"
    gives: ClassVar[Mapping[str, pa.DataType]] = {
        "photograph": pa.large_binary(),
        "source": pa.string(),
        "sha256": pa.string(),
    }

    def seeds(self, source: str) -> list[Seed]:
        """One for each picture."""
        return [Seed(clean.name, clean.version, clean) for clean in find_clean(source)]

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep what can be read and is large enough."""
        return [self._decide(row["seed"]) for row in rows]

    def _decide(self, clean: Clean) -> Outcome:
        try:
            data = clean.read()
            pixels = shown_rgb(data)
        except (ImageError, DatasetError, OSError) as error:
            return Dropped("unreadable", str(error))
        if min(pixels.shape[:2]) < self.smallest:
            return Dropped("too small", f"{pixels.shape[1]}x{pixels.shape[0]}")
        sha256 = hashlib.sha256(data).hexdigest()
        return Kept({"photograph": data, "source": clean.source, "sha256": sha256})
