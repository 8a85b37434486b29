"""`ggt-hub restore`."""

import contextlib
import inspect
import math
from dataclasses import asdict
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
import yaml

from ggt_hub.cli.batch import (
    DtypeOption,
    MaxPixels,
    Overwrite,
    Page,
    Salvage,
    StripOption,
    find_inputs,
    further_options,
    load_quietly,
    run_batch,
)
from ggt_hub.errors import RestorerError

_OURS = ("image", "generator", "output_type", "return_dict")
"""Arguments of a restorer's call that the command fills in itself."""

_WORDS = {bool: "true or false", float: "a number", int: "a whole number", str: "text", NoneType: "nothing"}


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
    upscale: Annotated[float | None, typer.Option(help="Enlarge by this factor.")] = None,
    quality: Annotated[
        float | None,
        typer.Option(
            help="How good the result should be, 0 to 1; for restorers that are told or have a prior."
        ),
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="What restores a photograph around its faces: compact or none.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="Another face detector: an ONNX file of YuNet, or an id on the Hub.")
    ] = None,
    tile: Annotated[
        int | None, typer.Option(help="Side of the tiles in pixels; 0 works in one piece.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps ...; the best there is if not given.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Fit into this much device memory, such as 16GB.")
    ] = None,
    dtype: DtypeOption = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    format: Annotated[
        str | None, typer.Option(help="png, jpg, webp, tif; each input's own if not given.")
    ] = None,
    set: Annotated[
        list[str] | None, typer.Option(help="Any argument of the model's call: NAME=VALUE.")
    ] = None,
    overwrite: Overwrite = False,
    max_pixels: MaxPixels = None,
    page: Page = None,
    salvage: Salvage = False,
    strip: StripOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON.")] = False,
) -> None:
    """Restore photographs.

    Sub-folders are kept. What is finished is not done again, unless the picture, the model or a setting has
    changed; one bad file never stops the others. Only results of the same picture are ever replaced.
    """
    inputs = find_inputs(paths, output, format, json)  # before the model: a slip should not cost its loading
    import torch

    from ggt_hub.files import Batch, Job, fingerprint
    from ggt_hub.images import Picture, check_format

    device = check_device(device) if device else _best_device()
    pipe = load_quietly(model, revision, dtype)
    named = {
        "task": task,
        "upscale": _plain(upscale),
        "quality": quality,
        "background": background,
        "tile": tile,
    }
    arguments = call_arguments(pipe, named, set or [])
    if detector is not None:
        _use_detector(pipe, detector)
    _place(pipe, device, memory, arguments)
    options, further = further_options(max_pixels, page, salvage, strip)
    weights = {"model": fingerprint(Path(pipe.name_or_path))} | ({"dtype": dtype.value} if dtype else {})
    settings = {**weights, "seed": seed, **arguments, **further}
    settings |= {"detector": detector} if detector else {}

    scale = arguments.get("upscale") or pipe.description.upscales[0]

    def work(picture: Picture, job: Job) -> tuple[Picture, dict[str, Any]]:
        check_format((round(scale * picture.size[0]), round(scale * picture.size[1])), job.result.suffix)
        generator = torch.Generator().manual_seed(job.seed(seed))
        result = pipe(picture, generator=generator, output_type="np", **arguments)
        findings = [asdict(finding) for finding in result.findings[0]] if result.findings else []
        return picture.with_rgb(result.images[0]), {"findings": findings} if findings else {}

    batch = Batch(output, lambda job: settings, overwrite=overwrite, scale=scale, **options)
    run_batch(inputs, work, batch, json)


def _use_detector(pipe: Any, detector: str) -> None:
    if not hasattr(pipe, "use_detector"):
        raise RestorerError(f"{type(pipe).__name__} looks for no faces: leave out --detector")
    pipe.use_detector(detector)


def _place(pipe: Any, device: str, memory: str | None, arguments: dict[str, Any]) -> None:
    """Bring the restorer to the device, as planned for `memory` if that is given."""
    if memory is None:
        pipe.to(device)
        return
    from ggt_hub.pipelines.placement import parse_memory

    plan = pipe.plan_memory(parse_memory(memory), **arguments)
    typer.echo(f"memory: {plan}", err=True)
    plan.apply(pipe, device)


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(name: str) -> str:
    """The device of that name.

    Raises:
        RestorerError: if there is none; the message says which there are.
    """
    import torch

    try:
        torch.zeros(1, device=name).item()  # "meta" is a device, but holds nothing
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise RestorerError(
            f"--device {name} cannot be used here ({reason}): try {_best_device()}"
        ) from error
    return name


def call_arguments(pipe: Any, named: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """The call's arguments: the options that were given, then `--set`; checked before any picture is read."""
    kinds, options = _kinds_of_call(pipe), pipe.description.options
    arguments = {name: value for name, value in named.items() if value is not None}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise RestorerError(f"--set {assignment}: write NAME=VALUE")
        arguments[name] = _value(name, value, kinds[name]) if name in kinds else value
    if unknown := [name for name in arguments if name not in kinds and name != "quality"]:
        known = [f"{name} ({options[name]})" if name in options else name for name in kinds]
        raise RestorerError(
            f"{type(pipe).__name__} has no argument {unknown[0]!r}: it has {', '.join(known)}"
        )
    checked = {name: arguments.get(name) for name in ("task", "prompt", "upscale", "tile", "quality")}
    further = {name: value for name, value in arguments.items() if name in options and name not in checked}
    pipe.check_inputs(output_type="np", **checked, **further)
    return arguments


def _plain(factor: float | None) -> float | None:
    """A whole number as such: restorers count with it."""
    return int(factor) if factor is not None and factor == int(factor) else factor


def _kinds_of_call(pipe: Any) -> dict[str, frozenset[Any]]:
    """The arguments of a restorer's call that a person may set, and the plain types that each takes."""
    call = type(pipe).__call__
    hints = get_type_hints(call)
    named = [
        name
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in (*_OURS, "quality")
    ]
    kinds = {name: _kinds(hints.get(name, Any)) for name in named}
    for name, option in pipe.description.options.items():
        kinds[name] = frozenset({option.kind, *([NoneType] if option.optional else [])})
    return kinds


def _value(name: str, text: str, kinds: frozenset[Any]) -> Any:
    """The value that a person wrote, if it is of the kind that the call takes.

    Raises:
        RestorerError: if it is not.
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, str) and float in kinds:
        with contextlib.suppress(ValueError):  # YAML takes 1e-3 for a word
            value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise RestorerError(f"--set {name}={text}: give a finite number")
    fits = type(value) in kinds or (float in kinds and type(value) is int)
    if not fits and str in kinds:  # "007" is a prompt, too
        return text
    if not fits and kinds <= _WORDS.keys() and kinds:
        expected = " or ".join(
            _WORDS[kind] for kind in sorted(kinds, key=_WORDS.__getitem__) if kind is not NoneType
        )
        raise RestorerError(f"--set {name}={text}: {name} takes {expected}")
    return value


def _kinds(kind: Any) -> frozenset[Any]:
    """The plain types that an annotation allows."""
    if get_origin(kind) in (Union, UnionType):
        return frozenset().union(*(_kinds(part) for part in get_args(kind)))
    if get_origin(kind) is Literal:
        return frozenset(type(value) for value in get_args(kind))
    return frozenset({get_origin(kind) or kind})
