"""OpenAI's client as it is safe to pay with: one try, no redirects, raw bodies, and what each failure means."""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError, RejectedError

PASSING = (408, 409, 429, 500, 502, 503, 529)
"""Statuses that are answered without a reply, so not billed, and pass."""

UNKNOWN = (499, 504, 520, 524, 598, 599)
"""A gateway gave up waiting, or got what it does not understand; the model may have gone on."""

ONE_EACH = {"Connection": "close"}
"""A connection for each request: one that is kept may close while we ask, which may be billed, and what a server
sends too much is taken for the answer to the next question."""

_LONGEST_CHECK = 30.0  # seconds
_LONGEST_PAUSE = 86400.0  # seconds; who asks for more is asked again a day later
_A_DAY_IS_FULL = 3600.0
_MOST_TOKENS = 100_000_000  # of one reply; what says more has counted something else
_OF_THE_ACCOUNT = ("insufficient_quota", "billing_hard_limit_reached", "invalid_api_key")
_OF_THE_QUESTION = ("moderation_blocked", "content_policy_violation", "content_filter")


class OpenAIServer:
    """A server that speaks OpenAI's protocol. The key is never part of a message, a reply or a `repr`.

    Attributes:
        client: the library's client.
        endpoint: the address without what may be secret in it.
    """

    def __init__(self, base_url: str | None, api_key: str | None, timeout: float) -> None:
        """Connect to nothing yet.

        Args:
            base_url: such as "http://localhost:8000/v1"; None for OpenAI's own, or `OPENAI_BASE_URL`.
            api_key: None takes `OPENAI_API_KEY` from the environment; many local servers need none.
            timeout: seconds that one try may take.

        Raises:
            JudgeError: if the address or the key is none, or the library that asks is not installed.
        """
        try:
            from openai import DefaultHttpxClient, OpenAI
        except ImportError as error:
            raise JudgeError("asking a server needs openai: pip install 'ggt-hub[curation]'") from error
        if base_url is not None:
            check_address(base_url)
        self.timeout = timeout
        key = checked_key(api_key or os.environ.get("OPENAI_API_KEY", "")) or "none"
        # The client's own retries would be billed and not counted; redirects would carry the picture elsewhere.
        with making_client(key):
            self.client = OpenAI(
                base_url=base_url,
                api_key=key,
                max_retries=0,
                timeout=timeout,
                default_headers=ONE_EACH,
                http_client=DefaultHttpxClient(follow_redirects=False),
            )
        check_address(str(self.client.base_url))
        self.endpoint = public_address(base_url or str(self.client.base_url))

    def check(self, model: str) -> None:
        """Ask, for nothing, whether the key is taken and the model is there.

        Raises:
            JudgeError: if the server says no; of one that says something else nothing is concluded.
        """
        try:
            self.client.with_options(timeout=_LONGEST_CHECK).models.with_raw_response.retrieve(model)
        except Exception as error:  # noqa: BLE001  the client lets errors of several libraries through
            status, code = getattr(error, "status_code", None), getattr(error, "code", None)
            # A key of OpenAI's may be let ask models and not be let list them: it lacks a scope then.
            if status == 401 or (status == 403 and "scope" not in str(error)):
                raise JudgeError(f"{self.endpoint} rejects the key: {self.failure(error, model)}") from None
            if status == 404 and code == "model_not_found":
                raise JudgeError(
                    f"{self.endpoint} has no model {model}: {self.failure(error, model)}"
                ) from None

    def read(self, opened: Any, longest: int) -> tuple[str, str | None]:
        """The body of a reply, masked, and its name; in pieces, so that a server that drips does not hold us.

        Args:
            opened: what the client's `with_streaming_response` gives.
            longest: bytes.
        """
        deadline, body = time.monotonic() + self.timeout, bytearray()
        with opened as response:
            for piece in response.iter_bytes():
                body += piece
                if time.monotonic() > deadline or len(body) > longest:
                    raise TimeoutError(f"the reply is longer than {self.timeout:g} s or {longest} bytes")
        name = response.headers.get("x-request-id")
        return self.masked(body.decode("utf-8", "replace")), name and self.masked(name)

    def failure(self, error: Exception, who: str) -> JudgeError:
        """What a failure of the client means."""
        # Not chained: a server may echo the key, and the client's error holds the request.
        reason = " ".join(self.masked(str(error)).split())[:300]
        about = f"{who} could not be asked: {type(error).__name__}: {reason}"
        status = getattr(error, "status_code", None)
        was_sent = status is None and not never_sent(error)
        if was_sent or status in UNKNOWN:
            return PossiblyBilledError(about)
        if status in (400, 413, 422) and _is_of_the_question(error):
            return QuestionRefusedError(about)
        code = getattr(error, "code", None)
        passes = status is None or (status in PASSING and code not in _OF_THE_ACCOUNT)
        return RejectedError(about, passes=passes, wait=_wait_asked_for(error))

    def masked(self, text: str) -> str:
        """A text without the key."""
        return masked(text, self.client.api_key)


