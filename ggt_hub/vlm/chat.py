"""Asking a vision-language model behind an OpenAI-compatible server."""

import base64
import json
import os
import random
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError
from ggt_hub.vlm.ledger import Ledger

Turn = tuple[str, str]
"""A later turn of the conversation: role ("assistant" or "user") and text."""

_LONGEST_REPLY = 4 * 1024 * 1024  # bytes
_LONGEST_WAIT = 120.0  # seconds that a server may ask for
_PASSING = (408, 409, 429, 500, 502, 503, 529)  # answered without a reply, so not billed
_UNKNOWN = (504,)  # a gateway gave up waiting; the model may have gone on


class Chat(Protocol):
    """Something that answers a question about one picture."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def revision(self) -> str | None:
        """Its exact revision; None where that is not known."""

    @property
    def endpoint(self) -> str | None:
        """Where it runs; None for here."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What else decides its reply."""

    def ask(self, image_png: bytes, system: str, question: str, later: Sequence[Turn] = ()) -> str:
        """The reply, decoded greedily."""


@dataclass
class Budget:
    """What may be spent; what was spent is in the ledger, so that it survives the end of a run.

    Attributes:
        max_calls: requests that may be made, failed ones and repeated ones included; None for any number.
        max_cost: what they may cost, in the currency of the prices; None for any amount.
        price_in: price of a million tokens asked.
        price_out: price of a million tokens answered.
        ledger: where requests are counted.
        purse: what the budget belongs to, such as the folder of a run.
    """

    max_calls: int | None = None
    max_cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    ledger: Ledger = field(default_factory=lambda: Ledger(":memory:"), repr=False)
    purse: str = ""

    @property
    def calls(self) -> int:
        """Requests made."""
        return self.ledger.spent(self.purse)[0]

    @property
    def cost(self) -> float:
        """What they cost; those of which it is not known count as much as the dearest."""
        return self.ledger.spent(self.purse)[1]

    def begin(self) -> int:
        """Count a request that is about to be sent.

        Raises:
            JudgeError: if the budget does not allow it.
        """
        return self.ledger.begin_request(self.purse, self.max_calls, self.max_cost)

    def end(self, request: int, state: str, cost: float | None) -> None:
        """Note what became of it."""
        self.ledger.end_request(request, state, cost)

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """What a reply costs."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


class ServerChat:
    """A model behind any server that speaks OpenAI's chat protocol (vLLM, SGLang, llama.cpp, ...).

    Rejections that pass (429, 500, 502, 503) and connections that were never made are tried again, with growing,
    jittered pauses or those that `Retry-After` asks for; each try counts in the budget. What was sent and got no
    reply is not sent again, for it may have been billed. The key is never part of a message, a reply or a `repr`.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        api_key: str | None = None,
        budget: Budget | None = None,
        max_tokens: int = 32,
        timeout: float = 120.0,
        max_retries: int = 5,
    ) -> None:
        """Connect to nothing yet; requests are made by `ask`.

        Raises:
            JudgeError: if the address is none, or the library that asks is not installed.

        Args:
            model: the model's name on the server.
            base_url: such as "http://localhost:8000/v1".
            api_key: None takes `OPENAI_API_KEY` from the environment; many local servers need none.
            budget: what may be spent; None for no limit.
            max_tokens: the longest reply.
            timeout: seconds that one try may take.
            max_retries: further tries after a failure that may pass.
        """
        try:
            from openai import DefaultHttpxClient, OpenAI
        except ImportError as error:
            raise JudgeError("asking a server needs openai: pip install 'ggt-hub[curation]'") from error
        if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).hostname:
            raise JudgeError(f"{base_url!r} is no address of a server: write it as http://localhost:8000/v1")
        self.model = model
        self.revision = None  # a server does not say
        self.budget = budget or Budget()
        self.max_tokens, self.timeout, self.max_retries = max_tokens, timeout, max_retries
        self.endpoint = _public(base_url)
        self._first = threading.Lock()
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        # The client's own retries would be billed and not counted; redirects would carry the picture elsewhere.
        self._client = OpenAI(
            base_url=base_url,
            api_key=key,
            max_retries=0,
            timeout=timeout,
            http_client=DefaultHttpxClient(follow_redirects=False),
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """What else decides the reply."""
        return {"temperature": 0, "max_tokens": self.max_tokens}

    def ask(self, image_png: bytes, system: str, question: str, later: Sequence[Turn] = ()) -> str:
        """The model's reply at temperature 0; "" for an empty one.

        Args:
            image_png: the picture.
            system: the system prompt.
            question: the text after the picture.
            later: further turns, oldest first.

        Raises:
            QuestionRefusedError: if the server will not take this question, or its reply is none; others it may.
            PossiblyBilledError: if it was sent and no reply came.
            JudgeError: if the server fails for good, rejects what every question needs, or the budget is spent.
        """
        messages = _messages(image_png, system, question, later)
        for attempt in range(self.max_retries + 1):
            # Where money is limited the first request goes alone, for until its reply comes no price is known.
            priced = self.budget.max_cost is None or self.budget.cost > 0
            with nullcontext() if priced else self._first:
                request = self.budget.begin()
                try:
                    body = self._send(messages)
                except Exception as error:  # noqa: BLE001  the client lets errors of several libraries through
                    pause = self._after_failure(request, error, attempt)
                else:
                    self.budget.end(request, "billed", self._cost(body))
                    return _text_of(self.model, body)
            time.sleep(pause)
        raise AssertionError("the last attempt has raised")

    def _send(self, messages: Any) -> str:
        """The body of the reply, masked; it is read in pieces, so that a server that drips does not hold us."""
        deadline, body = time.monotonic() + self.timeout, bytearray()
        with self._client.chat.completions.with_streaming_response.create(
            model=self.model, messages=messages, **self.parameters
        ) as response:
            for piece in response.iter_bytes():
                body += piece
                if time.monotonic() > deadline or len(body) > _LONGEST_REPLY:
                    raise TimeoutError(
                        f"the reply is longer than {self.timeout:g} s or {_LONGEST_REPLY} bytes"
                    )
        return self._masked(body.decode("utf-8", "replace"))

    def _after_failure(self, request: int, error: Exception, attempt: int) -> float:
        """Seconds to wait before the next try.

        Raises:
            JudgeError: or its subclasses, if there is to be none.
        """
        # Not chained anywhere below: a server may echo the key, and the client's error holds the request.
        reason = " ".join(self._masked(str(error)).split())[:300]
        about = f"{self.model} could not be asked: {type(error).__name__}: {reason}"
        status = getattr(error, "status_code", None)
        was_sent = status is None and not _never_sent(error)
        if was_sent or status in _UNKNOWN:
            self.budget.end(request, "possibly billed", None)
            raise PossiblyBilledError(about) from None
        self.budget.end(request, "rejected", 0.0)
        if status in (400, 413, 422) and not _rejects_parameter(error):
            raise QuestionRefusedError(about) from None
        passes = status is None or (status in _PASSING and getattr(error, "code", "") != "insufficient_quota")
        wait = _wait_asked_for(error)
        if not passes or attempt == self.max_retries or (wait or 0) > _LONGEST_WAIT:
            raise JudgeError(about) from None
        return wait if wait is not None else random.uniform(0.5, 1.0) * min(2**attempt, 30)  # noqa: S311

    def _cost(self, body: str) -> float:
        """What the reply's own usage costs; where it states none, what its length makes likely."""
        usage = _member(_json(body), "usage")
        tokens = [_member(usage, name) for name in ("prompt_tokens", "completion_tokens")]
        known = [count if isinstance(count, int) and count >= 0 else None for count in tokens]
        return self.budget.price(
            known[0] if known[0] is not None else 4000,
            known[1] if known[1] is not None else max(self.max_tokens, len(body) // 4),
        )

    def _masked(self, text: str) -> str:
        key = self._client.api_key
        return text.replace(key, "***") if len(key) > 5 else text  # "none", "EMPTY" are no secrets


def _text_of(model: str, body: str) -> str:
    """The text of a reply.

    Raises:
        QuestionRefusedError: if it is none; the reply is kept in it.
    """
    choices = _member(_json(body), "choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = _member(first, "message")
    content = _member(message, "content")
    if isinstance(content, str):
        return content
    if content is None and isinstance(message, dict) and "content" in message:
        return ""
    shown = " ".join(body.split())[:120]
    raise QuestionRefusedError(f"{model} sent a reply without text: {shown or 'an empty one'}", body)


def _json(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _never_sent(error: BaseException) -> bool:
    """Whether no connection was made."""
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout", "PoolTimeout")


def _rejects_parameter(error: Exception) -> bool:
    """Whether a 400 is about what all questions have in common."""
    body = getattr(error, "body", None)
    words = f"{_member(body, 'code')} {_member(body, 'message')}".lower()
    return bool(_member(body, "param")) or "parameter" in words or "model_not_found" in words


def _wait_asked_for(error: Exception) -> float | None:
    """Seconds until the time that `Retry-After` names, in seconds or as a date."""
    response = getattr(error, "response", None)
    text = response.headers.get("retry-after") if response is not None else None
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except ValueError:
            return None


def _public(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def _messages(image_png: bytes, system: str, question: str, later: Sequence[Turn]) -> Any:
    url = "data:image/png;base64," + base64.b64encode(image_png).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": content},
        *({"role": role, "content": text} for role, text in later),
    ]
