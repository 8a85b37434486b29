"""`ggt-hub score`."""

import json
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
) -> None:
    """Score one folder of pictures, or two folders picture by picture.

    What cannot be scored is listed, marks the score incomplete, and gives exit code 1.
    """
    from ggt_hub.commit import commit_json
    from ggt_hub.evaluation import score_folders

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    scores = score_folders(results, references, names, weights=weights)
    if json_file:
        commit_json(json_file, scores)
    for name in names:
        mean = scores["overall"].get(name)
        interval = f"{mean['mean']:.4f}  [{mean['low']:.4f}, {mean['high']:.4f}]" if mean else "not scored"
        typer.echo(f"{name:<20} {interval}")
    typer.echo(f"{scores['overall']['scored']} of {scores['pictures']} pictures")
    if not scores["complete"]:
        typer.secho(
            f"incomplete: {json.dumps(scores['failed'], ensure_ascii=False, indent=1)}", fg="red", err=True
        )
        raise typer.Exit(1)
