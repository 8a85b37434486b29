"""What commands share: load a restorer, work through the files, show progress, report, set the exit code."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from ggt_hub.commit import to_json
from ggt_hub.files import Batch, Inputs, Outcome, Work, check_output, find_jobs, process


class Dtype(StrEnum):
    """What networks compute in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


DtypeOption = Annotated[
    Dtype | None, typer.Option("--dtype", help="Precision of the networks; as stored if not given.")
]


def load_options(revision: str | None, dtype: Dtype | None) -> dict[str, Any]:
    """Arguments of `from_pretrained`."""
    import torch

    asked = {"revision": revision, "dtype": dtype and getattr(torch, dtype.value)}
    return {name: value for name, value in asked.items() if value}


def load_quietly(model: str, revision: str | None = None, dtype: Dtype | None = None) -> Any:
    """A restorer without progress bars of its own: the command shows one for all its pictures."""
    from diffusers.utils import logging

    from ggt_hub.pipelines import RestorerPipeline

    logging.disable_progress_bar()
    pipe = RestorerPipeline.from_pretrained(model, **load_options(revision, dtype))
    pipe.set_progress_bar_config(disable=True)
    return pipe


class Strip(StrEnum):
    """What is taken out of the results because it tells about people."""

    gps = "gps"
    all = "all"


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Also replace the results of other pictures.")]
MaxPixels = Annotated[int | None, typer.Option(help="Refuse pictures of more pixels.", min=1)]
StripOption = Annotated[
    Strip | None,
    typer.Option("--strip", help="Leave positions (gps) or all but the colours' description behind."),
]


Page = Annotated[int | None, typer.Option(help="Which page or frame of files that hold several.", min=1)]
Salvage = Annotated[bool, typer.Option("--salvage", help="Take what is there of half-written pictures.")]


def further_options(
    max_pixels: int | None, page: int | None, salvage: bool, strip: Strip | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that all batches share: as arguments of `Batch`, and as settings that its results depend on."""
    read: dict[str, Any] = ({"page": page} if page else {}) | ({"salvage": True} if salvage else {})
    what = None if strip is None else strip.value
    limit = {} if max_pixels is None else {"max_pixels": max_pixels}
    return {"reading": read | limit, "strip": what}, read | ({"strip": what} if what else {})


def find_inputs(
    paths: list[str], output: Path, format: str | None, as_json: bool, *, records: bool = False
) -> Inputs:
    """What is to be read, found before any model is loaded; says what is not, and why.

    Raises:
        ImageError: for an output or format that cannot be written, or a path where nothing is.
        typer.Exit: with code 1, if there is nothing to do.
    """
    check_output(output, format)
    inputs = find_jobs(paths, output, format, records=records)
    for note in inputs.notes:
        typer.echo(f"note: {note}", err=True)
    if not inputs.jobs:
        if not inputs.refused:
            typer.secho(f"there is no picture to read in {', '.join(paths)}", fg="red", err=True)
        _report(_refused(inputs), as_json)
        raise typer.Exit(1)
    return inputs


def run_batch(inputs: Inputs, work: Work, batch: Batch, as_json: bool) -> None:
    """Process all pictures; exit code 1 if one failed or was refused, 130 if a person interrupted it."""
    run_batches(inputs, [(work, batch)], as_json)


def run_batches(inputs: Inputs, runs: Sequence[tuple[Work, Batch]], as_json: bool) -> None:
    """Process all pictures in several ways, each with results of its own; see `run_batch`."""
    from tqdm import tqdm

    outcomes, interrupted = _refused(inputs), False
    with tqdm(total=len(runs) * len(inputs.jobs), unit="picture") as bar:
        try:
            for outcome in chain.from_iterable(process(inputs.jobs, *run) for run in runs):
                outcomes.append(outcome)
                bar.update()
                if not as_json:
                    bar.write(_line(outcome))
                for warning in outcome.warnings if outcome.status == "done" else ():
                    bar.write(f"warning: {warning}", file=sys.stderr)
        except KeyboardInterrupt:
            interrupted = True
    _report(outcomes, as_json, expected=len(runs) * len(inputs.jobs) + len(inputs.refused))
    if interrupted:
        typer.echo("interrupted: finished pictures are kept, run the same command again to go on", err=True)
        raise typer.Exit(130)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def _refused(inputs: Inputs) -> list[Outcome]:
    return [Outcome(path, "failed", error=reason) for path, reason in inputs.refused.items()]


def _line(outcome: Outcome) -> str:
    if outcome.status == "failed":
        return f"failed   {outcome.error}"
    line, findings = f"{outcome.status:<8} {outcome.output}", outcome.details.get("findings")
    if not findings:
        return line
    from ggt_hub.pipelines import Finding, describe_findings

    return f"{line}   ({describe_findings([Finding(**finding) for finding in findings])})"


def _report(outcomes: list[Outcome], as_json: bool, expected: int | None = None) -> None:
    if as_json:
        typer.echo(to_json([outcome.to_json() for outcome in outcomes]))
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    done = sum(outcome.status == "done" for outcome in outcomes)
    skipped = sum(outcome.status == "skipped" for outcome in outcomes)
    total = len(outcomes) if expected is None else expected
    typer.echo(f"{done} done, {skipped} finished before, {len(failed)} failed, of {total}", err=True)
    for outcome in failed:
        typer.secho(f"  {outcome.error}", fg="red", err=True)
