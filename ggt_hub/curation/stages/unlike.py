"""Pictures that are nearly the same: among each other, and as those that restorers are evaluated on."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, ClassVar

from ggt_hub.commit import commit_json
from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Learning, Outcome, Row
from ggt_hub.data.reading.clean import find_clean
from ggt_hub.data.work.duplicates import near, perceptual_hash
from ggt_hub.images.shown import shown_rgb

_FILE = "alike.json"
_SHIPPED = "the pictures of the package"


@dataclass(frozen=True)
class _Alike(Learning, Deciding):
    """What both have: `alike.json` names for each row that leaves the picture that it is like."""

    reason: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("hash",)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep the others."""
        alike = json.loads((context.learned[self.name] / _FILE).read_text(encoding="utf-8"))
        return [Dropped(self.reason, alike[row["id"]]) if row["id"] in alike else Kept() for row in rows]


@dataclass(frozen=True)
class Unlike(_Alike):
    """Of pictures that are nearly the same, whatever slice they are in, the first stays."""

    name: ClassVar[str] = "unlike"
    reason: ClassVar[str] = "nearly the same picture"

    def learn(self, rows: Iterable[Row], context: Context, working: Path, folder: Path) -> dict[str, Any]:
        """Find out who is like whom."""
        found = [(row["id"], row["hash"]) for row in rows]
        alike: dict[str, str] = {}
        for first, second in near([value for _, value in found]):
            if found[first][0] not in alike:
                alike.setdefault(found[second][0], found[first][0])
        commit_json(folder / _FILE, alike)
        return {"alike": len(alike)}


@dataclass(frozen=True)
class Apart(_Alike):
    """Pictures that restorers are evaluated on leave: what was trained on them would be measured by them.

    Attributes:
        sets: folders and data sets of evaluation, besides the pictures of the package.
    """

    sets: tuple[str, ...] = ()

    name: ClassVar[str] = "apart"
    reason: ClassVar[str] = "in an evaluation set"

    def learn(self, rows: Iterable[Row], context: Context, working: Path, folder: Path) -> dict[str, Any]:
        """Find out who is like a picture of these sets."""
        with as_file(files("ggt_hub.samples")) as shipped:
            places = {_SHIPPED: str(shipped), **{name: name for name in self.sets}}
            known = [
                (f"{clean.name} of {name}", perceptual_hash(shown_rgb(clean.read())))
                for name, place in places.items()
                for clean in find_clean(place)
            ]
        found = [*known, *((row["id"], row["hash"]) for row in rows)]
        alike: dict[str, str] = {}
        for first, second in near([value for _, value in found]):
            if first < len(known) <= second:
                alike.setdefault(found[second][0], found[first][0])
        commit_json(folder / _FILE, alike)
        return {"alike": len(alike), "compared_with": len(known)}
