"""`ggt-hub degrade`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggt_hub.cli.batch import (
    MaxPixels,
    Overwrite,
    Page,
    Salvage,
    StripOption,
    find_inputs,
    further_options,
    run_batches,
)
from ggt_hub.errors import DegradationError

if TYPE_CHECKING:
    from ggt_hub.degradations import Preset
    from ggt_hub.files import Inputs


def degrade(
    paths: Annotated[
        list[str], typer.Argument(help="Pictures, folders or patterns such as 'clean/**/*.png'.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the damaged pictures.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="A chain of damage: mixture, web, night, realrestorer ..., or a YAML file of one's own. One for "
            "several tasks makes a folder for each, unless --task names one."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="One family, such as noise or haze; with --preset, one of the tasks it is for."),
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
    from ggt_hub.files import Batch, Job, Work
    from ggt_hub.images import Picture

    if preset is None and task is None:
        raise DegradationError(f"give --preset or --task, one of {', '.join(degradations.list_presets())}")
    degradations.check_severity(severity)
    presets = degradations.load_presets(preset or task or "", task if preset else None)
    inputs = find_inputs(paths, output, format, json, records=True)
    if pairs:
        _make_pairs(inputs, output, presets, severity, seed, format or "png", workers)
        return
    options, further = further_options(max_pixels, page, salvage, strip)

    def run(chosen: degradations.Preset) -> tuple[Work, Batch]:
        def work(picture: Picture, job: Job) -> tuple[Picture, dict[str, Any]]:
            damaged, record = degradations.degrade(picture, chosen, severity=severity, seed=job.seed(seed))
            record["steps"] += degradations.encoding(job.result.suffix)
            return damaged, {"record": record}

        def settings(job: Job) -> dict[str, Any]:
            encoded = {"encoded": True} if degradations.encoding(job.result.suffix) else {}
            told = {"preset": chosen.name, "preset_sha256": chosen.sha256, "severity": severity, "seed": seed}
            return told | encoded | further

        folder = output / chosen.task if len(presets) > 1 else output
        return work, Batch(folder, settings, overwrite, beside="record", **options)

    run_batches(inputs, [run(chosen) for chosen in presets], json)


def _make_pairs(
    inputs: "Inputs",
    output: Path,
    presets: "Sequence[Preset]",
    severity: float | None,
    seed: int,
    format: str,
    workers: int,
) -> None:
    from ggt_hub.data.reading.clean import CleanFile
    from ggt_hub.data.work.make import Making, Wanted, make_pairs

    clean = [CleanFile(job.source, job.relative.as_posix(), output.resolve().name) for job in inputs.jobs]
    wanted = [
        Wanted(f"{preset.task}/{picture.name}" if len(presets) > 1 else picture.name, picture, preset)
        for preset in presets
        for picture in clean
    ]
    making = Making(severity, seed, format)
    failed = make_pairs(wanted, making, output, workers=workers)
    for name, reason in (inputs.refused | failed).items():
        typer.secho(f"left out: {name}: {reason}", fg="red", err=True)
    typer.echo(f"{output}: {len(wanted) - len(failed)} pairs, {len(failed)} pictures left out")
    raise typer.Exit(1 if failed or inputs.refused else 0)
