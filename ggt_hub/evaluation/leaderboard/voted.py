"""What people prefer on a leaderboard: strengths of its rows, and how far each metric agrees with the votes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation import results
from ggt_hub.evaluation.bradley_terry import Strength, bradley_terry, strengths_table
from ggt_hub.evaluation.leaderboard.checking import check_pictures, check_same_protocol
from ggt_hub.evaluation.leaderboard.page import Entry
from ggt_hub.evaluation.rows import score_names, scored
from ggt_hub.evaluation.run import restored_path
from ggt_hub.evaluation.suite import Suite
from ggt_hub.evaluation.table import run_labels
from ggt_hub.evaluation.votes import Results, Vote, Voting, counted, read_votes
from ggt_hub.metrics import get_metric
from ggt_hub.reports import Table
from ggt_hub.reports.page import Cell

_FEWEST_ROWS = 3  # below, any two orders correlate wholly


class Agreement(NamedTuple):
    """How far a metric goes with the votes.

    Attributes:
        kendall, spearman: tau-b and rho of its means and the strengths, over the rows; 1 where it ranks them as
            people do. None of fewer than three rows, or where all means are alike.
        share: of the votes that were no ties, how many are for the one whose picture scores better; equal scores
            count as half.
    """

    kendall: float | None
    spearman: float | None
    share: float | None


@dataclass(frozen=True)
class Voted:
    """What votes come to.

    Attributes:
        votes: how many are of results of this leaderboard.
        left_out: how many are of others.
        strengths: by the labels of rows that were voted on, the strongest first.
        metrics: by their names.
    """

    votes: int
    left_out: int
    strengths: Mapping[str, Strength]
    metrics: Mapping[str, Agreement]

    def told(self) -> dict[str, Any]:
        """For `leaderboard.json`."""
        plain = {name: getattr(self, name) for name in ("strengths", "metrics")}
        return asdict(self) | {
            name: {key: one._asdict() for key, one in of.items()} for name, of in plain.items()
        }

    def tables(self) -> list[Table]:
        """For the page."""
        agreed: list[list[Cell]] = [[name, *one] for name, one in self.metrics.items()]
        told = (
            "Kendall's tau-b and Spearman's rho over rows, 1 where the metric ranks them as people do; and the "
            "share of decided votes that are for the picture that scores better (0.5 by chance)."
        )
        return [
            strengths_table(self.strengths, self.votes, self.left_out),
            Table(["metric", "Kendall", "Spearman", "share of votes"], agreed, "Metrics against votes", told),
        ]


def count_votes(path: Path, entries: Sequence[Entry]) -> Voted:
    """Strengths and agreements from a file of votes.

    Raises:
        EvaluationError: if it cannot be read, none of its votes is of these results, rows that were voted on were
            never compared, or scipy is not installed.
    """
    hashes = {entry.label: {row["id"]: row["output_sha256"] for row in entry.rows} for entry in entries}
    votes, left_out = counted(read_votes(path), lambda label, picture: hashes.get(label, {}).get(picture))
    if not votes:
        raise EvaluationError(
            f"{path}: none of its {left_out} votes is of results of these runs: vote on them by `leaderboard vote`"
        )
    strengths = bradley_terry((vote.left, vote.right, vote.share) for vote in votes)
    names = [
        name for name in score_names(entries[0].rows, before=False) if name in entries[0].about["overall"]
    ]
    return Voted(
        len(votes), left_out, strengths, {name: _agreement(name, entries, strengths, votes) for name in names}
    )


def voting_on(runs: Sequence[Path], suite: Suite, path: Path) -> Voting:
    """Votes on the results of runs over one suite.

    Args:
        runs: folders that `bench run` wrote.
        suite: whose pictures they restored.
        path: of the file of votes.

    Raises:
        EvaluationError: if they are not over the same pictures, or a picture has another hash.
    """
    read = {run: results.read(run) for run in runs}
    first = runs[0]
    items = [*islice(suite.items(), read[first][0]["limit"])]
    for run, told in read.items():
        check_same_protocol(run, told, first, read[first])
        check_pictures(run, told[1], items)
    labels = run_labels(runs, [about for about, _ in read.values()])
    pictures = {
        item.id: Results(
            partial(getattr, item, "lq"),
            {label: restored_path(item, run).read_bytes for label, run in zip(labels, runs, strict=True)},
        )
        for item in items
    }
    return Voting(pictures, path)


def _agreement(
    name: str, entries: Sequence[Entry], strengths: Mapping[str, Strength], votes: Sequence[Vote]
) -> Agreement:
    sign = 1 if get_metric(name).direction == "higher" else -1
    means = {entry.label: sign * entry.about["overall"][name]["mean"] for entry in entries}
    points = [one.points for one in strengths.values()]
    kendall, spearman = _correlations([means[label] for label in strengths], points)
    scores = {
        entry.label: {row["id"]: sign * row[name] for row in scored(entry.rows, name)} for entry in entries
    }
    gaps = [
        (1 if vote.vote == "left" else -1)
        * (scores[vote.left][vote.picture] - scores[vote.right][vote.picture])
        for vote in votes
        if vote.vote != "tie" and vote.picture in scores[vote.left] and vote.picture in scores[vote.right]
    ]
    share = float(np.mean(np.sign(gaps) / 2 + 0.5)) if gaps else None
    return Agreement(kendall, spearman, share)


def _correlations(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float | None, float | None]:
    try:
        from scipy.stats import kendalltau, spearmanr
    except ImportError as error:
        raise EvaluationError(
            "votes need scipy, which is not installed: pip install 'ggt-hub[metrics]'"
        ) from error
    if len(ours) < _FEWEST_ROWS or len({*ours}) == 1 or len({*theirs}) == 1:
        return None, None
    return float(kendalltau(ours, theirs).statistic), float(spearmanr(ours, theirs).statistic)
