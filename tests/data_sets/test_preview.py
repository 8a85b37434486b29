"""Preview: what is there of each pair, side by side, at one size."""

import datasets

from ggt_hub.data.pairs import PAIR_FEATURES, pair_row
from ggt_hub.data.work.preview import preview
from tests.data_sets.layouts import picture


def test_each_picture_that_is_there_is_shown(tmp_path):
    side = {"bytes": picture(1, 40), "path": None}
    rows = [
        pair_row("both", side, {"bytes": picture(2, 80), "path": None}, source="t"),
        pair_row("clean", None, side, source="t"),
        pair_row("poor", side, None, source="t"),
    ]
    sheet = preview(datasets.Dataset.from_list(rows, PAIR_FEATURES), tmp_path / "out")
    assert sheet == tmp_path / "out/preview.png"
    assert sheet.read_bytes().startswith(b"\x89PNG")
    shown = datasets.Dataset.from_parquet(str(tmp_path / "out/data/preview/train-00000-of-00001.parquet"))
    sizes = [[row[name] and row[name].size for name in ("lq", "gt")] for row in shown]
    assert sizes == [[(40, 40), (40, 40)], [None, (40, 40)], [(40, 40), None]]
