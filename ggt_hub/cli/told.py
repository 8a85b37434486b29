"""The options by which a person says what names of files cannot: the same for every command that reads pairs."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

_PANEL = "Where names cannot decide"
_HELP = {
    "lq": "Pattern of the low-quality pictures, such as 'blur'.",
    "gt": "Pattern of the ground truths, such as 'sharp'.",
    "include": "Look only at pictures of this pattern.",
    "exclude": "Leave out pictures of this pattern.",
    "template": "How a low-quality name follows from that of its ground truth: '{}x4'.",
}


def takes_told(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the fields of `Told` as options, in place of its argument `told`, which gets what they say."""
    signature = inspect.signature(command)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "told"]
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, typer.Option(f"--{name}", help=text, rich_help_panel=_PANEL)],
        )
        for name, text in _HELP.items()
    ]

    @wraps(command)
    def with_told(**arguments: Any) -> None:
        from ggt_hub.data.recognising.told import Told

        told = Told(**{name: arguments.pop(name) for name in _HELP})
        command(told=told, **arguments)

    with_told.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    with_told.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
    return with_told
