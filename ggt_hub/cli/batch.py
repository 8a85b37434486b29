"""What commands share: load a restorer, work through the files, show progress, report, set the exit code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from ggt_hub.files import Job, Outcome, Work, process


def load_quietly(model: str, revision: str | None = None) -> Any:
    """A restorer without progress bars of its own: the command shows one for all its pictures."""
    from diffusers.utils import logging

    from ggt_hub.pipelines import RestorerPipeline

    logging.disable_progress_bar()
    pipe = RestorerPipeline.from_pretrained(model, **({"revision": revision} if revision else {}))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run_batch(
    jobs: list[Job], output: Path, work: Work, settings: dict[str, Any], suffix: str | None, as_json: bool
) -> None:
    """Process all pictures; exit code 1 if one failed."""
    from tqdm import tqdm

    outcomes = []
    with tqdm(total=len(jobs), unit="picture") as bar:
        for outcome in _interruptible(process(jobs, output, work, settings=settings, suffix=suffix)):
            outcomes.append(outcome)
            bar.update()
            if not as_json:
                bar.write(_line(outcome))
    if as_json:
        typer.echo(json.dumps([outcome.to_json() for outcome in outcomes], indent=1, ensure_ascii=False))
    _report(outcomes, len(jobs))


def _interruptible(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    try:
        yield from outcomes
    except KeyboardInterrupt:
        typer.echo("interrupted: finished pictures are kept, run the same command again to go on", err=True)
        raise typer.Exit(130) from None


def _line(outcome: Outcome) -> str:
    if outcome.status == "failed":
        return f"failed   {outcome.error}"
    line, found = f"{outcome.status:<8} {outcome.output}", outcome.details.get("found")
    if not found:
        return line
    from ggt_hub.pipelines.findings import describe_findings

    return f"{line}   ({describe_findings(found)})"


def _report(outcomes: list[Outcome], expected: int) -> None:
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    done = sum(outcome.status == "done" for outcome in outcomes)
    skipped = sum(outcome.status == "skipped" for outcome in outcomes)
    typer.echo(f"{done} done, {skipped} finished before, {len(failed)} failed, of {expected}", err=True)
    for outcome in failed:
        typer.secho(f"  {outcome.error}", fg="red", err=True)
    if failed:
        raise typer.Exit(1)
