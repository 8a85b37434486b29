"""`ggt-hub app`."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ggt_hub.cli.pages import Host, Open, Port, serve

if TYPE_CHECKING:
    from ggt_hub.demo import Settings


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

    def start(settings: "Settings") -> None:
        from ggt_hub.demo import launch

        chosen = replace(
            settings, models=tuple(model or settings.models), datasets=tuple(dataset or settings.datasets)
        )
        launch(chosen, server_name=host, server_port=port, inbrowser=open)

    serve(start, host, port)
