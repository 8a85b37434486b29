"""`ggt-hub leaderboard`: checked runs in one table."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggt_hub.cli.pages import Host, Open, Port, serve

if TYPE_CHECKING:
    from ggt_hub.demo import Settings
    from ggt_hub.demo.visitors import Page

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
    votes: Annotated[Path | None, typer.Option(help="File of votes on these results, of `vote`.")] = None,
) -> None:
    """Check RESULTS and write the leaderboard; one that says what its pictures do not give is refused by name."""
    from ggt_hub.evaluation.leaderboard import build_leaderboard

    board = build_leaderboard(results, output, data, weights, votes)
    typer.echo(f"{len(board['rows'])} rows over {board['pictures']} pictures, each score checked")
    typer.echo(f"leaderboard: {(output / 'index.html').resolve()}")


@leaderboard.command()
def vote(
    results: Annotated[list[Path], typer.Argument(help="Folders that bench run wrote, over one suite.")],
    votes: Annotated[Path, typer.Option(help="File of votes; goes on with what it holds.")],
    data: Annotated[Path | None, typer.Option(help="Folder with the suite's pictures.")] = None,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    open: Open = False,
) -> None:
    """Vote in the browser, alone or with others, on pairs of RESULTS whose origin is not shown."""

    def start(settings: "Settings", **options: Any) -> "AbstractContextManager[Page]":
        from ggt_hub.demo.votes_page import serving_votes
        from ggt_hub.evaluation.leaderboard import open_voting

        return serving_votes(open_voting(results, votes, data), settings, **options)

    serve(start, host, port, open)
