"""Which planted faults the gates catch, and which good candidates they keep: `python benchmarks/gates.py [NAME]`.

Photographs of the package, four if none is named, under six kinds of damage, light and heavy; about a minute on one
core for each. The limits were chosen on the four; `astronaut` was not looked at before.
"""

import sys
from collections import Counter
from collections.abc import Callable
from itertools import product

import cv2
import numpy as np

from ggt_hub.curation.measures import measured
from ggt_hub.curation.stage import Dropped
from ggt_hub.curation.stages.gate import Gate
from tests.curation.planted import barred, coded, damaged, graded, gridded, sample

Candidate = Callable[[np.ndarray, np.ndarray], np.ndarray]

CANDIDATES: dict[str, Candidate] = {
    "good: the original": lambda lq, good: good,
    "good: 60 % of the way": lambda lq, good: np.rint(0.6 * good + 0.4 * lq).astype(np.uint8),
    "unchanged": lambda lq, good: lq,
    "unchanged, JPEG 95": lambda lq, good: coded(lq, 95),
    "unchanged, JPEG 90": lambda lq, good: coded(lq, 90),
    "unchanged, JPEG 83 4:4:4": lambda lq, good: coded(lq, 83, 0),
    "mirrored": lambda lq, good: good[:, ::-1],
    "another scene": lambda lq, good: sample("coffee"),
    "a bar": lambda lq, good: barred(good),
    "a grid": lambda lq, good: gridded(good),
    "a warm grade": lambda lq, good: graded(good),
    "blurred further": lambda lq, good: cv2.GaussianBlur(lq, (0, 0), 2),
}
TASKS = ("noise", "blur", "haze", "low_light", "compression", "rain")


def main() -> None:
    gate, found = Gate(), {name: Counter[str]() for name in CANDIDATES}
    names = sys.argv[1:] or ["chelsea", "flower", "china", "rocket"]
    for name, task, severity in product(names, TASKS, (0.15, 0.6)):
        good = sample(name)
        lq = damaged(good, task, severity)
        for label, candidate in CANDIDATES.items():
            outcome = gate._decide(measured(lq, candidate(lq, good)), task, {})
            found[label][outcome.reason if isinstance(outcome, Dropped) else "kept"] += 1
    for label, counts in found.items():
        print(f"{label:<26}", ", ".join(f"{reason} {count}" for reason, count in counts.most_common()))


if __name__ == "__main__":
    main()
