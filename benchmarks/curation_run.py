"""The whole pipeline on planted faults: which gate catches which, and how many good candidates stay.

    OMP_NUM_THREADS=1 python -m benchmarks.curation_run --images ../shared/images/clean/val:320 \\
        --images ../shared/images/clean/val_free:512 --output out/curation --tell benchmarks/results/curation.json

Photographs are damaged by presets; a local server, behind Google's client, restores them with the compact
restorer and plants faults; a local judge answers by what a plain metric sees, and errs in 2 % of its answers.
What is planted, how often, and which stage must catch it stands in `curation_faults.yaml`, which was written
before. The configuration is the preset `ggt`, with one candidate of each photograph and without the search for
duplicates, for the same photographs come again under other damage.

A good candidate is one with nothing planted that is at least 0.5 dB nearer to the original than the photograph
that it was made of. What may be mended (small shifts, light casts) counts as caught where the pair as it was
packed is good in that sense.
"""

import argparse
import io
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from PIL import Image

from benchmarks.curation_faults import Box, Pixels, Scene, plant, with_sign
from benchmarks.curation_servers import Judge, Maker, digest, file_of, whole_configuration
from ggt_hub import RestorerPipeline, read_image
from ggt_hub.curation.askers import open_askers
from ggt_hub.curation.configuration import Configuration
from ggt_hub.curation.decided import Decided, read_run
from ggt_hub.curation.generators import accept_terms
from ggt_hub.curation.run import run
from ggt_hub.curation.stages.judge import NOT_THE_BEST
from ggt_hub.curation.zooms import glance
from ggt_hub.degradations import degrade
from ggt_hub.files import list_pictures, seed_of
from ggt_hub.images.shown import shown_rgb
from ggt_hub.pipelines.faces import find_faces, shipped_detector
from ggt_hub.vlm import Ledger

PLAN = Path(__file__).parent / "curation_faults.yaml"
GAIN = 0.5  # dB
_TOLD = ("low_light", "haze", "rain", "snow")  # tasks that the restorer must be told
_WORD = "HARBOR"


@dataclass(frozen=True)
class Fault:
    """A line of the plan.

    Attributes:
        fault: its name in `curation_faults.FAULTS`, or "" where what fails is the reply.
        size: see there.
        reply: what the server sends.
        caught_by: the stage that must refuse it; None where none can be expected to.
        mends: it may stay if the stage has undone it.
        into: what a photograph must have: "sign", "face", or "".
        only, but: tasks under which it is planted, or is not; all where both are empty.
    """

    fault: str = ""
    size: float = 0.0
    reply: str = "picture"
    caught_by: str | None = None
    mends: bool = False
    into: str = ""
    only: Sequence[str] = ()
    but: Sequence[str] = ()

    @property
    def is_assigned(self) -> bool:
        """Whether it is a fault, and some stage must catch it."""
        return self.caught_by not in (None, "nobody")

    def suits(self, task: str) -> bool:
        """Whether it is planted under a kind of damage."""
        return task not in self.but and (not self.only or task in self.only)

    def __str__(self) -> str:
        where = f" ({', '.join(self.only)})" if self.only else ""
        return f"{self.fault} {self.size:.4g}{where}" if self.fault else self.reply


@dataclass(frozen=True)
class Case:
    """A damaged photograph, and what its candidate is to be; `fault` is None where nothing is planted."""

    name: str
    clean: Pixels
    lq: Pixels
    task: str
    other: Pixels
    box: Box
    fault: Fault | None


def read_plan(path: Path = PLAN) -> dict[str, Any]:
    """What is to be planted: `good`, the share of candidates with nothing; `tasks`; `faults`."""
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    return told | {"faults": [Fault(**one) for one in told["faults"]]}


