"""`ggt-hub leaderboard`: checked runs in one table."""

from pathlib import Path
from typing import Annotated

import typer

leaderboard = typer.Typer(help="Checked runs of one suite as a page and a Space.", no_args_is_help=True)


@leaderboard.callback()
def group() -> None:
    """Checked runs of one suite as a page and a Space."""


@leaderboard.command()
def build(
    results: Annotated[list[Path], typer.Argument(help="Folders that bench run wrote, over one suite.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the leaderboard.")],
    data: Annotated[Path | None, typer.Option(help="Folder with the suite's pictures.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder with weights of perceptual metrics.")] = None,
) -> None:
    """Check RESULTS and write the leaderboard; one that says what its pictures do not give is refused by name."""
    from ggt_hub.evaluation.leaderboard import build_leaderboard

    board = build_leaderboard(results, output, data, weights)
    typer.echo(f"{len(board['rows'])} rows over {board['pictures']} pictures, each score checked")
    typer.echo(f"leaderboard: {(output / 'index.html').resolve()}")
