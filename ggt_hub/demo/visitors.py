"""What visitors may ask of the server, and what they are told when something is wrong.

Gradio would fetch an address wherever a file can be given, and at routes of its own; here it fetches none.
"""

import functools
import html
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from gradio.data_classes import ImageData
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ggt_hub.errors import DemoError, GGTHubError, ImageError
from ggt_hub.images import Picture, read_image

logger = logging.getLogger(__name__)

CLOSED = (
    "/gradio_api/deep_link",
    "/gradio_api/process_recording",
    "/gradio_api/proxy=",
    "/gradio_api/stream/",
    "/gradio_api/vibe",
)
"""Routes of Gradio's that would store or fetch something, and that this page does not use."""


class Gate:
    """ASGI middleware: closes the routes in `CLOSED`, and files named by an address."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 404 where a route is closed, else pass the request on."""
        if scope["type"] == "http" and _is_closed(scope["path"]):
            await PlainTextResponse("not here", 404)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _is_closed(path: str) -> bool:
    return path.startswith(CLOSED) or "://" in path.partition("/file=")[2]


class Page(gr.Blocks):
    """Blocks that refuse addresses in place of files, whatever component they are meant for."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Gradio's own step, the one place where it turns what was sent into files."""
        if _names_an_address(inputs):
            raise gr.Error("Addresses are not fetched: upload the file itself.", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


def _names_an_address(value: Any) -> bool:
    if isinstance(value, dict):
        is_file = isinstance(value.get("path"), str) and "://" in value["path"]
        return is_file or any(_names_an_address(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(_names_an_address(item) for item in value)


def photograph(max_megapixels: float, **options: Any) -> gr.Image:
    """An input that hands over a `Picture`, read by `read_image`: whole depth, upright, size checked.

    It is no subclass, since Gradio writes a file beside the source of every subclass of a component.

    Args:
        max_megapixels: larger pictures are refused from their header.
        **options: those of `gr.Image`.
    """
    component = gr.Image(type="filepath", image_mode=None, **options)
    component.preprocess = functools.partial(_read_upload, max_pixels=round(max_megapixels * 1e6))
    return component


def _read_upload(payload: ImageData | None, max_pixels: int) -> Picture | None:
    """Read an uploaded file; Gradio has checked that it is one, and not some other file of the server."""
    if payload is None or payload.path is None:
        return None
    file, name = Path(payload.path), Path(payload.orig_name or "picture").name
    if not file.is_file():
        raise gr.Error("This picture has been deleted already: upload it again.", print_exception=False)
    try:
        return read_image(file, name=name, max_pixels=max_pixels)
    except ImageError as error:
        raise page_error(error) from error


def page_error(error: Exception) -> gr.Error:
    """The error as the page shows it; advice to programmers is left out, and names of files are no HTML."""
    text = str(error).removesuffix(" If you trust the file, raise max_pixels.")
    return gr.Error(html.escape(text, quote=False), duration=15, print_exception=False)


def in_page(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show the errors of ggt-hub in the page, instead of a traceback in the log."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except torch.OutOfMemoryError as error:
            logger.warning("out of memory: %s", error)
            raise page_error(
                DemoError("the picture is too large for this device: reduce it first")
            ) from error
        except GGTHubError as error:
            raise page_error(error) from error

    return call


def check_given(picture: Picture | None) -> Picture:
    """The picture, if there is one.

    Raises:
        DemoError: if there is none.
    """
    if picture is None:
        raise DemoError("there is no picture yet: choose one, or click an example")
    return picture
