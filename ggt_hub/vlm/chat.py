"""Asking a vision-language model behind an OpenAI-compatible server."""

import base64
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ggt_hub.errors import JudgeError, QuestionRefusedError

Turn = tuple[str, str]
"""A later turn of the conversation: role ("assistant" or "user") and text."""


class Chat(Protocol):
    """Something that answers a question about one picture."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def revision(self) -> str | None:
        """Its exact revision; None where that is not known."""

    def ask(self, image_png: bytes, system: str, question: str, later: Sequence[Turn] = ()) -> str:
        """The reply, decoded greedily."""


@dataclass
class Budget:
    """What a run may spend. Counting is safe from several threads.

    Attributes:
        max_calls: requests that may be made; None for any number.
        max_cost: what they may cost, in the currency of the prices; None for any amount.
        price_in: price of a million tokens asked.
        price_out: price of a million tokens answered.
    """

    max_calls: int | None = None
    max_cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    calls: int = 0
    cost: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def start_call(self) -> None:
        """Count a request that is about to be made.

        Raises:
            JudgeError: if the budget does not allow it.
        """
        with self._lock:
            if self.max_calls is not None and self.calls >= self.max_calls:
                raise JudgeError(f"the budget of {self.max_calls} calls is spent: raise it and run again")
            if self.max_cost is not None and self.cost >= self.max_cost:
                raise JudgeError(f"the budget of {self.max_cost:g} is spent: raise it and run again")
            self.calls += 1

    def pay(self, tokens_in: int, tokens_out: int) -> None:
        """Add what a reply cost."""
        with self._lock:
            self.cost += (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


class ServerChat:
    """A model behind any server that speaks OpenAI's chat protocol (vLLM, SGLang, llama.cpp, ...).

    Time-outs, dropped connections, 429 and 5xx are tried again by the client library, with growing, jittered
    pauses or those that `Retry-After` asks for. The key is never part of a message, a log or a `repr`.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        budget: Budget | None = None,
        max_tokens: int = 32,
        timeout: float = 120.0,
        max_retries: int = 5,
    ) -> None:
        """Connect to nothing yet; requests are made by `ask`.

        Args:
            model: the model's name on the server.
            base_url: such as "http://localhost:8000/v1"; None for OpenAI's own.
            api_key: None takes `OPENAI_API_KEY` from the environment; many local servers need none.
            budget: what may be spent; None for no limit.
            max_tokens: the longest reply.
            timeout: seconds that one try may take.
            max_retries: further tries after a failure that may pass.
        """
        try:
            from openai import OpenAI
        except ImportError as error:
            raise JudgeError("asking a server needs openai: pip install 'ggt-hub[curation]'") from error
        self.model = model
        self.revision = None  # a server does not say
        self.budget = budget or Budget()
        self.max_tokens = max_tokens
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._client = OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=max_retries)

    def ask(self, image_png: bytes, system: str, question: str, later: Sequence[Turn] = ()) -> str:
        """The model's reply at temperature 0; "" for a refusal.

        Args:
            image_png: the picture.
            system: the system prompt.
            question: the text after the picture.
            later: further turns, oldest first.

        Raises:
            QuestionRefusedError: if the server will not take this question; others it may.
            JudgeError: if it fails for good, or the budget is spent.
        """
        from openai import BadRequestError, OpenAIError, UnprocessableEntityError

        self.budget.start_call()
        try:
            completion = self._client.chat.completions.create(
                model=self.model,
                messages=_messages(image_png, system, question, later),
                temperature=0,
                max_tokens=self.max_tokens,
            )
        except OpenAIError as error:
            # Not chained: a server may echo the key, and the client's error holds the request.
            reason = " ".join(str(error).split())[:300].replace(self._client.api_key, "***")
            refused = isinstance(error, BadRequestError | UnprocessableEntityError)
            raise (QuestionRefusedError if refused else JudgeError)(
                f"{self.model} could not be asked: {type(error).__name__}: {reason}"
            ) from None
        if completion.usage:
            self.budget.pay(completion.usage.prompt_tokens, completion.usage.completion_tokens)
        if not completion.choices:
            raise JudgeError(f"{self.model} gave a reply without content: look at the server's log")
        return completion.choices[0].message.content or ""


def _messages(image_png: bytes, system: str, question: str, later: Sequence[Turn]) -> Any:
    url = "data:image/png;base64," + base64.b64encode(image_png).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": content},
        *({"role": role, "content": text} for role, text in later),
    ]
