"""Engines: the same bytes by whatever scheduler, and one clear word where one cannot be had."""

import sys
from pathlib import Path
from typing import Any

import pytest

from ggt_hub.engines import ENGINES, check_engine
from ggt_hub.errors import GGTHubError
from ggt_hub.shards import Shard, run_shards


def write(text: str, path: Path) -> dict[str, Any]:
    """A piece of work; a function of a module, so that other processes find it."""
    if text == "bad":
        raise ValueError("this one cannot be made")
    path.write_text(text)
    return {"length": len(text)}


def made(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}


@pytest.mark.parametrize("engine", ENGINES)
def test_shards_are_the_same_and_what_is_done_is_not_done_again(engine: str, tmp_path: Path) -> None:
    shards = [Shard(f"{name}.txt", (name * 3,)) for name in "abcd"]
    run_shards(write, shards[:2], tmp_path, settings=1)
    before = (tmp_path / "a.txt").stat().st_mtime_ns
    reports = run_shards(write, shards, tmp_path, settings=1, workers=2, engine=engine)
    assert [(report["name"], report["length"]) for report in reports] == [(f"{n}.txt", 3) for n in "abcd"]
    assert made(tmp_path) == {f"{name}.txt": name.encode() * 3 for name in "abcd"}
    assert (tmp_path / "a.txt").stat().st_mtime_ns == before


def test_a_task_that_fails_is_told_and_the_others_stay_done(tmp_path: Path) -> None:
    shards = [Shard("good.txt", ("good",)), Shard("bad.txt", ("bad",))]
    with pytest.raises(ValueError, match="this one cannot be made"):
        run_shards(write, shards, tmp_path, settings=1, workers=1, engine="datatrove")
    assert made(tmp_path) == {"good.txt": b"good"}


def test_an_engine_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GGTHubError, match=r"no engine 'rai': there are local, datatrove, ray.*did you mean"):
        check_engine("rai")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GGTHubError, match=r"the engine ray needs ray: pip install 'ggt-hub\[engines\]'"):
        check_engine("ray")
    check_engine("local")
