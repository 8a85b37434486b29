"""`ggt-hub restore`."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ggt_hub.cli.batch import load_quietly, run_batch
from ggt_hub.errors import RestorerError


def restore(
    paths: Annotated[
        list[str], typer.Argument(help="Pictures, folders or patterns such as 'scans/**/*.jpg'.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the restored pictures.")],
    model: Annotated[str, typer.Option(help="'compact', a folder, or an id on the Hub.")] = "compact",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the Hub.")] = None,
    task: Annotated[
        str | None, typer.Option(help="What is wrong, if you know: noise, blur, low_light ...")
    ] = None,
    upscale: Annotated[int | None, typer.Option(help="Enlarge by this factor.")] = None,
    tile: Annotated[
        int | None, typer.Option(help="Side of the tiles in pixels; 0 works in one piece.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps ...; the best there is if not given.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Fit into this much device memory, such as 16GB (RealRestorer).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    format: Annotated[
        str | None, typer.Option(help="png, jpg, webp, tif; each input's own if not given.")
    ] = None,
    set: Annotated[
        list[str] | None, typer.Option(help="Any argument of the model's call: NAME=VALUE.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON.")] = False,
) -> None:
    """Restore photographs.

    Sub-folders are kept. What is finished is not done again, unless the picture, the model or a setting has
    changed; one bad file never stops the others.
    """
    import torch

    from ggt_hub.files import Job, find_jobs, fingerprint
    from ggt_hub.images import Picture

    jobs = find_jobs(paths, output)  # before the model: a misspelt path should not cost its loading
    pipe = load_quietly(model, revision)
    arguments = _arguments(pipe, {"task": task, "upscale": upscale, "tile": tile}, set or [])
    _place(pipe, device or _best_device(), memory, arguments)
    settings = {"model": fingerprint(Path(pipe.name_or_path)), "seed": seed, **arguments}

    def work(picture: Picture, job: Job) -> tuple[Picture, dict[str, Any]]:
        generator = torch.Generator().manual_seed(job.seed(seed))
        result = pipe(picture, generator=generator, output_type="np", **arguments)
        details = {"found": result.findings[0]} if result.findings else {}
        return picture.with_rgb(result.images[0]), details

    run_batch(jobs, output, work, settings, format, json)


def _place(pipe: Any, device: str, memory: str | None, arguments: dict[str, Any]) -> None:
    """Bring the restorer to the device, as planned for `memory` if that is given."""
    if memory is None:
        pipe.to(device)
        return
    from ggt_hub.pipelines.realrestorer import RealRestorerPipeline, parse_memory

    if not isinstance(pipe, RealRestorerPipeline):
        raise RestorerError(f"{type(pipe).__name__} has no memory plan: leave out --memory")
    plan = pipe.plan_memory(parse_memory(memory), **arguments)
    typer.echo(f"memory: {plan}", err=True)
    plan.apply(pipe, device)


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _arguments(pipe: Any, named: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """The call's arguments: the options that were given, then `--set`; checked before any file is read."""
    import inspect

    known = inspect.signature(type(pipe).__call__).parameters
    allowed = [
        name for name in known if name not in {"self", "image", "generator", "output_type", "return_dict"}
    ]
    arguments = {name: value for name, value in named.items() if value is not None}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise RestorerError(f"--set {assignment}: write NAME=VALUE")
        arguments[name] = yaml.safe_load(value)
    if unknown := [name for name in arguments if name not in allowed]:
        raise RestorerError(
            f"{type(pipe).__name__} has no argument {unknown[0]!r}: it has {', '.join(allowed)}"
        )
    checked = {name: arguments.get(name) for name in ("task", "prompt", "upscale", "tile")}
    pipe.check_inputs(output_type="np", **checked)
    return arguments
