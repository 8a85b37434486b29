"""The folder of a run as it stands after its candidates were laid over their photographs, quickly made."""

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from PIL import Image

from ggt_hub.curation.stage import Kept, Later
from ggt_hub.curation.tables import write_table
from ggt_hub.images.shown import png
from tests.curation.planted import damaged, sample

PHOTOGRAPHS = ("astronaut", "chelsea", "china", "coffee", "flower")


def write_run(folder: Path, *, count: int = 5, **reviewed: Any) -> Path:
    """`count` candidates of 512 x 512 pixels in two slices; with settings also of the stage `reviewed`."""
    run, stages = folder / "run", [{"gather": {}}, {"register": {}}]
    names = [f"photo{number}/0/banana-0" for number in range(count)]
    for number, ids in enumerate((names[: count // 2], names[count // 2 :])):
        tables = run / ".ggt-hub/curation"
        pairs = [_pair(PHOTOGRAPHS[(len(names[: count // 2]) * number + n) % 5]) for n in range(len(ids))]
        gives = {"lq": pa.large_binary(), "gt": pa.large_binary()}
        _write(tables / f"gather/{number:06d}.arrow", ids, [Kept()] * len(ids), {})
        _write(tables / f"register/{number:06d}.arrow", ids, [Kept(pair) for pair in pairs], gives)
        if reviewed:
            _write(tables / f"reviewed/{number:06d}.arrow", ids, [Later("to be reviewed")] * len(ids), {})
    if reviewed:
        stages.append({"reviewed": reviewed})
    (run / "run.yaml").write_text(yaml.safe_dump({"source": "photographs", "models": {}, "stages": stages}))
    return run


@cache
def _pair(name: str) -> dict[str, bytes]:
    clean = sample(name)
    return {"lq": png(Image.fromarray(damaged(clean, "noise"))), "gt": png(Image.fromarray(clean))}


def _write(path: Path, ids: list[str], outcomes: list[Any], gives: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, ids, outcomes, gives)
