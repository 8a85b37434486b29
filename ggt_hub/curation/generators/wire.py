"""What a library's requests came to on the wire: libraries lose some of it, and set no limit to what they read.

Seen by the hooks of an httpx client, which google-genai and huggingface_hub let others set.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ggt_hub.curation.generators.replies import LONGEST_REPLY
from ggt_hub.vlm.openai_server import ONE_EACH, masked

_LONGEST_TRANSFER = 3600.0  # seconds, for what goes into a batch, or came of it, which may be gigabytes

_here = threading.local()
_hooking = threading.Lock()


class _RedirectError(Exception):
    """What is asked would go to another address."""


class HeldError(Exception):
    """What asks was about to be sent, in a rehearsal."""


@dataclass
class Exchange:
    """What a call came to, by its last response.

    Attributes:
        key: which stands in nothing that is kept.
        timeout: seconds that the call may take, until all has come.
        is_download: what comes with status 200 is not read here.
        is_rehearsal: what asks is not sent.
        was_sent: whether something was sent that asks.
        was_taken: whether that was answered by a status of success, and so is perhaps billed, whatever followed.
        status: None without a response.
        headers: without the key.
        content: the body; b"" where it did not come whole.
        body: the same as text, without the key.
    """

    key: str
    timeout: float
    is_download: bool = False
    is_rehearsal: bool = False
    was_sent: bool = False
    was_taken: bool = False
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    body: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def is_answered(self) -> bool:
        """Whether the status is one of success, whichever."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def left(self) -> float:
        """Seconds that are left.

        Raises:
            TimeoutError: if there are none.
        """
        left = self.began + self.timeout - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"it takes longer than {self.timeout:g} s")
        return left


def exchange(
    call: Callable[[], Any],
    key: str,
    timeout: float,
    *,
    transfers: bool = False,
    is_download: bool = False,
    is_rehearsal: bool = False,
) -> tuple[Exchange, Any, Exception | None]:
    """What a call of a library came to on the wire, what it gave, and what the library says of it.

    Args:
        call: whose requests go through a client with `HOOKS`, in this thread.
        key: of the account.
        timeout: seconds that the call may take.
        transfers: it sends or fetches a file that may take longer.
        is_download: what comes with status 200 goes into a file of the library's.
        is_rehearsal: what would be billed is not sent: the error is a `HeldError` where all before went well.
    """
    seconds = _LONGEST_TRANSFER if transfers else timeout
    found = _here.exchange = Exchange(key, seconds, is_download, is_rehearsal)
    try:
        return found, call(), None
    except Exception as error:  # noqa: BLE001  the libraries let errors of several others through
        return found, None, error
    finally:
        _here.exchange = None


def watch(client: Any) -> None:
    """Watch a client that others made, once; what is not asked by `exchange` it does as before."""
    with _hooking:
        for kind, hooks in HOOKS.items():
            theirs = client.event_hooks[kind]
            theirs += [hook for hook in hooks if hook not in theirs]


def _note_request(request: Any) -> None:
    found: Exchange | None = getattr(_here, "exchange", None)
    if found is None:
        return
    left, waits = found.left, request.extensions.get("timeout") or {}
    # Where a library waits for ever, it waits as long as the call may take.
    least = {name: min(left, waits.get(name) or left) for name in ("connect", "read", "write", "pool")}
    request.extensions = {**request.extensions, "timeout": least}
    request.headers.update(ONE_EACH)
    found.status = None
    if _asks(request):
        if found.is_rehearsal:
            raise HeldError
        found.was_sent = True


def _note_response(response: Any) -> None:
    """Read the whole body, within the time, before the library makes anything of it."""
    found: Exchange | None = getattr(_here, "exchange", None)
    if found is None:
        return
    found.status, found.content, found.body = response.status_code, b"", ""
    found.headers = {name: masked(value, found.key) for name, value in response.headers.items()}
    if _asks(response.request):
        found.was_taken |= found.is_answered
        if response.has_redirect_location:
            raise _RedirectError("it would send the question, picture and all, on to another address")
    is_download = found.is_download and response.status_code == 200
    _limit(response, found, None if is_download else LONGEST_REPLY)
    if not is_download:
        found.content = response.read()
        found.body = masked(response.text, found.key)


def _asks(request: Any) -> bool:
    return request.method == "POST"


def _limit(response: Any, found: Exchange, longest: int | None) -> None:
    """Let a body be read no longer than there is time and room."""
    stream, read = response.stream, 0

    class Limited(type(stream)):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

        def __iter__(self) -> Any:
            nonlocal read
            for piece in stream:
                read += len(piece)
                if found.left and longest is not None and read > longest:
                    raise TimeoutError(f"the reply is longer than allowed: {read} bytes")
                yield piece

        def close(self) -> None:
            stream.close()

    response.stream = Limited()


HOOKS: dict[str, list[Callable[[Any], None]]] = {"request": [_note_request], "response": [_note_response]}
"""For a client of httpx."""
