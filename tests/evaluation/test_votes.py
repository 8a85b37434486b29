"""Votes: who is shown what, what is kept of it, and of which results it is."""

import hashlib
import io
import json
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.votes import Duel, Results, Voting, counted, read_votes


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Results]:
    """Three pictures of which two have three results, and one has two."""
    found = {}
    for number, players in enumerate(("abc", "abc", "ab")):
        files = {}
        for level, name in enumerate(("input", *players)):
            path = tmp_path / f"{name}-{number}.png"
            Image.fromarray(np.full((4, 4, 3), 40 * level + number, np.uint8)).save(path)
            files[name] = path
        found[f"p{number}"] = Results(
            partial(Image.open, files.pop("input")), {name: path.read_bytes for name, path in files.items()}
        )
    return found


def test_each_pair_of_each_picture_is_shown_once_sides_by_chance(
    pictures: dict[str, Results], tmp_path: Path
) -> None:
    orders = {name: Voting(pictures, tmp_path / "votes").order(name) for name in ("anna", "ben", "carl")}
    for order in orders.values():
        assert Counter((one.picture, frozenset(one[1:])) for one in order) == Counter(
            [(f"p{n}", frozenset(pair)) for n in (0, 1) for pair in ("ab", "ac", "bc")]
            + [("p2", frozenset("ab"))]
        )
    assert orders["anna"] == Voting(pictures, tmp_path / "votes").order("anna") != orders["ben"]
    sides = Counter(one.left < one.right for order in orders.values() for one in order)
    assert min(sides.values()) >= 5  # of 21; so few happen by chance in 1 of 40 cases, and names are fixed


def test_a_vote_is_of_the_files_that_were_shown_and_is_known_again(
    pictures: dict[str, Results], tmp_path: Path
) -> None:
    path = tmp_path / "votes.jsonl"
    voting = Voting(pictures, path)
    duel = voting.order("anna")[0]
    voting.say("anna", 0, "left")
    (vote,) = read_votes(path)
    shown = [hashlib.sha256(pictures[duel.picture].results[name]()).hexdigest() for name in duel[1:]]
    assert (vote.left, vote.right, vote.left_sha256, vote.right_sha256) == (*duel[1:], *shown)
    assert Voting(pictures, path).progress("anna") == (1, 6)
    level = {name: 40 * n for n, name in enumerate(("input", "a", "b", "c"))}
    shown_levels = [np.asarray(Image.open(_file(data))).max() for data in voting.pictures(duel)]
    number = int(duel.picture[1])
    assert shown_levels == [level[duel.left] + number, number, level[duel.right] + number]
    # The same name, another file: that is another question.
    (tmp_path / f"{duel.left}-{number}.png").write_bytes(b"other")
    assert Voting(pictures, path).progress("anna") == (0, 7)


def _file(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)


def test_the_last_word_counts_whichever_side_it_stood_on(tmp_path: Path) -> None:
    told = {
        "picture": "p",
        "left": "a",
        "right": "b",
        "left_sha256": "1",
        "right_sha256": "2",
        "voter": "anna",
    }
    turned = {"left": "b", "right": "a", "left_sha256": "2", "right_sha256": "1"}
    lines = [
        told | {"vote": "left"},
        told | {"vote": "tie", "voter": "ben"},
        told | turned | {"vote": "left"},
    ]
    (tmp_path / "votes").write_text("\n".join(map(json.dumps, lines)))
    votes = {vote.voter: vote for vote in read_votes(tmp_path / "votes")}
    assert (votes["anna"].left, votes["anna"].share, votes["ben"].share) == ("b", 1.0, 0.5)
    kept, left_out = counted(votes.values(), lambda name, picture: {"ap": "1", "bp": "2"}.get(name + picture))
    assert (len(kept), left_out) == (2, 0)
    assert counted(votes.values(), lambda name, picture: {"ap": "1", "bp": "3"}.get(name + picture)) == (
        [],
        2,
    )


def test_what_is_no_vote_is_named(tmp_path: Path) -> None:
    (tmp_path / "votes").write_text('{"picture": "p", "left": "a"}\n')
    with pytest.raises(EvaluationError, match="votes, line 1: the field 'right' is missing"):
        read_votes(tmp_path / "votes")
    with pytest.raises(EvaluationError, match="no two results of one picture"):
        Voting({"p": Results(lambda: None, {"a": bytes})}, tmp_path / "none")


def test_pictures_that_are_gone_do_not_matter(pictures: dict[str, Results], tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    Voting(pictures, path).say("anna", 0, "tie")
    del pictures[Voting(pictures, path).order("anna")[0].picture]
    voting = Voting(pictures, path)
    assert voting.progress("anna")[0] == 0 and all(isinstance(one, Duel) for one in voting.order("anna"))
