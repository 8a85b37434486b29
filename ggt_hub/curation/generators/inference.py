"""Models behind Hugging Face's inference providers and endpoints, by `InferenceClient.image_to_image`.

The client gives a PIL picture, not the file that came; it is kept as PNG, which loses no pixel but all metadata.
"""

import io
from typing import Any

from huggingface_hub import InferenceClient
from PIL import UnidentifiedImageError

from ggt_hub.curation.generators.canvas import Size, canvas_of_grid, size_of
from ggt_hub.curation.generators.providers import Price
from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError, RejectedError
from ggt_hub.vlm import Budget, Question, Reply
from ggt_hub.vlm.openai_server import (
    PASSING,
    UNKNOWN,
    check_address,
    checked_key,
    masked,
    never_sent,
    public_address,
    seconds_of,
)

_GRID, _STEEPEST = 16, 3.0


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
        """Nothing can be asked for free here; the first request tells."""

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
        try:
            drawn.save(buffer := io.BytesIO(), "PNG", compress_level=1)
        except (OSError, ValueError) as error:
            return Reply(refusal=f"the picture is damaged: {error}", cost=self.price.expected)
        return Reply(pictures=(buffer.getvalue(),), cost=self.price.expected)

    def _failure(self, error: Exception) -> JudgeError:
        about = f"{self.model} could not be asked: {type(error).__name__}: {' '.join(str(error).split())}"
        about = masked(about, self._key)[:300]
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(error, UnidentifiedImageError) or status in UNKNOWN:
            return PossiblyBilledError(about)
        if status is None:
            if isinstance(error, (ValueError, TypeError, NotImplementedError)):  # before anything is sent
                return RejectedError(about, passes=False)
            return RejectedError(about, passes=True) if never_sent(error) else PossiblyBilledError(about)
        if status in (400, 413, 422):
            return QuestionRefusedError(about)
        wait = seconds_of(response.headers.get("retry-after")) if response is not None else None
        return RejectedError(about, passes=status in PASSING, wait=wait)
