"""`ggt-hub quickstart`: the photographs in the package, restored, scored, and shown in one page."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggt_hub.cli.batch import load_quietly

if TYPE_CHECKING:
    from ggt_hub.samples import Sample


_REPORT, _SHEET = "report.html", "sheet.png"


def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for pictures and report.")] = Path(
        "ggt-hub-quickstart"
    ),
    model: Annotated[str, typer.Option(help="'compact', a folder, or an id on the Hub.")] = "compact",
) -> None:
    """Restore the photographs that ship with the package and write a page to look at."""
    from tqdm import tqdm

    from ggt_hub.commit import check_results, committed_result
    from ggt_hub.reports import contact_sheet, write_report
    from ggt_hub.samples import load_samples

    samples = load_samples()
    pictures_of = [f"{sample.name}-{when}.png" for sample in samples for when in ("before", "after")]
    check_results(output, [*pictures_of, _REPORT, _SHEET])
    pipe = load_quietly(model)
    rows, items, pictures, captions = [], [], [], []
    for sample in tqdm(samples, unit="picture"):
        started = time.perf_counter()
        restored = pipe(sample.image, task="low_light" if sample.task == "low_light" else None).images[0]
        scores = _scores(sample, restored) | {"seconds": time.perf_counter() - started}
        _write(sample.image, output, f"{sample.name}-before.png")
        _write(restored, output, f"{sample.name}-after.png")
        rows.append([sample.title, sample.task or "poor by nature", *scores.values()])
        items.append(_comparison(sample, restored, scores))
        pictures += [sample.image, restored]
        captions += [f"{sample.name}, before", f"{sample.name}, after"]
    with committed_result(output, _REPORT) as path:
        write_report(
            path,
            title="ggt-hub: eight photographs restored",
            summary=f"Restored by {model!r}. Six were damaged by the package's presets, two are poor by nature.",
            tables=[_table(rows)],
            items=items,
        )
    _write(contact_sheet(pictures, captions, columns=4), output, _SHEET)
    typer.echo(f"report: {(output / _REPORT).resolve()}")


def _write(picture: Any, output: Path, name: str) -> None:
    from ggt_hub.commit import committed_result
    from ggt_hub.images import encode_image, read_image

    with committed_result(output, name) as path:
        path.write_bytes(encode_image(read_image(picture), ".png").data)


def _scores(sample: "Sample", restored: Any) -> dict[str, float | None]:
    """Scores before and after; those that need the clean picture are None where there is none."""
    from ggt_hub import metrics
    from ggt_hub.images.shown import shown_rgb

    before, after = shown_rgb(sample.image), shown_rgb(restored)
    scores: dict[str, float | None] = {}
    for name in ("psnr", "ssim", "niqe"):
        for when, picture in (("before", before), ("after", after)):
            reference = None if sample.clean is None else [shown_rgb(sample.clean)]
            possible = reference is not None or not metrics.METRICS[name].needs_reference
            score = metrics.compute([name], [picture], reference)[name][0] if possible else None
            scores[f"{name} {when}"] = None if score is None else float(score)
    return scores


def _comparison(sample: "Sample", restored: Any, scores: dict[str, float | None]) -> Any:
    from ggt_hub.reports import Comparison

    shown = {name: value for name, value in scores.items() if value is not None}
    damage = f"Damaged: {sample.task}. " if sample.task else "Poor by nature. "
    return Comparison(
        title=sample.title,
        before=sample.image,
        after=restored,
        reference=sample.clean,
        caption=f"{damage}{sample.credit}",
        numbers=shown,
    )


def _table(rows: list[list[Any]]) -> Any:
    from ggt_hub.reports import Table

    columns = ["photograph", "damage", "PSNR", "after", "SSIM", "after", "NIQE", "after", "seconds"]
    note = (
        "PSNR (dB) and SSIM against the clean picture: higher is better. NIQE judges alone: lower is better."
    )
    return Table(columns, rows, title="Scores before and after", note=note)
