"""Google's models that draw, by google-genai; what came is read from the wire, for the library loses some of it.

Refusals come with status 200, and the reason stands beside the missing picture. Pictures that a model thinks with
come before the final one. The library's own retries and continuations are billed and not counted: both are off.
"""

import base64
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ggt_hub.curation.generators.canvas import Size, canvas_of_ratio, nearest_ratio, size_of
from ggt_hub.curation.generators.providers import Price
from ggt_hub.curation.generators.replies import Collected, Line, lines_of, reply_with
from ggt_hub.curation.generators.wire import HOOKS, Exchange, exchange
from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError, RejectedError
from ggt_hub.vlm import Budget, Question, Reply
from ggt_hub.vlm.openai_server import (
    PASSING,
    UNKNOWN,
    check_address,
    checked_key,
    count,
    counted,
    items,
    making_client,
    masked,
    member,
    name_of,
    never_sent,
    public_address,
    read_json,
    seconds_of,
)

_OF_ALL_QUESTIONS = (
    "api key",
    "api_key",
    "model",
    "modalit",
    "generation_config",
    "generationconfig",
    "unknown name",
    "not supported",
    "billing",
    "location",
)
_WITHOUT_RESULTS = ("FAILED", "CANCELLED", "EXPIRED")  # or with some
_ENDED = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", *_WITHOUT_RESULTS)
_CLOSED = ("PUP_LIMITED_DISABLED",)  # a finish reason: the account may ask no more


