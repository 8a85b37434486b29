"""Models behind Hugging Face's inference providers and endpoints, by `InferenceClient.image_to_image`.

The client gives a PIL picture, not the file that came; it is kept as PNG, which loses no pixel but all metadata.
"""

import io
from typing import Any

from huggingface_hub import HfApi, InferenceClient
from PIL import UnidentifiedImageError

from ggt_hub.curation.generators.canvas import Size, canvas_of_grid, size_of
from ggt_hub.curation.generators.providers import Price
from ggt_hub.curation.generators.replies import FORMATS
from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError, RejectedError
from ggt_hub.vlm import Budget, Question, Reply
from ggt_hub.vlm.openai_server import (
    PASSING,
    UNKNOWN,
    check_address,
    checked_key,
    counted,
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
        self._key, self._via = checked_key(api_key), via
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
        """Ask the Hub, for nothing, whether the token is taken and the model is there; an endpoint has no question.

        Raises:
            JudgeError: if the Hub says no; of one that says something else nothing is concluded.
        """
        if not self._is_on_the_hub:
            return
        hub = HfApi(token=self._key)
        for ask in (hub.whoami, lambda: hub.model_info(self.model)):
            try:
                ask()
            except Exception as error:  # noqa: BLE001  the client lets errors of several libraries through
                status = getattr(_response_to(error), "status_code", None)
                if status == 404:
                    raise JudgeError(f"{hub.endpoint} has no model {self.model}") from None
                if status in (401, 403):
                    raise JudgeError(f"{hub.endpoint} rejects the token: set HF_TOKEN anew") from None

    def send(self, question: Question) -> Reply:
        """One try; see `Service.send`."""
        width, height = size_of(question.pictures[0])
        try:
            drawn = self._client.image_to_image(
                question.pictures[0],
                prompt=question.text,
                target_size={"width": width, "height": height},  # type: ignore[arg-type]
            )
        except Exception as error:  # noqa: BLE001  the client lets errors of several libraries through
            raise self._failure(error) from None
        if drawn.format not in (*FORMATS, "MPO"):  # as Pillow calls some JPEG
            return Reply(refusal=f"a file of the format {drawn.format}", cost=self.price.expected)
        try:
            shown = drawn.convert("RGB") if drawn.mode in _NOT_IN_PNG else drawn
            shown.save(buffer := io.BytesIO(), "PNG", compress_level=1)
        except Exception as error:  # noqa: BLE001  files of strangers break decoders in every way
            return Reply(refusal=f"the picture is damaged: {error}"[:300], cost=self.price.expected)
        return Reply(pictures=(buffer.getvalue(),), cost=self.price.expected)

    def _failure(self, error: Exception) -> JudgeError:
        about = f"{self.model} could not be asked: {type(error).__name__}: {' '.join(str(error).split())}"
        about = masked(about, self._key)[:300]
        response = _response_to(error)
        status = getattr(response, "status_code", None)
        if isinstance(error, UnidentifiedImageError) or status in UNKNOWN:
            return PossiblyBilledError(about)
        if status is None:
            if isinstance(error, (ValueError, TypeError, NotImplementedError)):  # before anything is sent
                return RejectedError(about, passes=False)
            return RejectedError(about, passes=True) if never_sent(error) else PossiblyBilledError(about)
        if status in (400, 413, 422) and not _is_of_all(response):
            return QuestionRefusedError(about)
        return RejectedError(about, passes=status in PASSING, wait=_wait(response))


def _response_to(error: BaseException | None) -> Any:
    """What the server has answered; the client fails itself at some answers, and then it is what that came of."""
    while error is not None:
        if (response := getattr(error, "response", None)) is not None:
            return response
        error = error.__cause__ or error.__context__
    return None


def _is_of_all(response: Any) -> bool:
    """Whether a 400 is about the model or the account, and not about this question alone."""
    return any(word in response.text.lower() for word in _OF_ALL_QUESTIONS)


def _wait(response: Any) -> float | None:
    """Seconds that the server asks for: by `Retry-After`, or until a model is loaded."""
    seconds = counted(read_json(response.text), "estimated_time")
    if seconds is not None:
        return min(float(seconds), _LONGEST_LOADING)
    return seconds_of(response.headers.get("retry-after"))
