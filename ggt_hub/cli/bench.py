"""`ggt-hub bench`: restore and score a benchmark, compare two runs, print several as a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ggt_hub.cli.judging import PANEL, takes_judge
from ggt_hub.cli.told import takes_told

if TYPE_CHECKING:
    from ggt_hub.data.recognising.told import Told
    from ggt_hub.vlm import Judge

bench = typer.Typer(help="Run a restorer over a benchmark, and compare runs.", no_args_is_help=True)


@bench.command()
@takes_told
@takes_judge
def run(
    suite: Annotated[str, typer.Argument(help="compact-val, ggt-test, lfw-test ..., or a folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for pictures, scores and report.")],
    told: "Told",
    judge: "Judge | None",
    model: Annotated[
        str, typer.Option(help="'compact', a folder, an id on the Hub, a weights file, or a baseline.")
    ] = "compact",
    data: Annotated[Path | None, typer.Option(help="Folder with the suite's pictures.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of the suite's data set.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Names with commas between; the suite's otherwise.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder with weights of perceptual metrics.")] = None,
    task_model: Annotated[
        str | None, typer.Option(help="Folder or Hub id of the detector or segmenter that a suite asks.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pictures.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    set: Annotated[
        list[str] | None, typer.Option(help="Any argument of the model's call: NAME=VALUE.")
    ] = None,
    crop_border: Annotated[int, typer.Option(min=0, help="Cut so many pixels off each side to score.")] = 0,
    crop_to_fit: Annotated[
        bool,
        typer.Option(
            "--crop-to-fit", help="Cut picture and reference to one size if up to 32 pixels differ."
        ),
    ] = False,
    judge_repeats: Annotated[
        int,
        typer.Option(min=1, help="Rate each picture so often: the judge's noise.", rich_help_panel=PANEL),
    ] = 1,
    judge_planted: Annotated[
        int,
        typer.Option(min=0, help="Rate so many unchanged pictures as if restored.", rich_help_panel=PANEL),
    ] = 0,
) -> None:
    """Restore and score SUITE; what is done is not done again. Exit code 1 if a picture or a metric failed.

    `accelerate launch -m ggt_hub bench run ...` shares the pictures among several devices.
    """
    from ggt_hub.cli.batch import load_quietly
    from ggt_hub.cli.restore import call_arguments
    from ggt_hub.evaluation import load_suite, run_suite
    from ggt_hub.evaluation.run import processes
    from ggt_hub.evaluation.scoring import Scoring, metric_names

    chosen = load_suite(suite, data, revision, told)
    scoring = Scoring(
        metric_names(metrics) if metrics is not None else None,
        weights,
        judge,
        judge_repeats,
        judge_planted,
        crop_border,
        crop_to_fit,
        task_model,
    )
    pipe = load_quietly(model)
    arguments = call_arguments(pipe, {}, set or [])
    pipe = pipe.to(processes().device)
    output.mkdir(parents=True, exist_ok=True)
    results = run_suite(chosen, pipe, output, seed=seed, limit=limit, scoring=scoring, arguments=arguments)
    if not results:  # another process has the results
        return
    for name, mean in results["overall"].items():
        if isinstance(mean, dict):
            typer.echo(f"{name:<24} {mean_and_interval(mean)}")
    for name, found in results["sets"].items():
        typer.echo(f"{name:<24} " + ", ".join(f"{value:.4f} {side}" for side, value in found.items()))
    _echo_noise(results["judge_noise"])
    typer.echo(f"report: {(output / 'report.html').resolve()}")
    if not results["complete"]:
        echo_incomplete(results)
        raise typer.Exit(1)


@bench.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Output folder of one run.")],
    b: Annotated[Path, typer.Argument(help="Output folder of another.")],
) -> None:
    """Paired differences B - A with 95 % intervals; * where they are more than chance, and which run is better.

    Chance is judged by swapping pairs, corrected for the number of rows; below six pictures nothing is clear.
    """
    from ggt_hub.evaluation import compare as compare_runs

    found = compare_runs(a, b)
    for entry in found.differences:
        mean, low, high = entry.difference
        mark = f"* {entry.better} better" if entry.better else ""
        interval = f"[{low:+.4f}, {high:+.4f}]" if low == low else "[no interval]"
        row = (
            f"{entry.metric:<20} {entry.task:<20} {mean:+.4f} {interval}  n={entry.pictures}  p={entry.p:.2g}"
        )
        typer.echo(f"{row} {mark}".rstrip())
    for note in found.notes:
        typer.secho(f"note: {note}", fg="yellow", err=True)


@bench.command()
def table(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs over the same suite.")],
    format: Annotated[str, typer.Option(help="latex, csv or md.")] = "md",
) -> None:
    """Several runs as one table: the best in bold, intervals, seconds a picture, peak memory and parameters."""
    from ggt_hub.evaluation.table import runs_table

    typer.echo(runs_table(runs, format))


@bench.command(name="eval-yaml")
def eval_yaml(suite: Annotated[str, typer.Argument(help="A suite of a data set on the Hub.")]) -> None:
    """Print the `eval.yaml` that declares a suite's data set a benchmark on the Hub."""
    from ggt_hub.errors import EvaluationError
    from ggt_hub.evaluation import load_suite
    from ggt_hub.evaluation.entries import benchmark_yaml

    chosen = load_suite(suite)
    if chosen.repository is None:
        raise EvaluationError(f"{suite} is no data set on the Hub: ggt-test and realir-bench are")
    typer.echo(benchmark_yaml(chosen), nl=False)


def mean_and_interval(mean: dict[str, float | None]) -> str:
    """A mean with its interval and its number of pictures, as commands print it."""
    if mean["mean"] is None:
        return f"not scored  n=0 of {mean['of']}"
    interval = "[no interval]" if mean["low"] is None else f"[{mean['low']:.4f}, {mean['high']:.4f}]"
    lacks = "" if mean["count"] == mean["of"] else f" of {mean['of']}"
    return f"{mean['mean']:.4f}  {interval}  n={mean['count']}{lacks}"


def echo_incomplete(results: dict[str, object]) -> None:
    """Say what is missing of a score, the first few pictures by name."""
    failed, left_out = results["failed"], results["left_out"]
    assert isinstance(failed, dict) and isinstance(left_out, dict)  # noqa: S101
    for name, reason in left_out.items():
        typer.secho(f"missing: {name}: {reason}", fg="red", err=True)
    for name, reason in list(failed.items())[:10]:
        typer.secho(f"failed: {name}: {reason}", fg="red", err=True)
    if len(failed) > 10:
        typer.secho(f"failed: {len(failed) - 10} more, see the report or --json", fg="red", err=True)
    typer.secho(f"incomplete: {len(failed)} failed, {len(left_out)} metrics missing", fg="red", err=True)


def _echo_noise(noise: dict[str, dict[str, float | None]] | None) -> None:
    for kind, found in (noise or {}).items():
        facts = ", ".join(f"{name} {value:.3g}" for name, value in found.items() if value is not None)
        typer.echo(f"judge's noise, {kind}: {facts}")
