"""The tab Data over a data set that lies on the Hub."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from ggt_hub.data.pairs import PAIR_FEATURES, pair_row
from ggt_hub.data.sources.ggt_100k import REPOSITORY
from ggt_hub.demo import data_tab
from tests.data_sets.layouts import LAYOUTS, pairs, picture


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """The tab keeps what it has loaded; each test starts and ends without."""
    yield
    data_tab.load.cache_clear()
    data_tab.find_rows.cache_clear()


def test_pairs_are_read_out_of_the_archives_on_the_hub(hub, url: str, tmp_path: Path) -> None:
    LAYOUTS["one archive per side"](tmp_path / "repository")
    hub.add("dataset", REPOSITORY, tmp_path / "repository")
    client = Client(url, verbose=False, download_files=tmp_path / "downloads")
    (lq, gt), note, position = client.predict(source="ggt-100k", task="rain", position=2, api_name="/pair")
    shown = (Path(lq).read_bytes(), Path(gt).read_bytes())
    rain = [(low, good) for category, _, low, good in pairs() if category == "rain"]
    assert position == 2
    assert note.startswith("**2 of 3**")
    assert any(all(map(_same, shown, pair)) for pair in rain)


def _same(first: bytes, second: bytes) -> bool:
    return np.array_equal(_pixels(first), _pixels(second))


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)))


@pytest.mark.parametrize(("side", "words"), [("lq", "no ground truth"), ("gt", "clean, not damaged yet")])
def test_a_side_that_is_missing_is_told(side: str, words: str, url: str, tmp_path: Path, monkeypatch) -> None:
    sides = {"lq": None, "gt": None} | {side: {"bytes": picture(1), "path": None}}
    row = pair_row("a", sides["lq"], sides["gt"], source="mine")
    monkeypatch.setattr(data_tab, "load_dataset", lambda source: Dataset.from_list([row], PAIR_FEATURES))
    client = Client(url, verbose=False, download_files=tmp_path)
    (lq, gt), note, _ = client.predict(source="ggt-100k", api_name="/pair")
    assert _same(Path(lq).read_bytes(), picture(1))
    assert _same(Path(gt).read_bytes(), picture(1))
    assert note.endswith(f"from mine · {words}")


def test_a_data_set_that_cannot_be_had_is_explained(hub, url: str) -> None:
    with pytest.raises(AppError, match=r"(?i)ggt-100k") as raised:
        Client(url, verbose=False).predict(source="ggt-100k", api_name="/pair")
    assert "has not enabled verbose" not in str(raised.value)
