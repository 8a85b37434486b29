"""`ggt-hub convert`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ggt_hub.cli.batch import DtypeOption, load_options
from ggt_hub.errors import RestorerError


class System(StrEnum):
    """Systems and networks whose published weights can be written in our own layout."""

    realrestorer = "realrestorer"
    dreamclear = "dreamclear"
    swinir = "swinir"
    synnet = "synnet"
    unidemoire = "unidemoire"
    iqpir = "iqpir"
    codeformer = "codeformer"


def convert(
    system: Annotated[System, typer.Argument(help="Whose weights these are.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="What is published: the folder or Hub id of RealRestorer or DreamClear, another network's file.",
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder to write; new or empty.")],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the Hub; RealRestorer and DreamClear only.")
    ] = None,
    dtype: DtypeOption = None,
    heads: Annotated[
        int | None,
        typer.Option(
            help="Attention heads, which no file tells; as published if not given; IQPIR, CodeFormer, DreamClear.",
            min=1,
        ),
    ] = None,
) -> None:
    """Write published weights in the layout that stock diffusers parts load.

    What is written needs no conversion when it is loaded, and can be quantised while it is loaded. Weights keep
    the precision they were published in, unless another is asked for; the autoencoder's is float32 in any case.
    Needs as much memory as the weights are large; DreamClear no more than 2.5 GB, and what was cut off goes on.
    """
    begun = system is System.dreamclear and not (target / "model_index.json").exists()
    if (
        target.exists()
        and (not target.is_dir() or any(target.iterdir()))
        and not (begun and _is_begun(target))
    ):
        raise RestorerError(f"{target} is not an empty folder: choose another, or empty it")
    if heads and system not in (System.iqpir, System.codeformer, System.dreamclear):
        raise RestorerError(f"the heads of {system.value} follow from its weights: leave out --heads")
    if system is System.realrestorer:
        _convert_realrestorer(source, target, load_options(revision, dtype))
        typer.echo(f"{system.value} from {source} is in {target}: RestorerPipeline.from_pretrained loads it")
        return
    if system is System.dreamclear:
        _convert_dreamclear(source, target, load_options(revision, dtype), heads)
        return
    if revision or dtype:
        option = "--revision" if revision else "--dtype"
        raise RestorerError(f"{system.value} is converted from a file as it is: leave out {option}")

    from ggt_hub.converters.networks import NETWORKS, convert_network

    kind = convert_network(system.value, Path(source), target, {"heads": heads} if heads else None)
    network = NETWORKS[system.value]
    loader = "RestorerPipeline" if kind.__name__ == "CodeFormer" else kind.__name__
    typer.echo(f"{system.value} from {source} is in {target}: {loader}.from_pretrained loads it")
    typer.echo(f"origin: {network.origin}")
    typer.echo(f"licence: {network.licence}")


def _convert_realrestorer(source: str, target: Path, options: dict[str, Any]) -> None:
    from diffusers.utils import logging

    from ggt_hub.commit import committed_folder
    from ggt_hub.pipelines.realrestorer import RealRestorerPipeline

    logging.disable_progress_bar()
    pipe = RealRestorerPipeline.from_pretrained(source, **options)
    with committed_folder(target) as unfinished:  # only a whole layout ever has the name that was asked for
        pipe.save_pretrained(unfinished)


def _is_begun(target: Path) -> bool:
    """Whether a folder holds a conversion that was cut off."""
    from ggt_hub.commit import RECORDS

    return (target / "transformer" / RECORDS).is_dir() or (target / "transformer/config.json").is_file()


def _convert_dreamclear(source: str, target: Path, options: dict[str, Any], heads: int | None) -> None:
    from ggt_hub.converters.dreamclear import LICENCE, PUBLISHED, convert_dreamclear
    from ggt_hub.hub import snapshot

    place, revision = Path(source), options.get("revision")
    if not place.exists() and source.count("/") == 1:
        place = snapshot(source, revision=revision, allow_patterns=PUBLISHED)
    elif revision:
        raise RestorerError(f"{source} is local: it has no revision {revision!r}")
    absent = convert_dreamclear(place, target, dtype=options.get("dtype"), heads=heads)
    typer.echo(f"dreamclear from {source} is in {target}: RestorerPipeline.from_pretrained loads it")
    if absent:
        typer.echo(f"not there, and left out: {', '.join(absent)}")
    typer.echo(f"licence: {LICENCE}")
