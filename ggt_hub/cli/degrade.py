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
        list[str] | None, typer.Argument(help="Pictures, folders or patterns such as 'clean/**/*.png'.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the damaged pictures.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="A chain of damage: mixture, web, night, realrestorer ..., or a YAML file of one's own. One for "
            "several tasks makes a folder for each, unless --task names one."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="One family: blur, noise, compression, low_light, resize, haze, rain, snow, moire, flare, "
            "reflection, old_photo ...; with --preset, one of the tasks it is for."
        ),
    ] = None,
    severity: Annotated[
        float | None,
        typer.Option(help="0 (mildest; of one family: none) to 1 (worst); drawn if not given."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    assets: Annotated[
        str | None,
        typer.Option(
            help="Folder or Hub dataset with subfolders of patterns (fog, rain, snow, flare, moire), "
            "of second pictures (pictures) and of clips."
        ),
    ] = None,
    depth: Annotated[
        str | None, typer.Option(help="Network for depth, a Hub id or a folder; a guess if not given.")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="Network for masks, a Hub id or a folder; superpixels if not given.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Published network that mixes reflections (SynNet) or refines moire (UniDemoire), a Hub id or a "
            "folder that `convert` wrote; give it once for each."
        ),
    ] = None,
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
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Only write this file (PNG): every family and kind, or those of --task, at three severities, on "
            "the picture or on one that ships."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON.")] = False,
) -> None:
    """Damage clean photographs, and write beside each the record that gives the same bytes again.

    Only results of the same picture are ever replaced.
    """
    from ggt_hub import degradations
    from ggt_hub.files import Batch, Job, Work
    from ggt_hub.images import Picture

    opened = degradations.Assets.open(assets, depth=depth, masks=masks, weights=weights or ())
    if sheet is not None:
        _write_sheet(sheet, paths or [], task, seed, opened)
        return
    if not paths or output is None:
        raise DegradationError("name the pictures, and the folder for the damaged ones by --output")
    if preset is None and task is None:
        raise DegradationError(f"give --preset or --task, one of {', '.join(degradations.list_presets())}")
    degradations.check_severity(severity)
    presets = degradations.load_presets(preset or task or "", task if preset else None)
    inputs = find_inputs(paths, output, format, json, records=True)
    if pairs:
        _make_pairs(inputs, output, presets, severity, seed, format or "png", workers, opened)
        return
    options, further = further_options(max_pixels, page, salvage, strip)
    used = {"assets": opened.identity} if opened.identity else {}

    def run(chosen: degradations.Preset) -> tuple[Work, Batch]:
        def work(picture: Picture, job: Job) -> tuple[Picture, dict[str, Any]]:
            damaged, record = degradations.degrade(
                picture, chosen, severity=severity, seed=job.seed(seed), assets=opened
            )
            record["steps"] += degradations.encoding(job.result.suffix)
            return damaged, {"record": record}

        def settings(job: Job) -> dict[str, Any]:
            encoded = {"encoded": True} if degradations.encoding(job.result.suffix) else {}
            told = {"preset": chosen.name, "preset_sha256": chosen.sha256, "severity": severity, "seed": seed}
            return told | encoded | used | further

        folder = output / chosen.task if len(presets) > 1 else output
        return work, Batch(folder, settings, overwrite, beside="record", **options)

    run_batches(inputs, [run(chosen) for chosen in presets], json)


def _write_sheet(path: Path, pictures: list[str], task: str | None, seed: int, assets: Any) -> None:
    from ggt_hub.commit import check_results, committed_result
    from ggt_hub.degradations.sheet import damage_sheet
    from ggt_hub.images import encode_image, read_image
    from ggt_hub.samples import load_samples

    if len(pictures) > 1:
        raise DegradationError(f"--sheet shows one picture, not {len(pictures)}: name one")
    check_results(path.parent, [path.name])
    shipped = next(sample.clean for sample in load_samples() if sample.name == "china")
    sheet = damage_sheet(
        pictures[0] if pictures else shipped, None if task is None else [task], seed=seed, assets=assets
    )
    with committed_result(path.parent, path.name) as place:
        place.write_bytes(encode_image(read_image(sheet), ".png").data)
    typer.echo(f"sheet: {path.resolve()}")


def _make_pairs(
    inputs: "Inputs",
    output: Path,
    presets: "Sequence[Preset]",
    severity: float | None,
    seed: int,
    format: str,
    workers: int,
    assets: Any,
) -> None:
    from ggt_hub.data.reading.clean import CleanFile
    from ggt_hub.data.work.make import Making, Wanted, make_pairs

    clean = [CleanFile(job.source, job.relative.as_posix(), output.resolve().name) for job in inputs.jobs]
    wanted = [
        Wanted(f"{preset.task}/{picture.name}" if len(presets) > 1 else picture.name, picture, preset)
        for preset in presets
        for picture in clean
    ]
    making = Making(severity, seed, format, assets=assets)
    failed = make_pairs(wanted, making, output, workers=workers)
    for name, reason in (inputs.refused | failed).items():
        typer.secho(f"left out: {name}: {reason}", fg="red", err=True)
    typer.echo(f"{output}: {len(wanted) - len(failed)} pairs, {len(failed)} pictures left out")
    raise typer.Exit(1 if failed or inputs.refused else 0)
