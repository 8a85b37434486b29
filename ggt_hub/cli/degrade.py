"""`ggt-hub degrade`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ggt_hub.cli.batch import run_batch
from ggt_hub.errors import DegradationError


def degrade(
    paths: Annotated[
        list[str], typer.Argument(help="Pictures, folders or patterns such as 'clean/**/*.png'.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the damaged pictures.")],
    preset: Annotated[
        str | None, typer.Option(help="A chain of damage, such as mixture, web or night.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="One family: blur, noise, compression, low_light, resize.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="0 (mild) to 1 (severe); drawn if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    format: Annotated[
        str | None, typer.Option(help="png, jpg, webp, tif; lossless png if not given.")
    ] = "png",
    json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON.")] = False,
) -> None:
    """Damage clean photographs, and write beside each the recipe that gives the same bytes again."""
    from ggt_hub import degradations
    from ggt_hub.commit import commit_json
    from ggt_hub.files import Job, find_jobs, output_name
    from ggt_hub.images import Picture

    if (preset is None) == (task is None):
        raise DegradationError(f"give --preset or --task, one of {', '.join(degradations.list_presets())}")
    name = degradations.load_preset(preset or task or "").name

    def work(picture: Picture, job: Job) -> tuple[Picture, dict[str, Any]]:
        damaged, recipe = degradations.degrade(picture, name, strength=strength, seed=job.seed(seed))
        commit_json(output / f"{output_name(job.relative, format)}.json", recipe)
        return damaged, {"recipe": recipe}

    settings = {"preset": name, "strength": strength, "seed": seed}
    run_batch(find_jobs(paths, output), output, work, settings, format, json)
