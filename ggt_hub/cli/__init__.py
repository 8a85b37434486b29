"""The command `ggt-hub`: one file per command, heavy imports inside it, so that `--help` answers at once."""

import logging
import os
import sys
import warnings
from typing import Annotated

import typer

from ggt_hub import __version__
from ggt_hub.cli import app as app_command
from ggt_hub.cli import (
    bench,
    convert,
    curate,
    data,
    degrade,
    info,
    leaderboard,
    publish,
    quickstart,
    restore,
    score,
    train,
)
from ggt_hub.cli.streams import make_lasting
from ggt_hub.errors import GGTHubError

app = typer.Typer(
    help="Restore real photographs, damage clean ones, and measure both.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ggt-hub {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Restore real photographs, damage clean ones, and measure both."""


app.command("restore")(restore.restore)
app.command("degrade")(degrade.degrade)
app.command("quickstart")(quickstart.quickstart)
app.command("convert")(convert.convert)
app.command("train")(train.train)
app.command("app")(app_command.app)
app.command("publish")(publish.publish)
app.command("info")(info.info)
app.command("score")(score.score)
app.add_typer(bench.bench, name="bench")
app.add_typer(leaderboard.leaderboard, name="leaderboard")
app.add_typer(data.app, name="data")
app.add_typer(curate.app, name="curate")


def main() -> None:
    """Run the command line; an error of ours, or of the file system, is one line and exit code 2, no traceback."""
    make_lasting()
    warnings.showwarning = _show_warning
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # torchao makes it talk at every start
    try:
        app()
    except GGTHubError as error:
        typer.secho(f"ggt-hub: {error}", fg="red", err=True)
        sys.exit(2)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        typer.secho(f"ggt-hub: {error.strerror or error}{place}", fg="red", err=True)
        sys.exit(2)


def _show_warning(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
    """Show one line, above a bar that moves; where in the code it was said is of no use to people."""
    from tqdm import tqdm

    kind = "" if issubclass(category, UserWarning) else f"{category.__name__}: "
    tqdm.write(f"warning: {kind}{message}", file=sys.stderr)
