"""Benchmarks: suites of pictures, runs of a restorer over them, scores with intervals, comparisons, reports."""

from ggt_hub.evaluation.compare import Comparison, Difference, compare
from ggt_hub.evaluation.run import run_suite
from ggt_hub.evaluation.score import score_folders
from ggt_hub.evaluation.suite import Item, Suite, list_suites, load_suite

__all__ = [
    "Comparison",
    "Difference",
    "Item",
    "Suite",
    "compare",
    "list_suites",
    "load_suite",
    "run_suite",
    "score_folders",
]
