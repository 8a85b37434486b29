"""Asking a vision-language model behind an OpenAI-compatible server."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ggt_hub.errors import QuestionRefusedError
from ggt_hub.vlm.asking import Question, Reply, Service, Turn, send
from ggt_hub.vlm.budget import Budget
from ggt_hub.vlm.openai_server import OpenAIServer, counted, member, name_of, read_json

_LONGEST_REPLY = 4 * 1024 * 1024  # bytes


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
        replies: Mapping[str, Any] | None = None,
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
            replies: the form of replies, as `structured.response_format` gives it; None for words.
            timeout: seconds that one try may take.
            max_retries: further tries after a failure that may pass.
            per_minute: requests that may be sent in a minute; None for any number.
        """
        self._server = OpenAIServer(base_url, api_key, timeout)
        self.model = model
        self.revision = None  # a server does not say
        self.budget = budget or Budget()
        self.max_tokens, self.temperature, self.replies = max_tokens, temperature, replies
        self.timeout, self.max_retries, self.per_minute = timeout, max_retries, per_minute
        self.endpoint = self._server.endpoint

    @property
    def parameters(self) -> dict[str, Any]:
        """What else decides the reply."""
        told = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return told | ({"response_format": self.replies} if self.replies is not None else {})

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

    def check(self) -> None:
        """See `OpenAIServer.check`."""
        self._server.check(self.model)

    def send(self, question: Question) -> Reply:
        """One try; see `Service.send`."""
        try:
            completions = self._server.client.chat.completions.with_streaming_response
            opened = completions.create(model=self.model, messages=_messages(question), **self.parameters)
            body, request_id = self._server.read(opened, _LONGEST_REPLY)
        except Exception as error:  # noqa: BLE001  the client lets errors of several libraries through
            raise self._server.failure(error, self.model) from None
        text = _text_of(body)
        refusal = None if text else _refusal_of(body)
        if text is None and refusal is None:
            shown = " ".join(body.split())[:120]
            refusal = f"{self.model} sent a reply without text: {shown or 'an empty one'}"
        content = read_json(body)
        usage = member(content, "usage")
        return Reply(
            body if text is None else text,
            refusal=refusal,
            cost=self._cost(body),
            usage=usage if isinstance(usage, dict) else {},
            request_id=name_of(request_id, member(content, "id")),
        )

    def _cost(self, body: str) -> float:
        """What the reply's own usage costs; where it states none, what its length makes likely."""
        usage = member(read_json(body), "usage")
        asked, answered = (counted(usage, name) for name in ("prompt_tokens", "completion_tokens"))
        return self.budget.price(
            4000 if asked is None else asked,
            max(self.max_tokens, len(body) // 4) if answered is None else answered,
        )


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
    choices = member(read_json(body), "choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = member(first, "message")
    content = member(message, "content")
    if isinstance(content, str):
        return content
    return "" if content is None and isinstance(message, dict) and "content" in message else None


def _refusal_of(body: str) -> str | None:
    """Why there is no text, where a server says it: in words, or by the name of its filter."""
    first = member(member(read_json(body), "choices"), 0)
    said = name_of(member(member(first, "message"), "refusal"))
    if said is None and member(first, "finish_reason") == "content_filter":
        said = "content_filter"
    return said and f"the model refuses: {said}"[:300]


def _messages(question: Question) -> Any:
    urls = ["data:image/png;base64," + base64.b64encode(data).decode() for data in question.pictures]
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [
        *([{"role": "system", "content": question.system}] if question.system else []),
        {"role": "user", "content": [*content, {"type": "text", "text": question.text}]},
        *({"role": role, "content": text} for role, text in question.later),
    ]
