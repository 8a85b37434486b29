"""How many rows a second go through `curate run ggt`, with pictures of 64 x 64 and one candidate of each.

    python -m benchmarks.curation_scale --rows 4000 --workers 2 --output out/scale
    python -m benchmarks.curation_scale --rows 1000 --workers 2 --output out/served --served

All stages but the search for duplicates. Who is asked stands in this process and answers at once; with `--served`
they are servers on this machine, behind the clients of Google and OpenAI. Begun again it goes on with what is left.
"""

import argparse
import json
import os
import resource
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.curation_run import configuration_of
from benchmarks.curation_servers import DIAGNOSIS, Judge, Maker, digest, file_of, verdict
from ggt_hub.curation.askers import open_askers
from ggt_hub.curation.configuration import GENERATOR, Configuration
from ggt_hub.curation.generators import accept_terms
from ggt_hub.curation.run import run
from ggt_hub.curation.zooms import glance
from ggt_hub.images.shown import shown_rgb
from ggt_hub.vlm import Asker, Ledger
from ggt_hub.vlm.asking import Question, Reply

SIDE = 64
Pixels = np.ndarray  # height x width x 3, uint8


def clean(number: int) -> Pixels:
    """Fractal, as landscapes are: another one for each number."""
    rng = np.random.default_rng(number)
    octaves = [
        cv2.resize(rng.uniform(-1, 1, (cells, cells, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        * 6
        / cells
        for cells in (4, 8, 16, 32)
    ]
    return np.clip(np.rint(128 + 60 * sum(octaves)), 0, 255).astype(np.uint8)


def poor(number: int) -> Pixels:
    """It with noise of 20 levels."""
    noise = np.random.default_rng(10**9 + number).normal(0, 20, (SIDE, SIDE, 3))
    return np.clip(np.rint(clean(number) + noise), 0, 255).astype(np.uint8)


@dataclass
class Fake:
    """Someone who answers at once, and nothing is billed.

    Attributes:
        numbers: of each poor picture, by its digest.
    """

    numbers: dict[str, int]
    model: str = "fake"
    revision: None = None
    endpoint: None = None
    budget: None = None
    max_retries: int = 0
    per_minute: None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """None."""
        return {}

    def send(self, question: Question) -> Reply:
        """A diagnosis, an instruction or a verdict, by what is asked."""
        if "Write the instruction" in question.text:
            return Reply("The photograph without its noise.")
        if len(question.pictures) == 1:
            return Reply(json.dumps(DIAGNOSIS | {"category": "general"}))
        lq, gt = (shown_rgb(picture) for picture in question.pictures[:2])
        return Reply(json.dumps({"candidates": [verdict(1, lq, gt)], "best_index": 1}))


class FakeMaker(Fake):
    """Gives the clean picture."""

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """Any."""
        return size

    def check(self) -> None:
        """It can always be asked."""

    def send(self, question: Question) -> Reply:
        """The picture alone."""
        return Reply(pictures=(file_of(clean(self.numbers[digest(shown_rgb(question.pictures[0]))])),))


def write_photographs(folder: Path, rows: int) -> dict[str, int]:
    """The poor pictures, and the number of each by its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {}
    for number in range(rows):
        path, pixels = folder / f"{number:06d}.png", poor(number)
        if not path.exists():
            path.write_bytes(file_of(pixels))
        numbers[digest(pixels)] = number
    return numbers


def run_in_process(output: Path, numbers: dict[str, int], workers: int) -> dict[str, Any]:
    """All stages, asking nobody outside."""
    configuration, ledger = (
        configuration_of(SIDE, "http://127.0.0.1:9", "http://127.0.0.1:9"),
        Ledger(output / "l.db"),
    )
    eyes, maker = Fake(numbers), FakeMaker(numbers)
    askers = {stage.name: Asker(eyes, ledger, workers=2) for stage in configuration.stages if stage.asks}
    askers |= {GENERATOR + name: Asker(maker, ledger, workers=2) for name in configuration.generators}
    return _run(configuration, output, askers, workers)


def run_served(output: Path, numbers: dict[str, int], workers: int) -> dict[str, Any]:
    """All stages, through the real clients."""
    os.environ["GEMINI_API_KEY"] = "no-key"
    ledger = Ledger(output / "ledger.sqlite")
    accept_terms(ledger, "google")
    answers = {
        name: cache(lambda number=number: ("picture", clean(number))) for name, number in numbers.items()
    }
    rated = (digest(shown_rgb(glance(file_of(poor(number))))) for number in numbers.values())
    with Maker(answers) as maker, Judge(dict.fromkeys(rated, "general"), 0.0, 0) as judge:
        configuration = configuration_of(SIDE, judge.url, maker.root)
        return _run(configuration, output, open_askers(configuration, output, ledger), workers)


def _run(configuration: Configuration, output: Path, askers: Any, workers: int) -> dict[str, Any]:
    return run(configuration, str(output / "photographs"), output / "run", askers, workers=workers)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--served", action="store_true")
    arguments = parser.parse_args()
    numbers = write_photographs(arguments.output / "photographs", arguments.rows)
    started = time.monotonic()
    counts = (run_served if arguments.served else run_in_process)(
        arguments.output, numbers, arguments.workers
    )
    seconds = time.monotonic() - started
    peaks = [
        resource.getrusage(who).ru_maxrss / 1e6 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    print(counts)
    print(
        f"{arguments.rows} rows in {seconds:.0f} s: {arguments.rows / seconds:.0f} a second; at most "
        f"{peaks[0]:.2f} GB, {peaks[1]:.2f} GB in a worker"
    )


if __name__ == "__main__":
    main()
