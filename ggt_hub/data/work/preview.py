"""`preview`: a few pairs of a data set on one sheet, and as small pictures in a config of their own."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from datasets import Dataset

from ggt_hub.data.pairs import PAIR_FEATURES, PICTURES
from ggt_hub.data.reading.iterate import iter_pairs
from ggt_hub.data.reading.parts import PREVIEW
from ggt_hub.data.sources.versions import code_hash
from ggt_hub.data.work.export import export
from ggt_hub.errors import DatasetError
from ggt_hub.reports import contact_sheet
from ggt_hub.shards import Shard, run_shards

MAX_SIDE = 512
SHEET = "preview.png"
_COLUMNS = 6


def preview(dataset: Dataset, folder: Path, count: int = 24) -> Path:
    """Show `count` pairs, taken at equal distances.

    Args:
        dataset: rows of the pair schema.
        folder: gets the sheet, and the pairs reduced to at most 512 pixels as config `preview`.
        count: how many pairs.

    Returns:
        The sheet's path.

    Raises:
        DatasetError: if there are no pairs, or a chosen picture is damaged or missing.
    """
    if not len(dataset):
        raise DatasetError("there are no pairs to show")
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    pairs = [_reduced(pair) for pair in iter_pairs(dataset.select(chosen.tolist()))]
    rows = Dataset.from_list([_row(pair) for pair in pairs], PAIR_FEATURES)
    run_shards(_draw_sheet, [Shard(SHEET, (pairs,), rows._fingerprint)], folder, settings=code_hash())
    export({"train": rows}, folder, config=PREVIEW)
    return folder / SHEET


def _draw_sheet(pairs: list[dict[str, Any]], path: Path) -> dict[str, Any]:
    pictures, captions = [], []
    for pair in pairs:
        shown = [side for side in PICTURES if pair[side] is not None]
        pictures += [pair[side] for side in shown]
        captions += [f"{side} {pair['task'] or ''} {pair['id']}" for side in shown]
    contact_sheet(pictures, captions, columns=_COLUMNS).save(path, "PNG")
    return {"pictures": len(pictures)}


def _reduced(pair: dict[str, Any]) -> dict[str, Any]:
    """The pictures at one size, that of the first where it is small enough."""
    there = {side: pair[side] for side in PICTURES if pair[side] is not None}
    height, width = next(iter(there.values())).shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return pair | {
        side: cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) for side, pixels in there.items()
    }


def _row(pair: dict[str, Any]) -> dict[str, Any]:
    row = {name: pair.get(name) for name in PAIR_FEATURES}
    for side in PICTURES:
        row[f"{side}_sha256"] = None
        if pair[side] is not None:
            _, data = cv2.imencode(".jpg", pair[side][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            row[side] = {"bytes": data.tobytes(), "path": None}
    return row
