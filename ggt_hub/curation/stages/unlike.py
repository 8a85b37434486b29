"""Of pictures that are nearly the same, the first stays."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ggt_hub.commit import commit_json
from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Learning, Outcome, Row
from ggt_hub.data.work.duplicates import near

_FILE = "alike.json"


@dataclass(frozen=True)
class Unlike(Learning, Deciding):
    """Near-duplicates of generated pictures leave, whatever slice they are in."""

    name: ClassVar[str] = "unlike"
    needs: ClassVar[tuple[str, ...]] = ("hash",)

    def learn(self, rows: Iterable[Row], context: Context, working: Path, folder: Path) -> dict[str, Any]:
        """Find out who is like whom: `alike.json` names for each that leaves the one that stays."""
        found = [(row["id"], row["hash"]) for row in rows]
        alike: dict[str, str] = {}
        for first, second in near([value for _, value in found]):
            if found[first][0] not in alike:
                alike.setdefault(found[second][0], found[first][0])
        commit_json(folder / _FILE, alike)
        return {"alike": len(alike)}

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep the others."""
        alike = json.loads((context.learned[self.name] / _FILE).read_text(encoding="utf-8"))
        return [
            Dropped("nearly the same picture", alike[row["id"]]) if row["id"] in alike else Kept()
            for row in rows
        ]