def cases(
    sources: Sequence[Path], side: int, plan: Mapping[str, Any], each: int, seed: int
) -> Iterator[Case]:
    """Each photograph under `each` kinds of damage; faults come in turn, so that each has its share."""
    squares = {path.stem: square(path, side) for path in sources}
    names = sorted(squares, key=lambda name: seed_of(name, seed))
    waiting: dict[str, list[Fault]] = {
        on: [one for one in plan["faults"] if one.into == on] for on in ("", "sign", "face")
    }
    for number in range(each * len(names)):
        name, task = names[number % len(names)], plan["tasks"][number % len(plan["tasks"])]
        rng = np.random.default_rng(seed_of(f"{name}/{number}", seed))
        clean, box, on = squares[name], (0, 0, 1, 1), ""
        if number % 24 == 5:
            (clean, box), on = with_sign(clean, _WORD), "sign"
        elif number % 8 == 3 and (found := face_in(clean)):
            box, on = found, "face"
        fault = None
        if on or rng.random() >= plan["good"]:
            fault = next(one for one in waiting[on] if one.suits(task))
            waiting[on].append(waiting[on].pop(waiting[on].index(fault)))  # each in its turn
        preset = "mixture" if task == "general" else task
        severity = float(rng.uniform(*plan["severity"]))
        lq = shown_rgb(degrade(clean, preset, severity=severity, seed=number)[0])
        other = squares[names[(number + 1 + len(names) // 2) % len(names)]]
        yield Case(f"{name}-{number:04d}-{task}", clean, lq, task, other, box, fault)


def square(path: Path, side: int) -> Pixels:
    """The middle of a photograph at that size."""
    pixels = shown_rgb(str(path))
    short = min(pixels.shape[:2])
    top, left = ((extent - short) // 2 for extent in pixels.shape[:2])
    middle = np.ascontiguousarray(pixels[top : top + short, left : left + short])
    if short - side <= 1:  # BSDS500 has 321 rows
        return np.ascontiguousarray(middle[:side, :side])
    return cv2.resize(middle, (side, side), interpolation=cv2.INTER_AREA)


def category_of(task: str) -> str:
    """The category of ggt that a damage belongs to."""
    return task if task in ("rain", "haze", "snow", "low_light", "old_photo") else "general"


class Generator:
    """What the server draws, and what is known of it: made when it is asked, and remembered."""

    def __init__(self, found: Sequence[Case]) -> None:
        self._pipe = RestorerPipeline.from_pretrained("compact")
        self._pipe.set_progress_bar_config(disable=True)
        self.candidates: dict[str, Pixels] = {}
        self.answers: dict[str, Callable[[], tuple[str, Pixels]]] = {
            digest(case.lq): self._answer(case) for case in found
        }

    def _answer(self, case: Case) -> Callable[[], tuple[str, Pixels]]:
        def answer() -> tuple[str, Pixels]:
            if case.name not in self.candidates:
                self.candidates[case.name] = self._drawn(case)
            return (case.fault.reply if case.fault else "picture"), self.candidates[case.name]

        return answer

    def restored(self, case: Case) -> Pixels:
        """The candidate without a fault."""
        told = case.task if case.task in _TOLD else None
        return np.asarray(self._pipe(case.lq, task=told).images[0])

    def _drawn(self, case: Case) -> Pixels:
        restored = self.restored(case)
        if case.fault is None or not case.fault.fault:
            return restored
        rng = np.random.default_rng(seed_of(case.name, 0))
        scene = Scene(case.lq, restored, case.other, case.box, rng)
        return plant(case.fault.fault, case.fault.size, scene)


def configuration_of(side: int, judge: str, maker: str) -> Configuration:
    """The preset `ggt`, between two servers, without the search for duplicates."""
    whole = whole_configuration(side, judge, maker)
    return replace(whole, stages=tuple(one for one in whole.stages if one.name not in ("unlike", "apart")))


def run_once(found: Sequence[Case], side: int, output: Path, seed: int) -> Generator:
    """The pipeline on these cases; `output` gets the photographs, the ledger and the run."""
    os.environ["GEMINI_API_KEY"] = "no-key"
    photographs = output / "photographs"
    photographs.mkdir(parents=True, exist_ok=True)
    for case in found:
        (photographs / f"{case.name}.png").write_bytes(file_of(case.lq))
    seen = {digest(shown_rgb(glance(file_of(case.lq)))): category_of(case.task) for case in found}
    generator, ledger = Generator(found), Ledger(output / "ledger.sqlite")
    accept_terms(ledger, "google")
    with Maker(generator.answers) as maker, Judge(seen, 0.02, seed) as judge:
        configuration = configuration_of(side, judge.url, maker.root)
        run(configuration, str(photographs), output / "run", open_askers(configuration, output, ledger))
    return generator


@dataclass(frozen=True)
class Fate:
    """What became of a candidate.

    Attributes:
        case: which.
        stage: that refused it, or with which it waits; "" where it passed all.
        reason: why.
        gain: dB by which the pair as it was packed is nearer to the original; not a number where there is none.
        is_mended: whether the fault is undone: the pair is good, or about as near as it would be without.
    """

    case: Case
    stage: str
    reason: str
    gain: float
    is_mended: bool = False

    @property
    def passed(self) -> bool:
        """Whether it became ground truth with its fault in it."""
        return not self.stage and not self.is_mended


def fates(found: Sequence[Case], output: Path, generator: Generator) -> list[Fate]:
    """Where each candidate ended; one that is only not the best of its photograph has passed."""
    made, ended, pairs = read_run(output / "run"), {}, {}
    for stage in made.stages:
        for row in made.outcomes(stage, _columns(made, stage)):
            name = row["id"].partition(".png")[0]
            if row["state"] != "kept" and row["reason"] != NOT_THE_BEST:
                ended[name] = (stage, row["reason"])
            if stage == "register" and row["state"] == "kept":
                pairs[name] = (row["lq"], row["gt"])
    return [_fate(case, ended.get(case.name, ("", "")), pairs.get(case.name), generator) for case in found]


def _fate(case: Case, ended: tuple[str, str], pair: tuple[bytes, bytes] | None, generator: Generator) -> Fate:
    if pair is None:
        return Fate(case, *ended, math.nan)
    gain, is_mended = gain_of(case, pair), False
    if case.fault is not None and case.fault.mends and not ended[0]:
        without = psnr(generator.restored(case), case.clean) - psnr(case.lq, case.clean)
        is_mended = gain >= min(GAIN, without - GAIN)
    return Fate(case, *ended, gain, is_mended)


def _columns(made: Decided, stage: str) -> list[str]:
    return ["lq", "gt"] if stage == "register" else []


def gain_of(case: Case, pair: tuple[bytes, bytes]) -> float:
    """By how many dB a pair's candidate is nearer to the original than its photograph, as they were cut."""
    lq, gt = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in pair)
    cut = (case.clean.shape[0] - lq.shape[0]) // 2
    inside = slice(cut, case.clean.shape[0] - cut)
    return psnr(gt, case.clean[inside, inside]) - psnr(lq, case.clean[inside, inside])


def psnr(x: Pixels, y: Pixels) -> float:
    error = float(np.square(x.astype(np.float64) - y).mean())
    return 10 * math.log10(255**2 / error) if error else 100.0


def report(ended: Sequence[Fate]) -> dict[str, Any]:
    """Numbers: of each fault how many were planted and refused, by whom; and of the good ones how many stay."""
    good = [one for one in ended if is_good(one)]
    lines: dict[str, dict[str, Any]] = {}
    for one in ended:
        if one.case.fault is None:
            continue
        told = lines.setdefault(
            str(one.case.fault),
            {"caught_by": one.case.fault.caught_by, "planted": 0, "passed": 0, "by": defaultdict(int)},
        )
        told["planted"] += 1
        told["passed"] += one.passed
        told["by"][_where(one)] += 1
    assigned = [one for one in ended if one.case.fault is not None and one.case.fault.is_assigned]
    lost = defaultdict(int)
    for one in good:
        if one.stage:
            lost[one.reason] += 1
    return {
        "assigned": len(assigned),
        "assigned_passed": sum(one.passed for one in assigned),
        "good": len(good),
        "good_kept": sum(not one.stage for one in good),
        "good_lost": dict(lost),
        "faults": {name: told | {"by": dict(told["by"])} for name, told in sorted(lines.items())},
    }


def is_good(one: Fate) -> bool:
    """Nothing planted, and nearer to the original; a reply that only looks odd plants nothing into the picture."""
    fault = one.case.fault
    return (fault is None or fault.caught_by == "nobody") and one.gain >= GAIN


def _where(one: Fate) -> str:
    if one.stage:
        return one.reason if one.reason.startswith(one.stage) else f"{one.stage}: {one.reason}"
    return "passed" if one.passed else "mended"


@cache
def _detector() -> Any:
    return shipped_detector()


def face_in(pixels: Pixels) -> Box | None:
    """The largest face of a photograph that is a tenth of its side at least."""
    found = [face.box.round().astype(int) for face in find_faces(read_image(pixels), _detector())]
    boxes = [box for box in found if min(box[2:] - box[:2]) >= pixels.shape[0] / 10]
    inside = [np.clip(box, 0, pixels.shape[0]) for box in boxes]
    return max((tuple(map(int, box)) for box in inside), key=lambda b: b[2] - b[0], default=None)


def in_words(told: Mapping[str, Any]) -> str:
    """The table, in Markdown."""
    share = told["assigned_passed"] / max(1, told["assigned"])
    lines = [
        f"{told['assigned_passed']} of {told['assigned']} assigned faults pass ({share:.1%}); "
        f"{told['good_kept']} of {told['good']} good candidates stay "
        f"({told['good_kept'] / max(1, told['good']):.1%}), lost: {told['good_lost']}",
        "",
        "| fault | must be caught by | planted | passed | where they ended |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for name, one in told["faults"].items():
        by = ", ".join(
            f"{reason} {count}" for reason, count in sorted(one["by"].items(), key=lambda i: -i[1])
        )
        lines.append(f"| {name} | {one['caught_by'] or ''} | {one['planted']} | {one['passed']} | {by} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", action="append", required=True, metavar="FOLDER:SIDE")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--each", type=int, default=4, help="kinds of damage for each photograph")
    parser.add_argument("--limit", type=int, help="only so many photographs of each folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tell", type=Path, help="where the numbers go, as JSON")
    arguments = parser.parse_args()
    plan, ended = read_plan(), []
    for number, told in enumerate(arguments.images):
        folder, _, side = told.rpartition(":")
        sources = sorted(list_pictures(Path(folder)))[: arguments.limit]
        found = list(cases(sources, int(side), plan, arguments.each, arguments.seed + number))
        output = arguments.output / f"{number}-{side}"
        generator = run_once(found, int(side), output, arguments.seed)
        ended += fates(found, output, generator)
    found = report(ended)
    print(in_words(found))
    if arguments.tell:
        arguments.tell.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
