"""`ggt-hub score`."""

from pathlib import Path
from typing import Annotated

import typer


def score(
    results: Annotated[Path, typer.Argument(help="Picture, or folder of pictures to score.")],
    references: Annotated[
        Path | None, typer.Argument(help="Their references, under the same relative paths.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="Names with commas between.")] = "psnr,ssim",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all scores to this file.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder with weights of perceptual metrics.")] = None,
    template: Annotated[
        str | None, typer.Option(help="Name of a result by that of its reference: '{}_x4'.")
    ] = None,
    crop_border: Annotated[int, typer.Option(min=0, help="Cut so many pixels off each side first.")] = 0,
    crop_to_fit: Annotated[
        bool,
        typer.Option(
            "--crop-to-fit", help="Cut picture and reference to one size if up to 32 pixels differ."
        ),
    ] = False,
) -> None:
    """Score one folder of pictures, or two folders picture by picture.

    What cannot be scored is listed, marks the score incomplete, and gives exit code 1.
    """
    from ggt_hub.cli.bench import echo_incomplete, mean_and_interval
    from ggt_hub.commit import commit_json
    from ggt_hub.evaluation import score_folders
    from ggt_hub.evaluation.scoring import Scoring, metric_names

    names = metric_names(metrics)
    scoring = Scoring(weights=weights, crop_border=crop_border, crop_to_fit=crop_to_fit)
    scores = score_folders(results, references, names, scoring=scoring, template=template)
    if json_file:
        commit_json(json_file, scores)
    for name in names:
        mean = scores["overall"].get(name)
        typer.echo(f"{name:<20} {mean_and_interval(mean) if mean else 'not scored'}")
    typer.echo(f"{scores['overall']['scored']} of {scores['pictures']} pictures")
    if not scores["complete"]:
        echo_incomplete(scores)
        raise typer.Exit(1)
