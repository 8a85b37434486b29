"""From photographs to packed pairs: what is in them, what stays apart, and what leaves again."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from ggt_hub.commit import file_sha256
from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.stage import Context, Dropped, Kept
from ggt_hub.curation.stages.face_free import FaceFree
from ggt_hub.data.guard import check_shareable
from ggt_hub.data.reading.opening import open_splits
from ggt_hub.data.work.export import check_sums
from ggt_hub.errors import CurationError, DatasetError, PossiblyBilledError
from ggt_hub.images.shown import shown_rgb
from ggt_hub.vlm import Ledger
from tests.curation.ggt import DIAGNOSIS
from tests.curation.pairs import Place, piece, write_photographs

KEPT = ["astronaut", "chelsea", "coffee", "flower"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("source") / "photographs")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> tuple[Place, Any]:
    place = Place(tmp_path_factory.mktemp("made"), photographs)
    return place, place.run()


def rows(folder: Path, config: str) -> list[dict[str, Any]]:
    return [
        row
        for path in sorted((folder / "data" / config).glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def test_the_funnel_says_where_every_candidate_went(made: Any) -> None:
    _, counts = made
    assert (counts["edit"].rows, counts["edit"].kept) == (5, 9)
    assert counts["edit"].dropped == {"maker: IMAGE_SAFETY": 1}
    assert counts["register"].dropped == {"register: moved too far": 1}
    assert counts["gate"].dropped == {"gate: a cast": 3}
    assert counts["judge"].dropped == {"judge: text": 1}
    assert counts["judge"].kept == 4


def test_packed_pairs_have_the_schema_and_their_provenance(made: Any, photographs: Path) -> None:
    place, _ = made
    found = datasets.load_dataset(str(place.output), split="train")
    assert found["id"] == [f"{name}.png/0/maker-0" for name in KEPT]
    assert found["has_faces"] == [True, False, False, False]
    assert set(found["reason"]) == {None} and set(found["task"]) == {"general"}
    row = rows(place.output, "default")[1]
    assert shown_rgb(row["gt"]["bytes"]).shape == shown_rgb(row["lq"]["bytes"]).shape
    assert hashlib.sha256(row["gt"]["bytes"]).hexdigest() == row["gt_sha256"]
    told = json.loads(row["meta"])["curation"]
    assert told["photograph"]["sha256"] == file_sha256(photographs / "chelsea.png")
    assert told["photograph"]["box"] == [0, 0, 256, 256]
    assert told["generator"] == {"provider": "server", "model": "maker-1", "drawn_by": "maker-1"}
    assert told["judged_by"] == "eyes"
    assert (told["judgement"]["D"], told["judgement"]["F"]) == (90, 90)
    assert told["measures"]["structure"] > 0.3


def test_negatives_stay_apart_with_their_reasons(made: Any) -> None:
    place, _ = made
    found = rows(place.output, "negatives")
    reasons = {row["id"]: row["reason"] for row in found}
    assert reasons == {
        **{f"{name}.png/0/maker-1": "gate: a cast" for name in ("astronaut", "chelsea", "china")},
        "flower.png/0/maker-1": "register: moved too far",
        "china.png/0/maker-0": "judge: text",
    }
    told = json.loads(found[0]["meta"])["curation"]
    assert told["refused"]["refused_by"] == "gate" and "colour" in told["refused"]["detail"]
    moved = next(row for row in found if row["id"] == "flower.png/0/maker-1")
    assert np.array_equal(shown_rgb(moved["gt"]["bytes"]), np.roll(piece("flower"), 40, 1))
    (splits,) = [open_splits(str(place.output))]
    assert len(splits["train"]) == 4
    assert len(open_splits(str(place.output), "negatives")["train"]) == 5


def test_sums_and_card_cover_both(made: Any) -> None:
    place, _ = made
    assert check_sums(place.output) == []
    assert (place.output / "SHA256SUMS").read_text().count("data/negatives/") >= 1
    card = (place.output / "README.md").read_text()
    for told in (
        "`maker-1` (server)",
        "`eyes`",
        "| `negatives` | train | 5 |",
        "| `default` | train | 4 |",
        "has_faces",
    ):
        assert told in card


def hashes(folder: Path) -> dict[str, str]:
    paths = [*folder.rglob("*.arrow"), *folder.rglob("*.parquet")]
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}


@pytest.mark.parametrize("engine", ["local", pytest.param("datatrove", marks=pytest.mark.slow)])
def test_other_processes_write_the_same_bytes(
    engine: str, made: Any, photographs: Path, tmp_path: Path
) -> None:
    place = Place(tmp_path, photographs)
    place.run(workers=2, engine=engine)
    assert hashes(place.output) == hashes(made[0].output)
    assert len(hashes(place.output)) > 10


def test_a_second_run_asks_nobody_and_changes_nothing(made: Any) -> None:
    place, first = made
    before = {path: file_sha256(path) for path in place.output.rglob("*") if path.is_file()}
    asked = place.maker.asked, place.eyes.asked
    assert place.run() == first
    assert (place.maker.asked, place.eyes.asked) == asked
    assert {path: file_sha256(path) for path in place.output.rglob("*") if path.is_file()} == before


def test_pairs_of_a_source_that_may_not_be_shared_are_known_for_it(photographs: Path, tmp_path: Path) -> None:
    """The name of the source goes with every picture, so that uploads are refused."""
    source = tmp_path / "ggt-100k"
    source.mkdir()
    shutil.copy(photographs / "chelsea.png", source)
    shutil.copy(photographs / "flower.png", source)
    place = Place(tmp_path, source, **{"judge: {audited: 2}": "  - judge: {audited: 0}\n"})
    place.run()
    with pytest.raises(DatasetError, match="holds pictures of GGT-100K"):
        check_shareable(place.output)


def test_photographs_with_faces_leave() -> None:
    told = [DIAGNOSIS, DIAGNOSIS | {"has_faces": True}, DIAGNOSIS | {"face_count": 2}]
    found = FaceFree().decide([{"id": "a", "diagnosis": json.dumps(one)} for one in told], Context(0))
    assert found == [Kept(), Dropped("faces", "0"), Dropped("faces", "2")]


def test_packing_needs_the_generators(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text("stages:\n  - gather: {smallest: 8}\n  - pack-pairs\n")
    with pytest.raises(CurationError, match="stage pack-pairs needs the column lq"):
        load_configuration(path)


def test_a_run_whose_candidates_all_wait_ends_before_what_needs_them(
    photographs: Path, tmp_path: Path
) -> None:
    """As after a batch is sent: it is no error, and the next run goes on."""
    place = Place(tmp_path, photographs)
    drawn = place.maker.send

    def lost(_: Any) -> Any:
        raise PossiblyBilledError("cut")

    place.maker.send = lost  # type: ignore[method-assign]
    counts = place.run()
    assert counts["edit"].later == {"maker: possibly billed": 10}
    assert list(counts)[-1] == "edit" and not (place.output / "data").exists()
    place.maker.send = drawn  # type: ignore[method-assign]
    place.ledger = Ledger(tmp_path / "another")  # as if the answers had come
    assert place.run()["judge"].kept == 4
