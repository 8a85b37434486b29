"""`ggt-hub bench`: restore and score a benchmark, and compare two runs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ggt_hub.vlm import Judge

bench = typer.Typer(help="Run a restorer over a benchmark, and compare two runs.", no_args_is_help=True)


@bench.command()
def run(
    suite: Annotated[str, typer.Argument(help="compact-val, foundir, ggt-test, realir-bench, or a folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for pictures, scores and report.")],
    model: Annotated[
        str, typer.Option(help="'compact', a folder, an id on the Hub, a weights file, or a baseline.")
    ] = "compact",
    data: Annotated[Path | None, typer.Option(help="Folder with the suite's pictures.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of the suite's data set.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Names with commas between; the suite's otherwise.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder with weights of perceptual metrics.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many pictures.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    judge: Annotated[
        str | None,
        typer.Option(
            help="Rate RS and FS by this model: a name at --judge-url, or an id on the Hub, ID@REVISION."
        ),
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible server; its key is read from OPENAI_API_KEY.")
    ] = None,
    judge_calls: Annotated[int | None, typer.Option(help="Ask the judge at most so often.")] = None,
    protocol: Annotated[str, typer.Option(help="realir-code, realir-paper or strict.")] = "realir-code",
) -> None:
    """Restore and score SUITE; what is done is not done again. Exit code 1 if a picture failed.

    `accelerate launch -m ggt_hub bench run ...` shares the pictures among several devices.
    """
    from ggt_hub.cli.batch import load_quietly
    from ggt_hub.evaluation import load_suite, run_suite
    from ggt_hub.evaluation.run import Scoring, processes

    chosen = load_suite(suite, data, revision)
    pipe = load_quietly(model).to(processes().device)
    output.mkdir(parents=True, exist_ok=True)
    names = tuple(name.strip() for name in metrics.split(",")) if metrics else None
    rater = _judge(judge, judge_url, judge_calls, protocol, output) if judge else None
    results = run_suite(chosen, pipe, output, seed=seed, limit=limit, scoring=Scoring(names, weights, rater))
    if not results:  # another process has the results
        return
    for name, mean in results["overall"].items():
        if isinstance(mean, dict):
            typer.echo(f"{name:<24} {mean['mean']:.4f}  [{mean['low']:.4f}, {mean['high']:.4f}]")
    typer.echo(f"report: {(output / 'report.html').resolve()}")
    if not results["complete"]:
        typer.secho(f"incomplete: {len(results['failed'])} failed, see the report", fg="red", err=True)
        raise typer.Exit(1)


@bench.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Output folder of one run.")],
    b: Annotated[Path, typer.Argument(help="Output folder of another.")],
) -> None:
    """Paired differences B - A with 95 % bootstrap intervals; * where the interval leaves zero out."""
    from ggt_hub.evaluation import compare as compare_runs

    for entry in compare_runs(a, b):
        mean, low, high = entry.difference
        mark = "*" if entry.is_clear else " "
        typer.echo(
            f"{entry.metric:<20} {entry.task:<20} {mean:+.4f} {mark} [{low:+.4f}, {high:+.4f}]  n={entry.pictures}"
        )


def _judge(model: str, url: str | None, calls: int | None, protocol: str, output: Path) -> "Judge":
    from ggt_hub.errors import EvaluationError
    from ggt_hub.vlm import PROTOCOLS, Budget, Judge, Ledger, LocalChat, ServerChat

    if protocol not in PROTOCOLS:
        raise EvaluationError(f"unknown protocol {protocol!r}: there are {', '.join(PROTOCOLS)}")
    chat: ServerChat | LocalChat
    if url or os.environ.get("OPENAI_API_KEY"):
        chat = ServerChat(model, url, budget=Budget(max_calls=calls))
    else:
        name, _, revision = model.partition("@")
        chat = LocalChat(name, revision=revision or None)
    return Judge(chat, PROTOCOLS[protocol], Ledger(output / "judge.sqlite"))
