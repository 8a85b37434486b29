"""What visitors may ask of the server, and what they are told when something is wrong.

Gradio would fetch an address wherever a file can be given, and at routes of its own; here it fetches none.
"""

import functools
import html
import ipaddress
import logging
import math
import socket
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import torch
from gradio.data_classes import ImageData
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ggt_hub.demo.settings import Settings
from ggt_hub.errors import DemoError, GGTHubError, ImageError
from ggt_hub.images import ImageWarning, Picture, read_image

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
    """ASGI middleware: who may ask, and for what.

    It refuses calls under a foreign name (a page elsewhere whose name was made to lead here, "DNS rebinding", could
    read everything), closes the routes in `CLOSED` and files named by an address, and limits a visitor's files.

    Args:
        app: what is behind it.
        settings: hosts, and the limits of uploads.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.hosts = {name.lower() for name in settings.hosts} | own_names()
        self.uploads = Uploads(settings.max_uploads, settings.keep_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer where something is refused, else pass the request on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_ours(headers.get("host", "")):
            words = "this server is not called by that name: add it to GGT_HUB_HOSTS if it should be"
            await PlainTextResponse(words, 400)(scope, receive, send)
        elif _is_closed(scope["path"]):
            await PlainTextResponse("not here", 404)(scope, receive, send)
        elif scope["path"].rstrip("/").endswith("/upload") and scope.get("method") == "POST":
            await self._take_files(scope, receive, send, headers)
        else:
            await self.app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname or ""
        if "*" in self.hosts or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)  # nobody can make an address lead elsewhere
        except ValueError:
            return False
        return True

    async def _take_files(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        visitor = (scope.get("client") or ("?",))[0]
        if "*" in self.hosts:  # behind a proxy that says whose call it is
            visitor = headers.get("x-forwarded-for", visitor).split(",")[0].strip()
        if not self.uploads.may_send(visitor):
            await PlainTextResponse(self.uploads.words, 429)(scope, receive, send)
            return
        tail = b""

        async def counted() -> Message:
            nonlocal tail
            message = await receive()
            body = tail + message.get("body", b"")
            self.uploads.count(visitor, body.lower().count(b"filename="))
            tail = body[-8:]  # too short to hold the word once more
            if not self.uploads.may_send(visitor):
                raise HTTPException(429, self.uploads.words)
            return message

        await self.app(scope, counted, send)


class Uploads:
    """How many files each visitor has sent within some time.

    Args:
        limit: of files.
        seconds: that a file counts, and is kept.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.seconds = limit, seconds
        self.sent: dict[str, list[float]] = {}
        self.words = f"at most {limit} files within {seconds / 60:g} minutes: come back later"

    def may_send(self, visitor: str) -> bool:
        """Whether a visitor has not reached the limit."""
        now = time.monotonic()
        recent = {who: [t for t in times if now - t < self.seconds] for who, times in self.sent.items()}
        self.sent = {who: times for who, times in recent.items() if times}
        return len(self.sent.get(visitor, ())) <= self.limit

    def count(self, visitor: str, files: int) -> None:
        """Note files that are being sent."""
        self.sent.setdefault(visitor, []).extend([time.monotonic()] * files)


def own_names() -> set[str]:
    """How this machine is called from itself and its network."""
    name = socket.gethostname().lower()
    return {"localhost", name, f"{name}.local", socket.getfqdn().lower()} - {""}


def _is_closed(path: str) -> bool:
    return path.startswith(CLOSED) or "://" in path.partition("/file=")[2]


class Page(gr.Blocks):
    """Blocks that refuse addresses in place of files, whatever component they are meant for, and complete calls."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Gradio's own step, the one place where it turns what was sent into files."""
        if _names_an_address(inputs):
            raise gr.Error("Addresses are not fetched: upload the file itself.", print_exception=False)
        missing = [None] * (len(block_fn.inputs) - len(inputs))
        completed = [
            _checked(component, value)
            for component, value in zip(block_fn.inputs, [*inputs, *missing], strict=False)
        ]
        return await super().preprocess_data(block_fn, completed, *args, **kwargs)


def _checked(component: Any, value: Any) -> Any:
    """What was sent for a control: its own value where nothing was, a word where it is of another kind."""
    problem = None
    if isinstance(component, gr.Image):
        if value is not None and not isinstance(value, dict):
            problem = "a file that was uploaded"
    elif not isinstance(component, (gr.Slider, gr.Number, gr.Dropdown, gr.Radio, gr.CheckboxGroup)):
        return value
    elif value is None:
        return component.value
    elif isinstance(component, (gr.Slider, gr.Number)):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        problem = None if is_number else "a number"
    elif isinstance(component, gr.CheckboxGroup) or getattr(component, "multiselect", False):
        problem = None if isinstance(value, list) else "a list"
    if problem:
        raise gr.Error(f"{component.label}: give {problem}, not {str(value)[:80]!r}.", print_exception=False)
    return value


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
        return read_with_words(file, name, max_pixels)
    except ImageError as error:
        raise page_error(error) from error


_READING = threading.Lock()  # to catch warnings is not for several threads at once


def read_with_words(file: Path, name: str, max_pixels: int) -> Picture:
    """Read a picture; what of its file is not used is in its `left_behind`, warnings included.

    Raises:
        ImageError: if it cannot be read.
    """
    with _READING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        picture = read_image(file, name=name, max_pixels=max_pixels)
    said = [str(warning.message) for warning in caught if issubclass(warning.category, ImageWarning)]
    mine = [text.removeprefix(repr(name)).lstrip(": ") for text in said if text.startswith(repr(name))]
    words = [text.partition(": choose with page=")[0].rstrip(".") for text in mine]
    known = [word for word in picture.left_behind if not any(word in text for text in words)]
    return replace(picture, left_behind=tuple(dict.fromkeys([*words, *known])))


def tell_what_is_left(picture: Picture | None) -> None:
    """Say at once what of a file is not used: frames of an animation, a gain map, a profile that does not fit."""
    if picture is not None and picture.left_behind:
        gr.Warning(html.escape("; ".join(picture.left_behind), quote=False), title="Not used", duration=15)


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
