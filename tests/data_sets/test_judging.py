"""Clean pictures that a judge leaves out: asked once, whatever happens in between, and the same bytes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.data.reading.clean import find_clean
from ggt_hub.data.reading.opening import open_splits
from ggt_hub.data.work.filters import choose
from ggt_hub.errors import JudgeError
from ggt_hub.vlm import PROTOCOLS, Judge, Ledger, ServerChat
from tests.data_sets.test_export import contents
from tests.photographs import photograph
from tests.servers.openai_chat import ChatServer

NONE, MILD, STRONG = (f"退化分数：{score}" for score in (5, 4, 2))
REFUSED = {"error": {"message": "not this picture"}}


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four photographs, a to d; replies are kept in a ledger of the test's."""
    (tmp_path / "clean").mkdir()
    for number, name in enumerate("abcd"):
        Image.fromarray(np.roll(photograph(64), 16 * number, axis=1)).save(tmp_path / f"clean/{name}.png")
    monkeypatch.setenv("GGT_HUB_LEDGER", str(tmp_path / "ledger.sqlite"))
    return tmp_path / "clean"


def make(clean: Path, server: ChatServer, output: str, *options: object) -> Result:
    command = ["data", "make", "noise", "--clean", clean, "--count", 8, "-o", clean.parent / output]
    judge = ["--judge", "m", "--judge-url", server.url, "--protocol", "strict", "--judge-workers", 1]
    arguments = map(str, [*command, *judge, *(options or ["--filter", "watermark"])])
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})


def used(clean: Path, output: str) -> set[str]:
    """Of which pictures pairs were made."""
    return {row.rsplit("-", 1)[1] for row in open_splits(str(clean.parent / output))["train"]["id"]}


def tables(clean: Path, output: str) -> dict[str, bytes]:
    files = contents(clean.parent / output).items()
    return {name: data for name, data in files if name.endswith(".parquet")}


def test_what_is_rated_below_the_limit_or_refused_is_left_out_and_asked_once(clean: Path) -> None:
    with ChatServer(NONE, MILD, REFUSED, NONE) as server:
        outcome = make(clean, server, "one")
        assert outcome.exit_code == 0, outcome.output
        assert used(clean, "one") == {"a", "d"}
        said = " ".join(outcome.output.split())
        assert "left out: b.png: watermark: rated 4 by m, below 5" in said
        assert "left out: c.png: watermark: the judge refuses the picture: m could not be asked" in said
        assert len(server.requests) == 4
        question = server.requests[0]["messages"][1]["content"][1]["text"]
        assert "5 = No “watermark, logo or text laid over the photograph”" in question
        again = make(clean, server, "one"), make(clean, server, "two")  # of the folder, and of the ledger
        assert [outcome.exit_code for outcome in again] == [0, 0] and len(server.requests) == 4
    assert tables(clean, "one") == tables(clean, "two") and len(tables(clean, "one")) == 1


def test_an_unreadable_rating_leaves_out_and_a_limit_of_ones_own_counts(clean: Path) -> None:
    with ChatServer(MILD, STRONG, "no", "no", NONE) as server:  # strict asks once more
        outcome = make(clean, server, "out", "--filter", "low-quality=3")
    assert used(clean, "out") == {"a", "d"}
    assert "b.png: low-quality: rated 2 by m, below 3" in outcome.output
    assert "c.png: low-quality: the judge gives no readable rating" in outcome.output


def test_a_judge_is_asked_last_and_only_of_what_is_left(clean: Path) -> None:
    Image.fromarray(photograph(64) // 16).save(clean / "b.png")
    with ChatServer(STRONG, NONE, NONE, MILD, MILD) as server:
        options = [each for name in ("watermark", "too-dark", "low-quality") for each in ("--filter", name)]
        make(clean, server, "out", *options)
    asked = [request["messages"][1]["content"][1]["text"] for request in server.requests]
    assert ["watermark" in question for question in asked] == [True] * 3 + [False] * 2  # a, c, d, then c, d
    assert used(clean, "out") == {"c", "d"}


def test_what_stops_in_between_goes_on_without_paying_twice(clean: Path) -> None:
    with ChatServer(NONE, NONE, STRONG, NONE) as server:
        stopped = make(clean, server, "out", "--filter", "watermark", "--max-calls", 2)
        assert isinstance(stopped.exception, JudgeError) and "the budget of 2 calls" in str(stopped.exception)
        assert not (clean.parent / "out/data").exists()
        assert make(clean, server, "out").exit_code == 0
        assert len(server.requests) == 4
        make(clean, server, "whole")
    assert used(clean, "out") == {"a", "b", "d"}
    assert tables(clean, "out") == tables(clean, "whole")


def test_what_may_have_been_billed_is_asked_again_only_on_demand(clean: Path) -> None:
    with ChatServer(NONE, "disconnect", NONE) as server:
        for _ in range(2):
            outcome = make(clean, server, "out")
            assert isinstance(outcome.exception, JudgeError)
            assert str(outcome.exception).startswith("1 questions about watermark may have been billed")
            assert len(server.requests) == 4
        assert make(clean, server, "out", "--filter", "watermark", "--ask-again").exit_code == 0
        assert len(server.requests) == 5
    assert used(clean, "out") == {"a", "b", "c", "d"}


def test_the_other_parts_find_what_the_first_was_told(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though each machine has a ledger of its own, and the judge another mind by then."""
    monkeypatch.setattr("ggt_hub.data.work.make.PAIRS_IN_A_SHARD", 2)
    with ChatServer(NONE, STRONG, NONE, NONE) as server:
        make(clean, server, "whole")
    with ChatServer(NONE, STRONG, NONE, NONE, STRONG) as server:
        for part in ("1/2", "2/2"):
            monkeypatch.setenv("GGT_HUB_LEDGER", str(tmp_path / f"ledger-{part[0]}.sqlite"))
            make(clean, server, "parts", "--filter", "watermark", "--shard", part)
        assert len(server.requests) == 4
    assert tables(clean, "parts") == tables(clean, "whole") and len(tables(clean, "whole")) == 4


def test_of_two_parts_at_the_same_time_one_asks(clean: Path, tmp_path: Path) -> None:
    """Each with a ledger of its own: only the folder tells them of each other."""

    def chosen(number: int) -> list[str]:
        chat, ledger = ServerChat("m", server.url), Ledger(tmp_path / f"{number}.sqlite")
        judge = Judge(chat, PROTOCOLS["strict"], ledger, workers=1)
        left, _ = choose(find_clean(clean), {"watermark": 5.0}, tmp_path / "out", judge=judge)
        return [picture.name for picture in left]

    with ChatServer(NONE, ("sleep", 0.2), NONE, NONE) as server, ThreadPoolExecutor(2) as pool:
        found = [*pool.map(chosen, range(2))]
        assert len(server.requests) == 4
    assert found == [["a.png", "c.png", "d.png"]] * 2  # who sleeps says 3


def test_a_judge_that_refuses_all_is_no_judge(clean: Path) -> None:
    with ChatServer(REFUSED) as server:
        outcome = make(clean, server, "out")
    assert isinstance(outcome.exception, JudgeError) and "refuses the first 3 pictures" in str(
        outcome.exception
    )
    assert len(server.requests) == 3