def masked(text: str, key: str) -> str:
    """A text without a key, also where it is written as JSON writes it."""
    if len(key) > 5:  # "none", "EMPTY" are no secrets
        in_json = json.dumps(key)[1:-1]
        for form in dict.fromkeys((key, in_json, in_json.replace("/", "\\/"))):
            text = text.replace(form, "***")
    return text


def checked_key(key: str) -> str:
    """A key without space around it, as files and secrets of servers often have it.

    Raises:
        JudgeError: if it has characters that no key has: libraries would say so, with all of it in their message.
    """
    key = key.strip()
    if not re.fullmatch("[!-~]*", key):
        raise JudgeError(
            "the key holds characters that no key has, such as a line break or a space: set it anew in the "
            "environment"
        )
    return key


def check_address(url: str) -> None:
    """Refuse what is no address.

    Raises:
        JudgeError: if so.
    """
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, half an address in brackets
        is_one = False
    if not is_one or not re.fullmatch("[!-~]+", url):
        raise JudgeError(f"{url!r} is no address of a server: write it as http://localhost:8000/v1")


@contextmanager
def making_client(key: str) -> Iterator[None]:
    """Say in one line why a library cannot make its client: proxies and certificates of the environment, mostly.

    Raises:
        JudgeError: if so.
    """
    try:
        yield
    except Exception as error:
        said = masked(f"{type(error).__name__}: {error}", key)
        raise JudgeError(
            f"no client can be made ({said}): look at HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and the like"
        ) from error


def public_address(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def read_json(body: str) -> Any:
    """What a body says, in text that can be written; None where it is no JSON."""
    try:
        return _writable(json.loads(body.removeprefix("\ufeff")))  # a mark of byte order
    except (ValueError, RecursionError):
        return None


def _writable(value: Any) -> Any:
    """A value without halves of letters, which JSON may name and no file can hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_writable(one) for one in value]
    if isinstance(value, dict):
        return {_writable(name): _writable(one) for name, one in value.items()}
    return value


def member(value: Any, name: str | int) -> Any:
    """A member of an object, or an item of a list; None where there is none."""
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list) and isinstance(name, int) and -len(value) <= name < len(value):
        return value[name]
    return None


def items(value: Any) -> list[Any]:
    """The items of a list; none of what is no list."""
    return value if isinstance(value, list) else []


def count(value: Any, *names: str) -> int:
    """A number of tokens somewhere in what a server says of its usage; 0 where it is none."""
    return counted(value, *names) or 0


def counted(value: Any, *names: str) -> int | None:
    """As `count`; None where there is no number that can be, which is not the same as none at all."""
    for name in names:
        value = member(value, name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value <= _MOST_TOKENS else None


def name_of(*told: Any) -> str | None:
    """The first of these that is a name: servers put other things there, too."""
    return next((one for one in told if isinstance(one, str) and one), None)


def never_sent(error: BaseException) -> bool:
    """Whether no connection was made."""
    names = {type(one).__name__ for one in (error, error.__cause__)}
    return bool(
        names & {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}
    )


def seconds_of(text: str | None) -> float | None:
    """Seconds until the time that `Retry-After` names, in seconds or as a date."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, seconds), _LONGEST_PAUSE)


def _is_of_the_question(error: Exception) -> bool:
    """Whether a 400 is about this question alone, and not about what all have in common."""
    body = getattr(error, "body", None)
    code, words = member(body, "code"), f"{member(body, 'code')} {member(body, 'message')}".lower()
    if code in _OF_THE_QUESTION:
        return True
    common = code in _OF_THE_ACCOUNT or member(body, "param") or "parameter" in words
    return not (common or "model_not_found" in words)


def _wait_asked_for(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    wait = seconds_of(response.headers.get("retry-after")) if response is not None else None
    if wait is None and getattr(error, "status_code", None) == 429 and "per day" in str(error).lower():
        return _A_DAY_IS_FULL
    return wait
