"""`ggt-hub info`."""

import importlib.util
import json as json_module
import platform
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import Annotated, Any

import typer
from packaging.requirements import Requirement

LIBRARIES = (
    "torch", "torchvision", "diffusers", "transformers", "accelerate", "datasets", "huggingface-hub", "evaluate",
    "gradio", "opencv-python-headless", "pillow", "numpy", "safetensors", "pyiqa",
)  # fmt: skip


def info(
    model: Annotated[
        str | None, typer.Argument(help="A restorer instead: as `restore` takes it.", show_default=False)
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the Hub.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show versions, devices, installed extras, and what each model needs; or what one restorer can do."""
    facts = _of_this_machine() if model is None else _of_restorer(model, revision)
    if json:
        typer.echo(json_module.dumps(facts, indent=1))
        return
    for title, content in facts.items():
        typer.echo(f"{title}: {content}" if isinstance(content, str) else f"\n{title}")
        if isinstance(content, dict):
            for name, value in content.items():
                typer.echo(f"  {name:<24} {_words(value)}")


def _of_this_machine() -> dict[str, Any]:
    return {
        "ggt-hub": version("ggt-hub"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "extras": {name: _extra_installed(name) for name in _extras()},
        "devices": _devices(),
        "models": _models(),
        "revisions": _revisions(),
    }


def _of_restorer(model: str, revision: str | None) -> dict[str, Any]:
    """The description of a restorer; of one on the Hub only the small files are downloaded."""
    from ggt_hub.pipelines.layouts import find

    layout, place = find(model, {"revision": revision, "allow_patterns": ["*.json", "*.md"]})
    restorer = layout.restorer(place)
    description = restorer.describe(place)
    return {
        "restorer": restorer.__name__,
        "found as": layout.name,
        "tasks": ", ".join(description.tasks) or "makes no difference",
        "prompt": "taken" if description.takes_prompt else "not taken",
        "upscale": ", ".join(map(str, description.upscales))
        + (" and what is between" if description.between_upscales else ""),
        "sizes": str(description.sizes),
        "tiling": description.tiling
        if description.tile is None
        else f"in tiles of {description.tile} pixels",
        "precisions": ", ".join(description.precisions),
        "memory": description.memory,
        "options": {
            name: f"{option}; {option.default} if not given; {option.help}"
            for name, option in description.options.items()
        },
    }


def _revisions() -> dict[str, str]:
    """What is loaded where no revision is asked for."""
    from ggt_hub.revisions import OURS, THIRD_PARTY

    known = {f"{kind} {repo_id}": revision for (kind, repo_id), revision in (OURS | THIRD_PARTY).items()}
    return {name: revision or "unpinned: the newest" for name, revision in known.items()}


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "installed" if value else "not installed"
    return "not installed" if value is None else str(value)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _extras() -> list[str]:
    """The extras for users: those of developers and the sum of the others say nothing."""
    named = metadata("ggt-hub").get_all("Provides-Extra") or []
    return [name for name in named if name not in ("test", "all")]


def _extra_installed(extra: str) -> bool:
    """Whether every package that the extra asks for is there, in a version that it takes."""
    asked = [Requirement(line) for line in requires("ggt-hub") or []]
    return all(
        (found := _version(requirement.name)) is not None
        and requirement.specifier.contains(found, prereleases=True)
        for requirement in asked
        if requirement.marker
        and requirement.marker.evaluate({"extra": extra})
        and not requirement.marker.evaluate({"extra": ""})
    )


def _devices() -> dict[str, str]:
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    devices = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    return devices


def _models() -> dict[str, str]:
    from ggt_hub.pipelines.layouts import PIPELINES, load_pipeline_class

    return {name: load_pipeline_class(name).description.memory for name in PIPELINES}