class GoogleEditor:
    """A model of Google's that edits pictures by instruction."""

    max_retries = 7  # longer than a minute, for limits of one
    revision = None

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        price: Price,
        budget: Budget,
        size: str = "1K",
        ratios: tuple[str, ...] = ("1:1",),
        largest: int = 7_000_000,
        url: str | None = None,
        api_version: str = "v1",
        timeout: float = 300.0,
        per_minute: float | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            model: its name at Google.
            api_key: of the user's account.
            price: of its tokens.
            budget: what may be spent.
            size: `1K`, `2K` or `4K`, as the model offers.
            ratios: of the sides of pictures that it draws.
            largest: bytes of a picture that is sent.
            url: of another server that speaks this protocol.
            api_version: `v1`, or `v1beta` with older servers.
            timeout: seconds that one try may take.
            per_minute: requests that may be sent in a minute; None for any number.

        Raises:
            JudgeError: if the address or the key is none, or the library is not installed.
        """
        try:
            from google.genai import Client, types
        except ImportError as error:
            raise JudgeError("Google's models need google-genai: pip install 'ggt-hub[curation]'") from error
        url = url or os.environ.get("GOOGLE_GEMINI_BASE_URL")  # as the library does
        if url is not None:
            check_address(url)
        self.model, self.price, self.budget = model, price, budget
        self.size, self.ratios, self.largest, self.per_minute = size, ratios, largest, per_minute
        self.endpoint = public_address(url or "https://generativelanguage.googleapis.com")
        self._key, self._timeout, self._types = checked_key(api_key), timeout, types
        # The client is kept whole: one of which only a part is kept closes itself.
        with making_client(self._key):
            self._client = Client(
                api_key=self._key,
                vertexai=False,
                http_options=types.HttpOptions(
                    base_url=url,
                    api_version=api_version,
                    timeout=round(timeout * 1000),
                    retry_options=types.HttpRetryOptions(attempts=1),
                    client_args={
                        "follow_redirects": False,  # the key would go along
                        "event_hooks": HOOKS,
                    },
                ),
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """What else decides the reply."""
        return {"size": self.size}

    def canvas(self, size: Size) -> Size:
        """The canvas on which a picture is shown."""
        return canvas_of_ratio(size, self.ratios)

    def check(self) -> None:
        """Ask, for nothing, whether the key is taken and the model is there.

        Raises:
            JudgeError: if the server says no; of one that says something else nothing is concluded.
        """
        found, error = self._exchange(lambda: self._client.models.get(model=self.model))
        if found.status is None and isinstance(error, ValueError):  # the client itself refuses the name
            raise JudgeError(f"{self.model!r} is no name of a model: {error}")
        if found.status in (401, 403) or "api key" in _message(found.body).lower():
            raise JudgeError(f"{self.endpoint} rejects the key: {self._about(found)}")
        said = member(member(read_json(found.body), "error"), "status")
        if found.status == 404 and said == "NOT_FOUND":
            raise JudgeError(f"{self.endpoint} has no model {self.model}: {self._about(found)}")

    def send(self, question: Question) -> Reply:
        """One try; see `Service.send`."""
        if (length := len(question.pictures[0])) > self.largest:
            raise QuestionRefusedError(
                f"the picture has {length} bytes, and {self.model} takes {self.largest}: crop smaller"
            )
        ratio = nearest_ratio(size_of(question.pictures[0]), self.ratios)
        found, error = self._exchange(
            lambda: self._client.models.generate_content(
                model=self.model, contents=self._contents(question), config=self._config(ratio)
            )
        )
        if not (found.is_answered and found.body):
            raise self._failure(found, error)
        content = read_json(found.body)
        if isinstance(content, list):  # as other methods of the service write it
            content = member(content, 0) if len(content) == 1 else None
        if not isinstance(content, dict):
            raise PossiblyBilledError(f"{self.model} sent no JSON: {self._about(found)}", found.body[:2000])
        return self.reply_of(content, found.headers)

    def submit(self, batch: str, lines: Mapping[str, Question]) -> str:
        """Send a batch as a file; see `Batching.submit`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{batch}.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for key, question in lines.items():
                    file.write(json.dumps({"key": key, "request": self._line(question)}) + "\n")
            about = self._types.UploadFileConfig(mime_type="application/jsonl", display_name=batch)
            sent = self._called(lambda: self._client.files.upload(file=path, config=about), transfers=True)
        config = self._types.CreateBatchJobConfig(display_name=batch)
        found, error = self._exchange(
            lambda: self._client.batches.create(model=self.model, src=sent.name, config=config)
        )
        name = member(read_json(found.body), "name") if found.is_answered else None
        if isinstance(name, str):
            return name
        if (found.status or 500) >= 500 and found.was_sent:  # it may be there all the same
            raise PossiblyBilledError(self._about(found, error))
        raise self._failure(found, error)

    def find(self, batch: str) -> str | None:
        """See `Batching.find`."""
        jobs = self._called(lambda: [*self._client.batches.list()])
        return next((job.name for job in jobs if job.display_name == batch), None)

    def collect(self, name: str) -> Collected | None:
        """See `Batching.collect`. What is done is read from the wire: the library does not know all states."""
        found, error = self._exchange(lambda: self._client.batches.get(name=name))
        content = _camel(read_json(found.body))
        if found.status != 200 or not isinstance(content, dict):
            raise self._failure(found, error)
        state = str(member(member(content, "metadata"), "state")).rpartition("STATE_")[2]
        if not content.get("done") and state not in _ENDED:
            return None
        output = content.get("response") or member(member(content, "metadata"), "output") or {}
        file = member(output, "responsesFile")
        # Numbers of 64 bits are texts in Google's JSON.
        told = member(member(member(content, "metadata"), "batchStats"), "successfulRequestCount")
        done = int(told) if str(told).isdecimal() else 0
        if isinstance(file, str):
            return Collected(self._results(file), are_all=state == "SUCCEEDED", done=done)
        if done or state not in _WITHOUT_RESULTS:
            raise JudgeError(f"{self.model} has done the batch {name} and says not where it is: fetch again")
        return Collected((), are_all=False)

    def _results(self, file: str) -> Iterator[Line]:
        """The lines of a file, one in memory at a time."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.jsonl"
            found, error = self._exchange(
                lambda: self._client.files.download(file=file, destination=path),
                transfers=True,
                is_download=True,
            )
            if error is not None:
                raise self._failure(found, error)
            for line in lines_of(path, self._key):
                yield name_of(member(line, "key")), line and self._outcome(line)

    def _outcome(self, line: Mapping[str, Any]) -> Reply | JudgeError | None:
        """A reply, or why it was not done; None where it says neither, and so was done, perhaps."""
        response = member(line, "response")
        if isinstance(response, dict):
            try:
                return self.reply_of(response, share=self.price.batch)
            except RejectedError as error:
                return error
        if not member(line, "error"):
            return None
        said = member(member(line, "error"), "message") or "it does not say why"
        code = member(member(line, "error"), "code")
        # 3 is INVALID_ARGUMENT among the codes of gRPC, in which lines of batches speak.
        kind = QuestionRefusedError if code in (3, 400) else JudgeError
        return kind(f"{self.model} did not do it: {said}"[:300])

    def _line(self, question: Question) -> dict[str, Any]:
        shown = [
            {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}}
            for data in question.pictures
        ]
        image = {
            "aspectRatio": nearest_ratio(size_of(question.pictures[0]), self.ratios),
            "imageSize": self.size,
        }
        return {
            "contents": [{"role": "user", "parts": [*shown, {"text": question.text}]}],
            "generationConfig": {"responseModalities": ["IMAGE"], "imageConfig": image},
        }

    def _called(self, call: Any, *, transfers: bool = False) -> Any:
        """What a call gives that is not billed.

        Raises:
            RejectedError: if it fails.
        """
        found, given, error = exchange(call, self._key, self._timeout, transfers=transfers)
        if error is not None:
            raise RejectedError(self._about(found, error), passes=True)
        return given

    def reply_of(
        self, content: Mapping[str, Any], headers: Mapping[str, str] = {}, share: float = 1.0
    ) -> Reply:
        """What a response says, whatever the case of its keys.

        Args:
            content: the response, or that of a line of a batch.
            headers: of the response.
            share: of the price that is paid.

        Raises:
            RejectedError: if the account is closed.
        """
        said = _camel(content)
        candidate = member(member(said, "candidates"), 0)
        reason = member(candidate, "finishReason")
        if reason is None and member(candidate, "continuationToken"):
            reason = "CONTINUATION"
        if reason in _CLOSED:
            raise RejectedError(f"{self.model}: {reason}: the account may ask no more", passes=False)
        parts = member(member(candidate, "content"), "parts")
        final = [part for part in items(parts) if isinstance(part, dict) and not part.get("thought")]
        words = " ".join(part["text"] for part in final if isinstance(part.get("text"), str))
        drawn = [part["inlineData"] for part in final if isinstance(part.get("inlineData"), dict)]
        usage = member(said, "usageMetadata")
        told: dict[str, Any] = {
            "cost": share * self._cost(usage, has_drawn=bool(drawn)),
            "usage": usage if isinstance(usage, dict) else {},
            "request_id": name_of(member(said, "responseId"), headers.get("x-request-id")),
        }
        blocked = member(member(said, "promptFeedback"), "blockReason")
        if blocked or reason not in (None, "STOP") or not drawn:
            why = blocked or (reason if reason not in (None, "STOP") else "no picture in the reply")
            more = words or name_of(member(member(said, "error"), "message")) or ""
            return Reply(words, refusal=str(why) + (f": {more[:200]}" if more else ""), **told)
        return reply_with(member(drawn[-1], "data"), words, **told)

    def _contents(self, question: Question) -> list[Any]:
        pictures = [
            self._types.Part.from_bytes(data=data, mime_type="image/png") for data in question.pictures
        ]
        return [*pictures, question.text]

    def _config(self, ratio: str) -> Any:
        return self._types.GenerateContentConfig(
            response_modalities=["IMAGE"],
            image_config=self._types.ImageConfig(aspect_ratio=ratio, image_size=self.size),
            automatic_continuation=False,
        )

    def _cost(self, usage: Any, *, has_drawn: bool) -> float:
        """By the tokens that the server counted; what it did not count is as expected."""
        asked, answered = (counted(usage, name) for name in ("promptTokenCount", "candidatesTokenCount"))
        if asked is None and answered is None:
            return self.price.expected
        kinds = {
            name_of(member(one, "modality")): count(one, "tokenCount")
            for one in items(member(usage, "candidatesTokensDetails"))
        }
        answered = sum(kinds.values()) if answered is None else answered
        pictures = kinds.get("IMAGE", 0 if kinds else answered)
        if has_drawn and not pictures:
            pictures = self.price.tokens
        words = max(0, answered - pictures) + count(usage, "thoughtsTokenCount")
        return self.price.of(self.price.asked if asked is None else asked, words, pictures)

    def _exchange(self, call: Any, **more: bool) -> tuple[Exchange, Exception | None]:
        """What a call of the client came to on the wire, and what the client says of it."""
        found, _, error = exchange(call, self._key, self._timeout, **more)
        return found, error

    def _failure(self, found: Exchange, error: Exception | None) -> JudgeError:
        status = found.status
        if status is None and error is not None and (not found.was_sent or never_sent(error)):
            passes = found.was_sent  # no connection; otherwise the library itself refuses what it is given
            return RejectedError(self._about(found, error), passes=passes)
        about = self._about(found, error)
        if status is None or status in UNKNOWN or found.is_answered:
            return PossiblyBilledError(about)
        message = _message(found.body).lower()
        if status in (400, 413, 422) and not any(word in message for word in _OF_ALL_QUESTIONS):
            return QuestionRefusedError(about)
        return RejectedError(about, passes=status in PASSING, wait=_wait(found))

    def _about(self, found: Exchange, error: Exception | None = None) -> str:
        said = f"{type(error).__name__}: {error}"
        if found.status is not None and not found.is_answered:
            said = f"status {found.status}, {_message(found.body) or error}"
        elif error is None:
            said = _message(found.body) or "an empty reply"
        return f"{self.model} could not be asked: {masked(' '.join(said.split()), self._key)[:300]}"


def _camel(value: Any) -> Any:
    """A response with keys in one case, though servers mix them."""
    if isinstance(value, list):
        return [_camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {_camel_name(name): _camel(one) for name, one in value.items()}


def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _message(body: str) -> str:
    content = read_json(body)
    message = member(member(content if isinstance(content, dict) else member(content, 0), "error"), "message")
    return " ".join((message if isinstance(message, str) else body).split())[:300]


def _wait(told: Exchange) -> float | None:
    """Seconds that the server asks for: by `RetryInfo`, `Retry-After`, or until a quota of a day is full again."""
    content = read_json(told.body)
    details = member(member(content if isinstance(content, dict) else member(content, 0), "error"), "details")
    found = [seconds_of(told.headers.get("retry-after"))]
    for detail in items(details):
        delay = member(detail, "retryDelay")
        found.append(seconds_of(delay.removesuffix("s")) if isinstance(delay, str) else None)
        for violation in items(member(detail, "violations")):
            if "perday" in str(member(violation, "quotaId")).lower():
                found.append(_until_midnight())
    return max((wait for wait in found if wait is not None), default=None)


def _until_midnight() -> float:
    """Seconds until quotas of a day begin anew: at midnight in the Pacific."""
    now = datetime.now(ZoneInfo("America/Los_Angeles"))
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(1.0, (midnight - now).total_seconds())
