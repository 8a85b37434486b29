"""OpenAI's models that edit pictures, and any server that speaks their protocol (`POST /v1/images/edits`)."""

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ggt_hub.curation.generators.canvas import Size, canvas_of_grid, size_of
from ggt_hub.curation.generators.providers import Price
from ggt_hub.curation.generators.replies import LONGEST_REPLY, Collected, Line, lines_of, reply_with
from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError, RejectedError
from ggt_hub.vlm import Budget, Question, Reply
from ggt_hub.vlm.openai_server import OpenAIServer, count, counted, member, name_of, read_json

_ENDPOINT: Literal["/v1/images/edits"] = "/v1/images/edits"
_ENDED = ("completed", "failed", "expired", "cancelled")
_OURS = "ggt_hub"
_FREE_RETRIES = 3
_GRID = 16
_FEWEST = 655_360  # pixels that OpenAI draws
_STEEPEST = 3.0


class OpenAIEditor:
    """A model that edits pictures by instruction, behind OpenAI's protocol."""

    max_retries = 7  # longer than a minute, for limits of one
    revision = None

    def __init__(
        self,
        model: str,
        *,
        price: Price,
        budget: Budget,
        api_key: str | None = None,
        url: str | None = None,
        quality: str | None = None,
        timeout: float = 600.0,
        per_minute: float | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            model: its name on the server.
            price: of its tokens.
            budget: what may be spent.
            api_key: of the user's account; many local servers need none.
            url: of another server than OpenAI's.
            quality: `low`, `medium` or `high`; None for servers that are not OpenAI's, which are told nothing that
                only OpenAI knows.
            timeout: seconds that one try may take; a client that gives up is billed all the same.
            per_minute: requests that may be sent in a minute; None for any number.

        Raises:
            JudgeError: if the address is none, or the library is not installed.
        """
        self._server = OpenAIServer(url, api_key, timeout)
        self.model, self.price, self.budget = model, price, budget
        self.quality, self.per_minute = quality, per_minute
        self.endpoint = self._server.endpoint

    @property
    def _free(self) -> Any:
        """The client for what is not billed, and tried again by itself: a batch has a file for each picture."""
        return self._server.client.with_options(max_retries=_FREE_RETRIES)

    @property
    def parameters(self) -> dict[str, Any]:
        """What else decides the reply."""
        return {} if self.quality is None else {"quality": self.quality}

    def canvas(self, size: Size) -> Size:
        """The canvas on which a picture is shown: sides in multiples of 16, at most 3 to 1."""
        return canvas_of_grid(size, _GRID, _STEEPEST)

    def check(self) -> None:
        """See `OpenAIServer.check`."""
        self._server.check(self.model)

    def send(self, question: Question) -> Reply:
        """One try; see `Service.send`."""
        try:
            edits = self._server.client.images.with_streaming_response
            pictures = [("picture.png", data, "image/png") for data in question.pictures]
            opened = edits.edit(
                model=self.model,
                image=pictures[0] if len(pictures) == 1 else pictures,
                prompt=question.text,
                **self.asked_of(question.pictures[0]),
            )
            body, request_id = self._server.read(opened, LONGEST_REPLY)
        except Exception as error:  # noqa: BLE001  the client lets errors of several libraries through
            raise self._server.failure(error, self.model) from None
        content = read_json(body)
        if not isinstance(content, dict):
            shown = " ".join(body.split())[:120] or "an empty reply"
            raise PossiblyBilledError(f"{self.model} sent no JSON: {shown}", body[:2000])
        return self.reply_of(content, request_id)

    def submit(self, batch: str, lines: Mapping[str, Question]) -> str:
        """Send a batch, its pictures as files of their own; see `Batching.submit`."""
        try:
            written = b"".join(self._line(key, question) for key, question in lines.items())
            sent = self._free.files.create(file=(f"{batch}.jsonl", written), purpose="batch")
        except Exception as error:  # noqa: BLE001  the client lets errors of several libraries through
            raise RejectedError(str(self._server.failure(error, self.model)), passes=True) from None
        try:
            return self._server.client.batches.create(
                input_file_id=sent.id,
                endpoint=_ENDPOINT,
                completion_window="24h",
                metadata={_OURS: batch},
            ).id
        except Exception as error:  # noqa: BLE001
            failure = self._server.failure(error, self.model)
            if getattr(error, "status_code", 0) >= 500:  # it may be there all the same
                failure = PossiblyBilledError(str(failure))
            raise failure from None

    def find(self, batch: str) -> str | None:
        """See `Batching.find`."""
        try:
            for job in self._free.batches.list(limit=100):
                if (job.metadata or {}).get(_OURS) == batch:
                    return job.id
        except Exception as error:  # noqa: BLE001
            raise self._server.failure(error, self.model) from None
        return None

    def collect(self, name: str) -> Collected | None:
        """See `Batching.collect`."""
        try:
            opened = self._free.batches.with_streaming_response.retrieve(name)
            job = read_json(self._server.read(opened, LONGEST_REPLY)[0])
        except Exception as error:  # noqa: BLE001
            raise self._server.failure(error, self.model) from None
        status = member(job, "status")
        if not isinstance(status, str):
            raise JudgeError(f"{self.model} does not say what became of the batch {name}: fetch again")
        if status not in _ENDED:
            return None
        files = [one for kind in ("output", "error") if (one := name_of(member(job, f"{kind}_file_id")))]
        done = count(job, "request_counts", "completed")
        if not files and (done or status == "completed"):
            raise JudgeError(f"{self.model} has done the batch {name} and says not where it is: fetch again")
        return Collected(self._results(files), are_all=status == "completed", done=done)

    def _results(self, files: Sequence[str]) -> Iterator[Line]:
        """The lines of files, one in memory at a time."""
        contents = self._free.files.with_streaming_response
        with tempfile.TemporaryDirectory() as folder:
            for file in files:
                path = Path(folder) / "results.jsonl"
                try:
                    with contents.content(file) as response:
                        response.stream_to_file(path)
                except Exception as error:  # noqa: BLE001
                    raise self._server.failure(error, self.model) from None
                for line in lines_of(path, self._server.client.api_key):
                    yield name_of(member(line, "custom_id")), line and self._outcome(line)

    def _outcome(self, line: dict[str, Any]) -> Reply | JudgeError | None:
        """A reply, or why it was not done; None where it says neither, and so was done, perhaps."""
        response = member(line, "response")
        status, body = counted(response, "status_code"), member(response, "body")
        if (status is None or status < 300) and isinstance(body, dict):
            return self.reply_of(body, name_of(member(response, "request_id")), self.price.batch)
        if (status is None or status < 300) and not member(line, "error"):
            return None
        said = member(member(body, "error"), "message") or member(member(line, "error"), "message")
        about = f"{self.model} did not do it: {said or 'it does not say why'}"[:300]
        return QuestionRefusedError(about) if status in (400, 413, 422) else JudgeError(about)

    def _line(self, key: str, question: Question) -> bytes:
        pictures = [
            {"file_id": self._free.files.create(file=("picture.png", data), purpose="vision").id}
            for data in question.pictures
        ]
        asked = self.asked_of(question.pictures[0])
        body = {"model": self.model, "prompt": question.text, "images": pictures, **asked}
        line = {"custom_id": key, "method": "POST", "url": _ENDPOINT, "body": body}
        return json.dumps(line).encode() + b"\n"

    def asked_of(self, picture: bytes) -> dict[str, Any]:
        """The size that is asked for, and what else only OpenAI's own server knows."""
        wide, high = size_of(picture)
        if self.quality is None:
            return {"size": f"{wide}x{high}", "n": 1, "response_format": "b64_json"}
        wide, high = size_drawn((wide, high))
        return {"size": f"{wide}x{high}", "n": 1, "quality": self.quality, "output_format": "png"}

    def reply_of(self, content: dict[str, Any], request_id: str | None = None, share: float = 1.0) -> Reply:
        """What a response says.

        Args:
            content: the response, or that of a line of a batch.
            request_id: its name.
            share: of the price that is paid.
        """
        usage = member(content, "usage")
        told: dict[str, Any] = {
            "cost": share * self._cost(usage),
            "usage": usage if isinstance(usage, dict) else {},
            "request_id": name_of(request_id, member(content, "id")),
        }
        first = member(member(content, "data"), 0)
        encoded = member(first, "b64_json")
        address = member(first, "url")
        if encoded is None and isinstance(address, str) and address.startswith("data:"):
            encoded = address
        if encoded is not None:
            return reply_with(encoded, "", **told)
        why = member(member(content, "error"), "message") or _words(content)
        why = why or ("an empty reply" if address is None else "an address in its place")
        return Reply(str(content)[:2000], refusal=f"no picture in the reply: {why}"[:300], **told)

    def _cost(self, usage: Any) -> float:
        """By the tokens that the server counted; where it counted none, what is expected."""
        answered = counted(usage, "output_tokens")
        if answered is None:
            return self.price.expected
        words = min(answered, count(usage, "output_tokens_details", "text_tokens"))
        asked = counted(usage, "input_tokens")
        asked = self.price.asked if asked is None else asked
        told = min(asked, count(usage, "input_tokens_details", "text_tokens"))
        # Words that are asked and answered have one price with OpenAI, lower than that of a picture that is shown.
        return self.price.of(asked - told, words, answered - words) + told * self.price.text / 1e6


def size_drawn(size: Size) -> Size:
    """The size in which OpenAI draws a canvas: some times as large where it has too few pixels."""
    times = math.ceil(math.sqrt(_FEWEST / (size[0] * size[1])))
    return size[0] * max(1, times), size[1] * max(1, times)


def _words(content: dict[str, Any]) -> str:
    """What a server says in words where a picture should be."""
    first = member(member(content, "choices"), 0)
    text = member(member(first, "message"), "content") or member(member(member(content, "data"), 0), "text")
    return text if isinstance(text, str) else ""
