"""`ggt-hub train`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or the name of a recipe in the package: compact, told, iqpir-codebooks, "
            "iqpir-codes, iqpir-quality, iqpir-general, genir, dreamclear, realrestorer."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run; resumes what it holds.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE[=SHARE]",
            help="Pictures in place of the recipe's: a folder of clean photographs or of pairs, or a data set of "
            "pairs. Several are drawn from by their shares (1 where none is given).",
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            "--as", help="A variant of the recipe, such as paper or released; its first if not given."
        ),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(help="A safetensors file, or the `model/` of another run, whose weights to start from."),
    ] = None,
    codebooks: Annotated[
        Path | None,
        typer.Option(help="The `model/` of the first stage, for what predicts its codes."),
    ] = None,
    perceptual: Annotated[
        str | None,
        typer.Option(
            metavar="lpips|none|FOLDER", help="The perceptual loss; a folder holds LPIPS's weights."
        ),
    ] = None,
    parts: Annotated[
        Path | None,
        typer.Option(help="DreamClear's recipe: whose autoencoder, pre-cleaner and text encoder are taken."),
    ] = None,
    backbone: Annotated[
        Path | None, typer.Option(help="DreamClear's recipe: a stock PixArt transformer to begin with.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|ID[@REVISION]",
            help="RealRestorer's recipe: the editor that is trained, a FLUX.1 Kontext, a Qwen-Image-Edit or a "
            "RealRestorer.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="RealRestorer's recipe: a safetensors file in place of the denoiser of --base, such as "
            "Step1X-Edit's."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="RealRestorer's recipe: keep what autoencoder and text encoder make of pictures in this folder."
        ),
    ] = None,
    shard: Annotated[
        bool,
        typer.Option(
            "--shard",
            help="RealRestorer's recipe, with several processes: each keeps a part of the transformer's weights.",
        ),
    ] = False,
    validate: Annotated[
        str | None,
        typer.Option(
            metavar="SUITE|FOLDER",
            help="Restore and score this, before the first step and now and then; in place of the recipe's.",
        ),
    ] = None,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps from one validation to the next.")] = 1000,
    tracker: Annotated[
        str | None, typer.Option(help="tensorboard, trackio or wandb: is told of losses, scores, pictures.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what the run would see of its data, and do not start it.")
    ] = False,
    max_minutes: Annotated[
        float | None, typer.Option(help="Stop after this time, resumed runs included.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Do not use an accelerator.")] = False,
) -> None:
    """Train a restorer.

    For several processes or devices start it with a launcher, for example
    `torchrun --nproc_per_node 2 -m ggt_hub train compact -o runs/compact`.
    """
    from ggt_hub.training import load_recipe, plan
    from ggt_hub.training import train as run
    from ggt_hub.training.run import SKIPPED

    told = {
        "codebooks": codebooks,
        "perceptual": perceptual,
        "parts": parts,
        "backbone": backbone,
        "base": base,
        "weights": weights,
        "cache": cache,
    }
    loaded = load_recipe(recipe, variant)
    loaded = loaded.with_settings({name: str(value) for name, value in told.items() if value is not None})
    if shard:
        loaded = replace(loaded, shard=True)
    if validate is not None or tracker is not None:
        loaded = loaded.watched(validate, validate_every, tracker)
    if data:
        loaded = loaded.with_data(dict(map(_source_and_share, data)))
    if dry_run:
        typer.echo(plan(loaded, processes=int(os.environ.get("WORLD_SIZE", 1))))
        return
    folder = run(loaded, output, init_from=init_from, max_minutes=max_minutes, cpu=cpu)
    typer.echo(f"averaged weights: {folder}")
    if (skipped := output / SKIPPED).is_file():
        count = len(skipped.read_text(encoding="utf-8").splitlines())
        typer.echo(f"skipped pictures: {count}, listed in {skipped}")


def _source_and_share(text: str) -> tuple[str, float]:
    source, equals, share = text.rpartition("=")
    if not equals or Path(text).exists():  # a folder may be called so
        return text, 1.0
    try:
        number = float(share)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise typer.BadParameter(f"{text!r}: the share must be a number above 0, as in {source}=2")
    return source, number
