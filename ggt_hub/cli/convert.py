"""`ggt-hub convert`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ggt_hub.cli.batch import DtypeOption, load_options
from ggt_hub.errors import RestorerError


class System(StrEnum):
    """Systems whose published weights can be written in our own layout."""

    realrestorer = "realrestorer"


def convert(
    system: Annotated[System, typer.Argument(help="Whose weights these are.")],
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="The published bundle: a folder, or an id on the Hub.")
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder to write; new or empty.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
    dtype: DtypeOption = None,
) -> None:
    """Write published weights in the layout that stock diffusers parts load.

    What is written needs no conversion when it is loaded, and can be quantised while it is loaded. Weights keep
    the precision they were published in, unless another is asked for; the autoencoder's is float32 in any case.
    Needs as much memory as the weights are large.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RestorerError(f"{target} is not an empty folder: choose another, or empty it")

    from diffusers.utils import logging

    from ggt_hub.commit import committed_folder
    from ggt_hub.pipelines.realrestorer import RealRestorerPipeline

    logging.disable_progress_bar()
    pipe = RealRestorerPipeline.from_pretrained(source, **load_options(revision, dtype))
    with committed_folder(target) as unfinished:  # only a whole layout ever has the name that was asked for
        pipe.save_pretrained(unfinished)
    typer.echo(f"{system.value} from {source} is in {target}: RestorerPipeline.from_pretrained loads it")
