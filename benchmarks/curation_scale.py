"""How many rows a second go through `curate run ggt`, with pictures of 64 x 64 and one candidate of each.

    python -m benchmarks.curation_scale --rows 4000 --workers 2 --output out/scale
    python -m benchmarks.curation_scale --rows 1000 --workers 2 --output out/served --served

All stages. Who is asked stands in this process and answers at once; with `--served` they are servers in another
one, behind the clients of Google and OpenAI. Begun again it goes on with what is left. Beside the time on the
clock it says how long the processors worked, which other programs on the machine do not lengthen much.
"""

import argparse
import json
import multiprocessing
import os
import resource
import time
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.curation_servers import DIAGNOSIS, Judge, Maker, digest, file_of, verdict, whole_configuration
from ggt_hub.curation.askers import open_askers
from ggt_hub.curation.configuration import GENERATOR, Configuration
from ggt_hub.curation.generators import accept_terms
from ggt_hub.curation.run import Count, run
from ggt_hub.images.shown import shown_rgb
from ggt_hub.vlm import Asker, Ledger
from ggt_hub.vlm.asking import Question, Reply

SIDE = 64
SLICE = 512  # rows
_PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
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
    """Someone who answers at once, and nothing is billed."""

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
        lq, gt = map(_seen, question.pictures[:2])
        return Reply(json.dumps({"candidates": [verdict(1, lq, gt)], "best_index": 1}))


@dataclass
class FakeMaker(Fake):
    """Gives the clean picture.

    Attributes:
        folder: of the clean pictures.
        answers: their names, by the digest of the poor ones.
    """

    folder: Path = Path()
    answers: dict[str, str] = field(default_factory=dict)

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """Any."""
        return size

    def check(self) -> None:
        """It can always be asked."""

    def send(self, question: Question) -> Reply:
        """The picture alone."""
        name = self.answers[digest(_seen(question.pictures[0]))]
        return Reply(pictures=((self.folder / name).read_bytes(),))


def _seen(picture: bytes) -> Pixels:
    """As quickly as it can be decoded, for this is not what is measured."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def write_photographs(output: Path, rows: int) -> dict[str, str]:
    """The poor pictures, and the names of the clean ones by the digests of the poor ones."""
    listed = output / f"answers-{rows}.json"
    if not listed.exists():
        for folder in ("photographs", "clean"):
            (output / folder).mkdir(parents=True, exist_ok=True)
        listed.write_text(json.dumps(dict(_write_pair(output, number) for number in range(rows))))
    return dict(json.loads(listed.read_text()))


def _write_pair(output: Path, number: int) -> tuple[str, str]:
    pixels, name = poor(number), f"{number:06d}.png"
    if not (output / "photographs" / name).exists():
        (output / "clean" / name).write_bytes(file_of(clean(number)))
        (output / "photographs" / name).write_bytes(file_of(pixels))
    return digest(pixels), name


def run_in_process(output: Path, answers: dict[str, str], workers: int) -> list[Count]:
    """All stages, asking nobody outside."""
    configuration = whole_configuration(SIDE, "http://127.0.0.1:9", "http://127.0.0.1:9")
    ledger, eyes, maker = (
        Ledger(output / "ledger.sqlite"),
        Fake(),
        FakeMaker(folder=output / "clean", answers=answers),
    )
    askers = {stage.name: Asker(eyes, ledger) for stage in configuration.stages if stage.asks}
    askers |= {GENERATOR + name: Asker(maker, ledger) for name in configuration.generators}
    return _run(configuration, output, askers, workers)


def run_served(output: Path, answers: dict[str, str], workers: int) -> list[Count]:
    """All stages, through the real clients."""
    os.environ["GEMINI_API_KEY"] = "no-key"
    ledger = Ledger(output / "ledger.sqlite")
    accept_terms(ledger, "google")
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    servers = spawning.Process(target=_serve, args=(output / "clean", answers, theirs))
    servers.start()
    try:
        configuration = whole_configuration(SIDE, *ours.recv(), workers=8)
        return _run(configuration, output, open_askers(configuration, output, ledger), workers)
    finally:
        ours.send("enough")
        servers.join()


def _serve(folder: Path, answers: dict[str, str], told: Connection) -> None:
    """A process of both servers, until it is told that it is enough."""
    made = {poor: partial(_picture, folder / name) for poor, name in answers.items()}
    with Maker(made) as maker, Judge(dict.fromkeys(answers, "general"), 0.0, 0) as judge:
        told.send((judge.url, maker.root))
        told.recv()


def _picture(path: Path) -> tuple[str, Pixels]:
    return "picture", shown_rgb(path)


def _run(configuration: Configuration, output: Path, askers: dict[str, Asker], workers: int) -> list[Count]:
    told = replace(configuration, slice=SLICE)
    return run(told, str(output / "photographs"), output / "run", askers, workers=workers)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--served", action="store_true")
    arguments = parser.parse_args()
    answers = write_photographs(arguments.output, arguments.rows)
    before, started = _worked(), time.monotonic()
    counts = (run_served if arguments.served else run_in_process)(
        arguments.output, answers, arguments.workers
    )
    seconds = time.monotonic() - started
    here, elsewhere = (1000 * (b - a) / arguments.rows for a, b in zip(before, _worked(), strict=True))
    for count in counts:
        print(f"{count.stage:<18} {count.rows} in, {count.kept} kept {dict(count.dropped)}")
    peaks = [resource.getrusage(who).ru_maxrss / 1e6 for who in _PROCESSES]
    print(
        f"{arguments.rows} rows in {seconds:.0f} s: {arguments.rows / seconds:.0f} a second; each took a processor "
        f"{here:.1f} ms here and {elsewhere:.1f} ms in other processes; at most {peaks[0]:.2f} GB here, and "
        f"{peaks[1]:.2f} GB in another"
    )


def _worked() -> list[float]:
    """Seconds that processors have worked for this process, and for those that it has waited for."""
    return [sum(resource.getrusage(who)[:2]) for who in _PROCESSES]


if __name__ == "__main__":
    main()
