"""Several runs as one table for a paper: arrows, the best in bold, intervals, and what each picture cost."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation import results
from ggt_hub.evaluation.compare import check_alike

_COST = {
    "seconds": "s / picture",
    "peak_memory": "memory (GiB)",
    "parameters": "parameters (M)",
    "multiply_adds": "multiply-adds (G)",
}


@dataclass(frozen=True)
class _Score:
    """A mean as it is printed."""

    mean: float
    low: float | None
    high: float | None
    count: int
    of: int
    is_best: bool

    def __str__(self) -> str:
        return _number(self.mean)

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"[{_number(self.low)}, {_number(self.high)}]"

    @property
    def gap(self) -> str:
        """How many pictures it lacks."""
        return "" if self.count == self.of else f"{self.count} of {self.of}"


def runs_table(runs: Sequence[Path], form: str) -> str:
    """A line for each run.

    Args:
        runs: output folders of `bench run` over the same suite.
        form: "latex", "csv" or "md".

    Raises:
        EvaluationError: if a folder holds no results, or the runs do not belong into one table.
    """
    if form not in _FORMS:
        raise EvaluationError(f"unknown format {form!r}: there are {', '.join(_FORMS)}")
    read = [results.read(run)[0] for run in runs]
    for other in read[1:]:
        check_alike(read[0], other)
    if len({(about["pictures"], about["limit"]) for about in read}) > 1:
        counts = ", ".join(str(about["pictures"]) for about in read)
        raise EvaluationError(f"the runs are over different numbers of pictures ({counts}): run them alike")
    return shown_table(dict(zip(run_labels(runs, read), read, strict=True)), form)


def shown_table(told: Mapping[str, dict[str, Any]], form: str) -> str:
    """A line for each label, of runs that are alike.

    Args:
        told: label -> `results.json`.
        form: "latex", "csv" or "md".
    """
    read = [*told.values()]
    names = list(dict.fromkeys(name for about in read for name in about["directions"]))
    names = [name for name in names if not name.startswith("rating_") and any(_mean(a, name) for a in read)]
    directions = {name: way for about in read for name, way in about["directions"].items()}
    lines = [
        (label, [_score(about, name, directions[name], read) for name in names], _costs(about))
        for label, about in told.items()
    ]
    return _FORMS[form](names, directions, lines)


def run_labels(runs: Sequence[Path], read: Sequence[dict[str, Any]]) -> list[str]:
    """What runs are called: by their model, and as far as that is not enough by what else tells them apart."""
    labels = [about["model"]["name"] for about in read]
    further: list[Callable[[int], str]] = [
        lambda at: f"@{read[at]['model'].get('revision', '')[:8]}".rstrip("@"),
        lambda at: _settings(read[at]),
        lambda at: f" ({Path(runs[at]).name})",
        lambda at: f" #{at + 1}",
    ]
    for more in further:
        twice = {label for label, count in Counter(labels).items() if count > 1}
        labels = [label + more(at) if label in twice else label for at, label in enumerate(labels)]
    return labels


def _settings(about: dict[str, Any]) -> str:
    given = [f"{name}={value}" for name, value in about["arguments"].items()]
    return f" ({', '.join(given)})" if given else ""


def _mean(about: dict[str, Any], name: str) -> float | None:
    return _found(about, name).get("mean")


def _found(about: dict[str, Any], name: str) -> dict[str, Any]:
    """A mean with its interval, or a score of all pictures, which has none; empty where there is neither."""
    if name in about["overall"]:
        return dict(about["overall"][name])
    score = about.get("sets", {}).get(name)
    count = about["pictures"]
    return (
        {"mean": score.get("after"), "low": None, "high": None, "count": count, "of": count} if score else {}
    )


def _score(about: dict[str, Any], name: str, direction: str, read: Sequence[dict[str, Any]]) -> _Score | None:
    mean = _mean(about, name)
    if mean is None:
        return None
    known = [value for other in read if (value := _mean(other, name)) is not None]
    best = max(known) if direction == "higher" else min(known)
    found = _found(about, name)
    return _Score(
        mean, found["low"], found["high"], found["count"], found["of"], _number(mean) == _number(best)
    )


def _costs(about: dict[str, Any]) -> list[str]:
    cost = about["cost"]
    scales = {"seconds": 1.0, "peak_memory": 2.0**30, "parameters": 1e6, "multiply_adds": 1e9}
    return ["" if cost.get(name) is None else f"{cost[name] / scale:.3g}" for name, scale in scales.items()]


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


Line = tuple[str, list[_Score | None], list[str]]


def _markdown(names: Sequence[str], directions: dict[str, str], lines: Sequence[Line]) -> str:
    arrows = {"higher": "↑", "lower": "↓"}
    head = ["model", *(f"{name} {arrows[directions[name]]}" for name in names), *_COST.values()]
    rows = [head, ["---"] * len(head)]
    for label, scores, costs in lines:
        cells = [
            _joined(score, f"**{score}**" if score and score.is_best else str(score)) for score in scores
        ]
        rows.append([label.replace("|", "\\|"), *cells, *costs])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _latex(names: Sequence[str], directions: dict[str, str], lines: Sequence[Line]) -> str:
    arrows = {"higher": r"$\uparrow$", "lower": r"$\downarrow$"}
    head = [
        "model",
        *(f"{_tex(name)} {arrows[directions[name]]}" for name in names),
        *map(_tex, _COST.values()),
    ]
    rows = [" & ".join(head) + r" \\", r"\midrule"]
    for label, scores, costs in lines:
        cells = [
            _joined(
                score,
                rf"\textbf{{{score}}}" if score and score.is_best else str(score),
                r"{\scriptsize ",
                "}",
            )
            for score in scores
        ]
        rows.append(" & ".join([_tex(label), *cells, *costs]) + r" \\")
    body = "\n".join(rows)
    columns = "l" + "c" * (len(names) + len(_COST))
    top = f"% needs \\usepackage{{booktabs}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule"
    return f"{top}\n{body}\n\\bottomrule\n\\end{{tabular}}"


def _csv(names: Sequence[str], directions: dict[str, str], lines: Sequence[Line]) -> str:
    """All digits, for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("mean", "low", "high", "count", "of")
    columns = [f"{name}" if part == "mean" else f"{name}_{part}" for name in names for part in parts]
    writer.writerow(["model", *columns, "best", *_COST.values()])
    for label, scores, costs in lines:
        cells = [getattr(score, part) if score else None for score in scores for part in parts]
        best = " ".join(name for name, score in zip(names, scores, strict=True) if score and score.is_best)
        writer.writerow([label, *cells, best, *costs])
    return text.getvalue().rstrip("\n")


def _joined(score: _Score | None, mean: str, before: str = "", after: str = "") -> str:
    if score is None:
        return ""
    further = " ".join(part for part in (score.interval, score.gap) if part)
    return f"{mean} {before}{further}{after}" if further else mean


def _tex(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "&%$#_{}" else letter for letter in text)


_FORMS = {"latex": _latex, "csv": _csv, "md": _markdown}
