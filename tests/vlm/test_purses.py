"""Budgets belong to runs, and go with their folders."""

import re
import shutil
import threading
from pathlib import Path

import pytest

from ggt_hub.errors import JudgeError
from ggt_hub.vlm import Budget, Ledger, purse_of
from ggt_hub.vlm.purses import keep_purse


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def budget(folder: Path, ledger: Ledger) -> Budget:
    return Budget(max_calls=3, ledger=ledger, purse=purse_of(folder, ledger), folder=folder)


def test_a_budget_goes_with_its_folder_and_a_copy_shares_it(tmp_path: Path, ledger: Ledger) -> None:
    first = budget(tmp_path / "run", ledger)
    assert not (tmp_path / "run").exists()  # before anything is asked
    first.begin("m")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    budget(moved, ledger).begin("m")
    budget(tmp_path / "copy", ledger).begin("m")
    for folder in (moved, tmp_path / "copy"):
        with pytest.raises(JudgeError, match="the budget of 3 calls is spent"):
            budget(folder, ledger).begin("m")
    budget(tmp_path / "run", ledger).begin("m")  # another run, where the first one was
    assert re.fullmatch("run-[0-9a-f]{32}", first.purse)


def test_a_run_of_an_earlier_version_keeps_its_budget_and_takes_it_along(
    tmp_path: Path, ledger: Ledger
) -> None:
    (tmp_path / "run").mkdir()
    ledger.begin_request(str(tmp_path / "run"), None, None)
    budget(tmp_path / "run", ledger).begin("m")
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert (purse_of(moved, ledger), budget(moved, ledger).calls) == (str(tmp_path / "run"), 2)


def test_those_who_begin_a_run_at_once_share_its_budget(tmp_path: Path, ledger: Ledger) -> None:
    both = [budget(tmp_path / "run", ledger) for _ in range(2)]
    assert both[0].purse != both[1].purse
    threads = [threading.Thread(target=one.hold) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert both[0].purse == both[1].purse == purse_of(tmp_path / "run", ledger)


def test_a_damaged_name_is_an_error_and_no_new_budget(tmp_path: Path, ledger: Ledger) -> None:
    keep_purse(tmp_path, "mine")
    assert keep_purse(tmp_path, "another") == purse_of(tmp_path, ledger) == "mine"
    for content in (b"", b"\n", b"\xff"):
        (tmp_path / ".ggt-hub/purse").write_bytes(content)
        with pytest.raises(JudgeError, match="the name of the run's budget"):
            purse_of(tmp_path, ledger)
