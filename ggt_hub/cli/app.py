"""`ggt-hub app`."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggt_hub.cli.pages import Host, Open, Port, serve

if TYPE_CHECKING:
    from ggt_hub.demo import Settings
    from ggt_hub.demo.visitors import Page


def app(
    model: Annotated[
        list[str] | None, typer.Option(help="'compact', a folder, or an id on the Hub; may be repeated.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="What to browse: a name, a folder or an id; may be repeated.")
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    open: Open = False,
) -> None:
    """Start the demo: restore, degrade, compare, and browse pairs in the browser."""

    def start(settings: "Settings", **options: Any) -> "AbstractContextManager[Page]":
        from ggt_hub.demo import serving

        chosen = replace(
            settings, models=tuple(model or settings.models), datasets=tuple(dataset or settings.datasets)
        )
        return serving(chosen, **options)

    serve(start, host, port, open)
