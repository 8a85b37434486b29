"""Asking a vision-language model behind an OpenAI-compatible server."""

import base64
import json
import os
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError, RejectedError
from ggt_hub.vlm.asking import Question, Reply, Service, Turn, send
from ggt_hub.vlm.budget import Budget

_LONGEST_REPLY = 4 * 1024 * 1024  # bytes
_PASSING = (408, 409, 429, 500, 502, 503, 529)  # answered without a reply, so not billed
_UNKNOWN = (504,)  # a gateway gave up waiting; the model may have gone on


class Chat(Service, Protocol):
    """A service that answers in words."""

    def ask(self, image_png: bytes, system: str, question: str, later: Sequence[Turn] = ()) -> str:
        """The reply to a question about one picture, kept nowhere."""


class ServerChat:
    """A model behind any server that speaks OpenAI's chat protocol (vLLM, SGLang, llama.cpp, ...).

    What it is asked is counted, and tried again, as `asking` says. The key is never part of a message, a reply or a
    `repr`.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        api_key: str | None = None,
        budget: Budget | None = None,
        max_tokens: int = 32,
        temperature: float = 0,
        timeout: float = 120.0,
        max_retries: int = 5,
        per_minute: float | None = None,
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
            temperature: of sampling; at 0 replies are decoded greedily.
            timeout: seconds that one try may take.
            max_retries: further tries after a failure that may pass.
            per_minute: requests that may be sent in a minute; None for any number.
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
        self.max_tokens, self.temperature = max_tokens, temperature
        self.timeout, self.max_retries, self.per_minute = timeout, max_retries, per_minute
        self.endpoint = _public(base_url)
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
        return {"temperature": self.temperature, "max_tokens": self.max_tokens}

    def ask(self, image_png: bytes, system: str, question: str, later: Sequence[Turn] = ()) -> str:
        """The model's reply to a question about one picture; "" for an empty one.

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
        return text_of(send(self, Question(question, system, (image_png,), tuple(later))))

    def send(self, question: Question) -> Reply:
        """One try; see `Service.send`."""
        try:
            body, request_id = self._body(_messages(question))
        except Exception as error:  # noqa: BLE001  the client lets errors of several libraries through
            raise self._failure(error) from None
        text = _text_of(body)
        if text is None:
            shown = " ".join(body.split())[:120]
            text, refusal = body, f"{self.model} sent a reply without text: {shown or 'an empty one'}"
        else:
            refusal = None
        content = _json(body)
        usage = _member(content, "usage")
        name = request_id or _member(content, "id")
        return Reply(
            text,
            refusal=refusal,
            cost=self._cost(body),
            usage=usage if isinstance(usage, dict) else {},
            request_id=name if isinstance(name, str) else None,
        )

    def _body(self, messages: Any) -> tuple[str, str | None]:
        """The body of the reply, masked, and its name; in pieces, so that a server that drips does not hold us."""
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
        return self._masked(body.decode("utf-8", "replace")), response.headers.get("x-request-id")

    def _failure(self, error: Exception) -> JudgeError:
        """What a failure of the client means."""
        # Not chained: a server may echo the key, and the client's error holds the request.
        reason = " ".join(self._masked(str(error)).split())[:300]
        about = f"{self.model} could not be asked: {type(error).__name__}: {reason}"
        status = getattr(error, "status_code", None)
        was_sent = status is None and not _never_sent(error)
        if was_sent or status in _UNKNOWN:
            return PossiblyBilledError(about)
        if status in (400, 413, 422) and not _rejects_parameter(error):
            return QuestionRefusedError(about)
        passes = status is None or (status in _PASSING and getattr(error, "code", "") != "insufficient_quota")
        return RejectedError(about, passes=passes, wait=_wait_asked_for(error))

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


def text_of(reply: Reply) -> str:
    """The text of a reply.

    Raises:
        QuestionRefusedError: if it is a refusal; what came is kept in it.
    """
    if reply.refusal is not None:
        raise QuestionRefusedError(reply.refusal, reply.text)
    return reply.text


def _text_of(body: str) -> str | None:
    """The text of a completion; None where there is none."""
    choices = _member(_json(body), "choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = _member(first, "message")
    content = _member(message, "content")
    if isinstance(content, str):
        return content
    return "" if content is None and isinstance(message, dict) and "content" in message else None


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


def _messages(question: Question) -> Any:
    urls = ["data:image/png;base64," + base64.b64encode(data).decode() for data in question.pictures]
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [
        *([{"role": "system", "content": question.system}] if question.system else []),
        {"role": "user", "content": [*content, {"type": "text", "text": question.text}]},
        *({"role": role, "content": text} for role, text in question.later),
    ]
