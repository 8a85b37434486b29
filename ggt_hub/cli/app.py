"""`ggt-hub app`."""

from typing import Annotated

import typer

from ggt_hub.errors import DemoError, GGTHubError


def app(
    model: Annotated[
        list[str] | None, typer.Option(help="'compact', a folder, or an id on the Hub; may be repeated.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="What to browse: a name, a folder or an id; may be repeated.")
    ] = None,
    host: Annotated[str, typer.Option(help="0.0.0.0 opens it to other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = 7860,
    open: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Start the demo: restore, degrade, compare, and browse pairs in the browser."""
    import importlib.util
    import ipaddress
    import os
    import tempfile
    from dataclasses import replace

    if importlib.util.find_spec("gradio") is None:
        raise DemoError("the demo needs gradio, which is not installed: pip install 'ggt-hub[demo]'")
    try:
        place = tempfile.TemporaryDirectory(prefix="ggt-hub-app-")
    except OSError as error:
        raise DemoError(
            f"the demo has no place for its files ({error}): set TMPDIR to a folder that can be written"
        ) from error
    # Before gradio is imported: its own choice, a folder that all users of a machine share, may be somebody else's.
    os.environ["GRADIO_TEMP_DIR"] = place.name
    from ggt_hub.demo import Settings, launch

    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    settings = Settings.from_environment(defaults=Settings.on_own_machine() if is_local else None)
    settings = replace(
        settings, models=tuple(model or settings.models), datasets=tuple(dataset or settings.datasets)
    )
    try:
        launch(settings, server_name=host, server_port=port, inbrowser=open)
    except OSError as error:  # gradio's word for a port that is taken, among others
        if isinstance(error, GGTHubError):
            raise
        raise DemoError(
            f"the demo cannot be served at {host}:{port} ({error}): choose another --port or --host"
        ) from error
