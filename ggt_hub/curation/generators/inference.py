"""Models behind Hugging Face's inference providers and endpoints, by `InferenceClient.image_to_image`.

The client gives a PIL picture, not the file that came, which is read from the wire. Where a provider wraps it in
something else, the picture is kept as PNG, which loses no pixel but all metadata. The client follows redirects with
the photograph, and waits for ever for what it has asked some providers for: both are forbidden on the wire.
"""

import io
from typing import Any

from huggingface_hub import HfApi, InferenceClient, get_session
from PIL import Image, ImageOps

from ggt_hub.curation.generators.canvas import Size, canvas_of_grid, size_of
from ggt_hub.curation.generators.providers import Price
from ggt_hub.curation.generators.replies import FORMATS, fault_of
from ggt_hub.curation.generators.wire import Exchange, exchange, watch
from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError, RejectedError
from ggt_hub.images.shown import png
from ggt_hub.vlm import Budget, Question, Reply
from ggt_hub.vlm.openai_server import (
    PASSING,
    UNKNOWN,
    check_address,
    checked_key,
    counted,
    making_client,
    masked,
    never_sent,
    public_address,
    read_json,
    seconds_of,
)

_GRID, _STEEPEST = 16, 3.0
_NOT_IN_PNG = ("CMYK", "YCbCr")
_LONGEST_LOADING = 120.0  # seconds; a model that is loaded says how long that takes, about
_OF_ALL_QUESTIONS = ("is not supported", "not supported by", "credits", "token", "billing")


class InferenceEditor:
    """A model that edits pictures by instruction, behind Hugging Face's client."""

    max_retries = 7  # longer than a minute, for limits of one
    revision = None

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        price: Price,
        budget: Budget,
        url: str | None = None,
        via: str | None = None,
        timeout: float = 300.0,
        per_minute: float | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            model: its id on the Hub.
            api_key: the user's token.
            price: of a request; nothing is told of its tokens.
            budget: what may be spent.
            url: of an inference endpoint.
            via: whose servers run it (`fal-ai`, `replicate`, ...); None lets Hugging Face choose.
            timeout: seconds that one try may take.
            per_minute: requests that may be sent in a minute; None for any number.

        Raises:
            JudgeError: if the address or the key is none.
        """
        if url is not None:
            check_address(url)
        self.model, self.price, self.budget, self.per_minute = model, price, budget, per_minute
        self.endpoint = public_address(url or "https://router.huggingface.co")
        self._is_on_the_hub = url is None
        self._key, self._via, self._timeout = checked_key(api_key), via, timeout
        self._client = InferenceClient(
            model=url or model,
            provider=via,  # type: ignore[arg-type]  # the client itself refuses an unknown one
            token=self._key,
            timeout=timeout,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """What else decides the reply."""
        return {} if self._via is None else {"via": self._via}

    def canvas(self, size: Size) -> Size:
        """The canvas on which a picture is shown: most of these models work in multiples of 16."""
        return canvas_of_grid(size, _GRID, _STEEPEST)

    def check(self) -> None:
        """Ask the Hub, for nothing, whether the token is taken and the model is there, and of whom it can be had.

        Raises:
            JudgeError: if the Hub says no, or the client; of one that says something else nothing is concluded.
        """
        with making_client(self._key):
            watch(get_session())
        if self._is_on_the_hub:
            self._check_the_hub()
        shown = png(Image.new("RGB", (_GRID, _GRID)))
        found, _, error = self._ask(Question("", pictures=(shown,)), is_rehearsal=True)
        said_no = found.status is None or found.is_answered  # the client, and not somebody who was asked
        if said_no and isinstance(error, (ValueError, TypeError, NotImplementedError)):
            raise JudgeError(
                masked(f"{self.model} cannot be asked: {' '.join(str(error).split())}", self._key)
            )

    def _check_the_hub(self) -> None:
        hub = HfApi(token=self._key)
        for ask in (hub.whoami, lambda: hub.model_info(self.model)):
            found, _, error = exchange(ask, self._key, self._timeout)
            if error is not None and found.status == 404:
                raise JudgeError(f"{hub.endpoint} has no model {self.model}")
            if error is not None and found.status in (401, 403):
                raise JudgeError(f"{hub.endpoint} rejects the token: set HF_TOKEN anew")

    def send(self, question: Question) -> Reply:
        """One try; see `Service.send`."""
        watch(get_session())
        found, drawn, error = self._ask(question)
        if error is not None:
            raise self._failure(found, error) from None
        if drawn.format not in (*FORMATS, "MPO"):  # as Pillow calls some JPEG
            return Reply(refusal=f"a file of the format {drawn.format}", cost=self.price.expected)
        if fault_of(found.content) is None:
            return Reply(pictures=(found.content,), cost=self.price.expected)
        return self._wrapped(drawn)

    def _ask(
        self, question: Question, *, is_rehearsal: bool = False
    ) -> tuple[Exchange, Any, Exception | None]:
        width, height = size_of(question.pictures[0])
        return exchange(
            lambda: self._client.image_to_image(
                question.pictures[0],
                prompt=question.text,
                target_size={"width": width, "height": height},  # type: ignore[arg-type]
            ),
            self._key,
            self._timeout,
            is_rehearsal=is_rehearsal,
        )

    def _wrapped(self, drawn: Image.Image) -> Reply:
        """A picture whose file was in something else."""
        try:
            turned = ImageOps.exif_transpose(drawn)
            shown = turned.convert("RGB") if turned.mode in _NOT_IN_PNG else turned
            shown.save(buffer := io.BytesIO(), "PNG", compress_level=1)
        except Exception as error:  # noqa: BLE001  files of strangers break decoders in every way
            return Reply(refusal=f"the picture is damaged: {error}"[:300], cost=self.price.expected)
        return Reply(pictures=(buffer.getvalue(),), cost=self.price.expected)

    def _failure(self, found: Exchange, error: Exception) -> JudgeError:
        about = f"{self.model} could not be asked: {type(error).__name__}: {' '.join(str(error).split())}"
        about = masked(about, self._key)[:300]
        status = found.status
        if found.was_taken or (found.was_sent and status in UNKNOWN):
            return PossiblyBilledError(about)
        if status is None and found.was_sent and not never_sent(error):
            return PossiblyBilledError(about)
        if status is None:  # no connection; otherwise the client itself refuses what it is given
            return RejectedError(about, passes=never_sent(error))
        if status in (400, 413, 422) and found.was_sent and not _is_of_all(found):
            return QuestionRefusedError(about)
        return RejectedError(about, passes=status in PASSING, wait=_wait(found))


def _is_of_all(found: Exchange) -> bool:
    """Whether a 400 is about the model or the account, and not about this question alone."""
    return any(word in found.body.lower() for word in _OF_ALL_QUESTIONS)


def _wait(found: Exchange) -> float | None:
    """Seconds that the server asks for: by `Retry-After`, or until a model is loaded."""
    seconds = counted(read_json(found.body), "estimated_time")
    if seconds is not None:
        return min(float(seconds), _LONGEST_LOADING)
    return seconds_of(found.headers.get("retry-after"))
