"""A run tells what has become of its rows, also where it ends early."""

import json
from pathlib import Path
from typing import Any

import pytest

from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.decided import read_run
from ggt_hub.curation.run import _stretches
from ggt_hub.errors import CurationError, GGTHubError, JudgeError, PossiblyBilledError
from tests.curation.pairs import Maker, Place, write_photographs


def test_slices_wait_for_each_other_only_where_something_is_learned() -> None:
    stretches = [
        [stage.name for stage in stretch] for stretch in _stretches(load_configuration("ggt").stages)
    ]
    assert stretches == [
        ["gather"],
        ["unlike"],
        ["apart", "crop", "diagnose", "compose-adaptive", "edit", "register", "measure"],
        ["gate"],
        ["judge"],
        ["pack-pairs"],
    ]


def test_a_run_that_ends_early_tells_what_came_of_the_slices_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, write_photographs(tmp_path / "photographs"))
    sent = Maker.send

    def send(self: Maker, question: Any) -> Any:
        if self.asked >= 4:
            raise JudgeError("no more")
        return sent(self, question)

    with monkeypatch.context() as patch:
        patch.setattr(Maker, "send", send)
        with pytest.raises(JudgeError, match="no more"):
            place.run()
    funnel = {one["stage"]: one for one in json.loads((place.output / "funnel.json").read_text())}
    assert [*funnel] == ["gather", "unlike", "crop", "diagnose", "compose", "edit", "register", "measure"]
    assert funnel["gather"]["kept"] == 5
    # The first slice, two photographs with two candidates each, is through; the next ended while it was edited.
    assert [(funnel[name]["rows"], funnel[name]["kept"]) for name in ("unlike", "edit")] == [(2, 2), (2, 4)]
    assert place.run()["edit"].rows == 5


def test_a_damaged_table_is_named_and_made_anew_once_it_is_away(tmp_path: Path) -> None:
    place = Place(tmp_path, write_photographs(tmp_path / "photographs"))
    counts = place.run()
    table = place.output / ".ggt-hub/curation/measure/000001.arrow"
    whole = table.read_bytes()
    table.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CurationError, match=r"000001\.arrow is damaged: move it away and run again"):
        [*read_run(place.output).outcomes("measure", ["measures"])]
    with pytest.raises(
        GGTHubError, match=r"000001\.arrow was not made by an earlier run, or was changed since"
    ):
        place.run()
    table.unlink()
    assert place.run() == counts
    assert table.read_bytes() == whole


def test_a_file_is_no_folder_of_a_run(tmp_path: Path) -> None:
    place = Place(tmp_path, write_photographs(tmp_path / "photographs"))
    place.output.touch()
    with pytest.raises(CurationError, match="out is a file: name a folder"):
        place.run()


@pytest.mark.parametrize(
    ("waiting", "told"), [(1, ["edit", "register", "measure", "gate", "judge"]), (10, ["edit"])]
)
def test_only_where_all_of_it_waits_the_funnel_ends(
    waiting: int, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, write_photographs(tmp_path / "photographs"))
    sent = Maker.send

    def send(self: Maker, question: Any) -> Any:
        if self.asked < waiting:
            self.count()
            raise PossiblyBilledError("cut")
        return sent(self, question)

    monkeypatch.setattr(Maker, "send", send)
    counts = place.run()
    assert counts["edit"].later == {"maker: possibly billed": waiting}
    assert [*counts][-len(told) :] == told
