"""What the commands that serve a page have in common."""

import importlib.util
import ipaddress
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

from ggt_hub.errors import DemoError, GGTHubError

if TYPE_CHECKING:
    from ggt_hub.demo.visitors import Page

Host = Annotated[str, typer.Option(help="0.0.0.0 opens it to other machines.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")]
Open = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]


def serve(start: "Callable[..., AbstractContextManager[Page]]", host: str, port: int, open: bool) -> None:
    """Serve a page until it is interrupted or told to terminate.

    Args:
        start: serves it within a `with`, told the settings and the options of Gradio's `launch`; imports of Gradio
            belong within.
        host: where to listen.
        port: likewise.
        open: whether to show it in the browser.

    Raises:
        DemoError: if Gradio is not installed, there is no place for its files, or the address cannot be had.
    """
    if importlib.util.find_spec("gradio") is None:
        raise DemoError("the page needs gradio, which is not installed: pip install 'ggt-hub[demo]'")
    try:
        place = tempfile.TemporaryDirectory(prefix="ggt-hub-app-")
    except OSError as error:
        raise DemoError(
            f"the page has no place for its files ({error}): set TMPDIR to a folder that can be written"
        ) from error
    # Before gradio is imported: its own choice, a folder that all users of a machine share, may be somebody else's.
    os.environ["GRADIO_TEMP_DIR"] = place.name
    from ggt_hub.demo import Settings
    from ggt_hub.demo.serving import until_told

    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    settings = Settings.from_environment(defaults=Settings.on_own_machine() if is_local else None)
    try:
        with until_told(), start(settings, server_name=host, server_port=port, inbrowser=open) as page:
            page.block_thread()
    except OSError as error:  # gradio's word for a port that is taken, among others
        if isinstance(error, GGTHubError):
            raise
        raise DemoError(
            f"the page cannot be served at {host}:{port} ({error}): choose another --port or --host"
        ) from error
