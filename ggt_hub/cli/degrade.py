"""`ggt-hub degrade`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ggt_hub.cli.batch import (
    MaxPixels,
    Overwrite,
    Page,
    Salvage,
    StripOption,
    find_inputs,
    further_options,
    run_batch,
)
from ggt_hub.errors import DegradationError


def degrade(
    paths: Annotated[
        list[str], typer.Argument(help="Pictures, folders or patterns such as 'clean/**/*.png'.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the damaged pictures.")],
    preset: Annotated[
        str | None, typer.Option(help="A chain of damage: mixture, web, night, or a YAML file of one's own.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="One family: blur, noise, compression, low_light, resize.")
    ] = None,
    severity: Annotated[
        float | None,
        typer.Option(help="0 (mildest; of one family: none) to 1 (worst); drawn if not given."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    format: Annotated[
        str | None, typer.Option(help="png, jpg, webp, tif; lossless png if not given.")
    ] = "png",
    overwrite: Overwrite = False,
    max_pixels: MaxPixels = None,
    page: Page = None,
    salvage: Salvage = False,
    strip: StripOption = None,
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Write a data set of pairs (Parquet), each row with what replays it."),
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes, with --pairs.", min=1)] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON.")] = False,
) -> None:
    """Damage clean photographs, and write beside each the record that gives the same bytes again.

    Only results of the same picture are ever replaced.
    """
    from ggt_hub import degradations
    from ggt_hub.files import Batch, Job
    from ggt_hub.images import Picture

    if (preset is None) == (task is None):
        raise DegradationError(f"give --preset or --task, one of {', '.join(degradations.list_presets())}")
    degradations.check_severity(severity)
    loaded = degradations.load_preset(preset or task or "")
    inputs = find_inputs(paths, output, format, json, records=True)
    if pairs:
        _make_pairs(inputs, output, loaded, severity, seed, format or "png", workers)
        return
    options, further = further_options(max_pixels, page, salvage, strip)

    def work(picture: Picture, job: Job) -> tuple[Picture, dict[str, Any]]:
        damaged, record = degradations.degrade(picture, loaded, severity=severity, seed=job.seed(seed))
        record["steps"] += degradations.encoding(job.result.suffix)
        return damaged, {"record": record}

    def settings(job: Job) -> dict[str, Any]:
        encoded = {"encoded": True} if degradations.encoding(job.result.suffix) else {}
        told = {"preset": loaded.name, "preset_sha256": loaded.sha256, "severity": severity, "seed": seed}
        return told | encoded | further

    batch = Batch(output, settings, overwrite, beside="record", **options)
    run_batch(inputs, work, batch, json)


def _make_pairs(
    inputs: Any, output: Path, preset: Any, severity: float | None, seed: int, format: str, workers: int
) -> None:
    from ggt_hub.data.work.make import Making, make_pairs

    making = Making(preset, severity, seed, format, source=output.resolve().name)
    failed = make_pairs(inputs.jobs, making, output, workers=workers)
    for name, reason in (inputs.refused | failed).items():
        typer.secho(f"left out: {name}: {reason}", fg="red", err=True)
    typer.echo(f"{output}: {len(inputs.jobs) - len(failed)} pairs, {len(failed)} pictures left out")
    raise typer.Exit(1 if failed or inputs.refused else 0)
