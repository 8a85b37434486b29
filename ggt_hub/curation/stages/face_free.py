"""Photographs with faces leave."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Outcome, Row


@dataclass(frozen=True)
class FaceFree(Deciding):
    """Keeps photographs in which a diagnosis has seen no face, before anything is generated from the others."""

    name: ClassVar[str] = "face-free"
    needs: ClassVar[tuple[str, ...]] = ("diagnosis",)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep those without; a diagnosis that contradicts itself counts as one of faces."""
        found = [json.loads(row["diagnosis"]) for row in rows]
        return [
            Dropped("faces", str(one["face_count"])) if one["has_faces"] or one["face_count"] else Kept()
            for one in found
        ]
