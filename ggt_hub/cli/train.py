"""`ggt-hub train`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Argument(help="A YAML file, or the name of a recipe in the package: compact.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run; resumes what it holds.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of clean photographs; the recipe's if not given.")
    ] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="A safetensors file whose weights to start from.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Stop after this time, resumed runs included.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Do not use an accelerator.")] = False,
) -> None:
    """Train a restorer.

    For several processes or devices start it with a launcher, for example
    `torchrun --nproc_per_node 2 -m ggt_hub train compact -o runs/compact`.
    """
    from ggt_hub.training import load_recipe
    from ggt_hub.training import train as run

    loaded = load_recipe(recipe)
    if images is not None:
        loaded = replace(loaded, images=images)
    weights = run(loaded, output, init_from=init_from, max_minutes=max_minutes, cpu=cpu)
    typer.echo(f"averaged weights: {weights}")
