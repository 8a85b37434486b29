"""From submissions to a leaderboard: a folder that is a static Space."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ggt_hub.commit import check_results, committed_result, file_sha256, to_json
from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation import results
from ggt_hub.evaluation.leaderboard.checking import (
    check_means,
    check_pictures,
    check_protocols,
    check_same_protocol,
    check_scores,
    check_sets,
    check_unjudged,
    sets_of,
)
from ggt_hub.evaluation.leaderboard.page import Entry, card, write_page
from ggt_hub.evaluation.leaderboard.voted import count_votes, voting_on
from ggt_hub.evaluation.rows import Row, score_names
from ggt_hub.evaluation.suite import Suite, list_suites, load_suite
from ggt_hub.evaluation.table import run_labels, shown_table
from ggt_hub.evaluation.votes import Voting
from ggt_hub.metrics import METRICS, SET_METRICS, get_metric

BOARD, HISTORY, PAGE, CARD = "leaderboard.json", "history.json", "index.html", "README.md"
_TABLES = {"table.md": "md", "table.csv": "csv", "table.tex": "latex"}


def build_leaderboard(
    runs: Sequence[Path],
    output: Path,
    data: Path | None = None,
    weights: Path | None = None,
    votes: Path | None = None,
) -> dict[str, Any]:
    """Check submissions and write the leaderboard: the page, its data, tables, and the history.

    Means are computed from the rows of each, every hash is checked, and every picture of a row that does not yet
    stand on this leaderboard is scored again.

    Args:
        runs: folders that `bench run` wrote, over one suite.
        output: folder of the leaderboard; what an earlier build left there is its history.
        data: folder with the suite's pictures, where they are not downloaded by name.
        weights: folder with the weights of perceptual metrics.
        votes: file of votes on results of these runs; see `voted`.

    Returns:
        The content of `leaderboard.json`.

    Raises:
        EvaluationError: if a run is incomplete, not by the same protocol over the same pictures as the others, or
            not what its pictures give; the message names it.
        WriteError: if a file lies there that no build wrote.
    """
    check_results(output, [BOARD, HISTORY, PAGE, CARD, *_TABLES])
    read = {run: results.read(run) for run in runs}
    first = next(iter(read))
    for run, (about, rows) in read.items():
        check_unjudged(run, about, rows)
        check_same_protocol(run, (about, rows), first, read[first])
        check_means(run, about, rows)
        check_protocols(run, about, rows)
    suite = _suite(read[first][0]["suite"], data, read[first][0]["revision"])
    checked = _check_new(read, suite, _read_list(output / BOARD, "rows"), weights)
    labels = run_labels([*read], [about for about, _ in read.values()])
    entries = [
        Entry(label, _proven(about, rows), rows)
        for label, (about, rows) in zip(labels, read.values(), strict=True)
    ]
    voted = None if votes is None else count_votes(votes, entries)
    board = _board(entries, suite, checked) | ({} if voted is None else {"voted": voted.told()})
    history = _continued(_read_list(output / HISTORY), board)
    told = {entry.label: entry.about for entry in entries}
    texts = {name: shown_table(told, form) for name, form in _TABLES.items()}
    texts |= {BOARD: to_json(board), HISTORY: to_json(history), CARD: card(suite)}
    output.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with committed_result(output, name) as path:
            path.write_text(text, encoding="utf-8")
    with committed_result(output, PAGE) as path:
        write_page(path, suite, entries, history, [] if voted is None else voted.tables())
    return board


def open_voting(runs: Sequence[Path], votes: Path, data: Path | None = None) -> Voting:
    """What people may vote on: the results of runs over one suite.

    Args:
        runs: folders that `bench run` wrote.
        votes: file of votes, which is made or continued.
        data: folder with the suite's pictures, where they are not downloaded by name.

    Raises:
        EvaluationError: if they are not over the same pictures, or a picture is not what its run says.
    """
    about, _ = results.read(runs[0])
    return voting_on(runs, _suite(about["suite"], data, about["revision"]), votes)


def _proven(about: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """What rows and pictures prove of a run; and which way is better is not for it to say."""
    directions = {name: get_metric(name).direction for name in score_names(rows, before=False)}
    directions |= {name: SET_METRICS[name].direction for name in sets_of(about)}
    return about | {"sets": sets_of(about), "directions": directions}


def _suite(name: str, data: Path | None, revision: str | None) -> Suite:
    if name in list_suites():
        return load_suite(name, data, revision)
    if data is None:
        raise EvaluationError(
            f"the runs are over a folder {name!r}: name it with --data, so that they can be checked"
        )
    return load_suite(str(data))


def _check_new(
    read: dict[Path, Any], suite: Suite, known: Sequence[dict[str, Any]], weights: Path | None
) -> list[str]:
    """Check the hashes of all, score the pictures of new rows again, and give the fingerprint of each."""
    fingerprints = {run: file_sha256(run / results.SCORES) for run in read}
    before = {row["scores_sha256"]: row.get("sets", {}) for row in known}
    limit = next(iter(read.values()))[0]["limit"]
    items = [*islice(suite.items(), limit)]
    for run, (about, rows) in read.items():
        check_pictures(run, rows, items)
        if fingerprints[run] not in before:
            check_scores(run, about, rows, items, weights)
        if sets_of(about) != before.get(fingerprints[run], {}):  # the rows know nothing of them
            check_sets(run, about, items, weights)
    return [*fingerprints.values()]


def _board(entries: Sequence[Entry], suite: Suite, fingerprints: Sequence[str]) -> dict[str, Any]:
    about = entries[0].about
    shared = {key: about[key] for key in ("suite", "title", "revision", "limit", "pictures", "protocols")}
    rows = [
        {
            "label": entry.label,
            "model": entry.about["model"],
            "arguments": entry.about["arguments"],
            "overall": entry.about["overall"],
            "tasks": entry.about["tasks"],
            "sets": entry.about["sets"],
            "cost": {
                key: value for key, value in entry.about["cost"].items() if key != "seconds_per_picture"
            },
            "device": entry.about["device"],
            "versions": entry.about["versions"],
            "date": entry.about["date"],
            "scores_sha256": fingerprint,
            "pictures_sha256": {row["id"]: row["output_sha256"] for row in entry.rows},
        }
        for entry, fingerprint in zip(entries, fingerprints, strict=True)
    ]
    return shared | {"rows": rows}


def _continued(history: list[dict[str, Any]], board: dict[str, Any]) -> list[dict[str, Any]]:
    """The history with today's means, unless they stand there already."""
    means = {
        row["label"]: {name: row["overall"][name]["mean"] for name in METRICS if name in row["overall"]}
        for row in board["rows"]
    }
    if history and history[-1]["means"] == means:
        return history
    return [*history, {"date": datetime.now(UTC).isoformat(timespec="seconds"), "means": means}]


def _read_list(path: Path, key: str | None = None) -> list[dict[str, Any]]:
    """What an earlier build wrote; nothing where there was none."""
    if not path.is_file():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    return list(content[key] if key else content)
