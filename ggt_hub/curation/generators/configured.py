"""What configurations say of generators, and the generators that they become."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from annotated_types import Ge, Gt

from ggt_hub.curation.generators.canvas import Size
from ggt_hub.curation.generators.providers import Price, key_of, price_of, providers
from ggt_hub.errors import CurationError
from ggt_hub.vlm import Budget, Service

Provider = Literal["google", "openai", "server", "hub", "local"]
BATCHING: tuple[Provider, ...] = ("google", "openai")
"""Those that may be asked in batches."""

_OWN: dict[Provider, tuple[str, ...]] = {
    "google": ("size",),
    "openai": ("quality",),
    "server": (),
    "hub": ("via",),
    "local": ("weights", "lora", "options"),
}
_Money = Annotated[float, Ge(0)]


class Generator(Service, Protocol):
    """A service that edits pictures: the question's text is the instruction, its first picture what is edited."""

    def canvas(self, size: Size) -> Size:
        """The canvas on which a picture of a size is to be shown: its own size where it draws that."""


@dataclass(frozen=True)
class Named:
    """A generator in a configuration.

    Attributes:
        provider: who runs it: `google`, `openai`, `server` (any that speaks OpenAI's protocol), `hub` (inference
            providers and endpoints of Hugging Face), `local` (a restorer that takes prompts, on this machine).
        model: its name there; for `local` a folder or an id on the Hub (ID@REVISION).
        url: of another server that speaks the provider's protocol.
        size: of what is drawn, for `google`: 1K, 2K, 4K.
        quality: for `openai`.
        via: for `hub`, whose servers run it.
        weights: for `local`, a file of a denoiser in place of RealRestorer's: that of Step1X-Edit.
        lora: for `local`, LoRA weights: a folder, a file or an id on the Hub.
        options: for `local`, of the restorer's call, such as `num_inference_steps`.
        price: of a million tokens (asked, answered in words, answered in a picture), in place of the known ones.
        per_picture: price of a request, where a server does not tell tokens.
        per_minute: requests that may be sent.
        workers: questions asked at the same time.
    """

    provider: Provider
    model: str
    url: str | None = None
    size: str = "1K"
    quality: Literal["low", "medium", "high"] = "medium"
    via: str | None = None
    weights: str | None = None
    lora: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    price: tuple[_Money, _Money, _Money] | None = None
    per_picture: _Money = 0.0
    per_minute: Annotated[float, Gt(0)] | None = None
    workers: Annotated[int, Ge(1)] = 8

    @property
    def is_sold(self) -> bool:
        """Whether a company sells it under terms of its own."""
        return self.provider in providers()

    def told(self) -> dict[str, Any]:
        """What decides what it draws; where it runs, at what price and pace, does not."""
        told: dict[str, Any] = {"provider": self.provider, "model": self.model}
        return told | {name: getattr(self, name) for name in _OWN[self.provider]}

    def priced(self) -> Price:
        """What it costs.

        Raises:
            CurationError: if nothing is known of the model, it is gone, or it draws no such pictures.
        """
        if self.per_picture:
            return Price(flat=self.per_picture, batch=0.5)
        if self.provider in ("google", "openai"):
            grade = self.size if self.provider == "google" else self.quality
            return price_of(self.provider, self.model, grade, self.price)
        return Price(*(self.price or (0.0, 0.0, 0.0)), tokens=1120, asked=1400)


def open_generator(named: Named, budget: Budget, price: Price | None = None) -> Generator:
    """The generator; nobody is asked yet.

    Args:
        named: what the configuration says of it.
        budget: what may be spent; it learns what a picture costs.
        price: in place of what is known.

    Raises:
        CurationError: if there is no key, or nothing is known of the model.
        JudgeError: if an address is none, or a library is not installed.
    """
    price = price or named.priced()
    budget.expected = price.expected
    common: dict[str, Any] = {
        "price": price,
        "budget": budget,
        "url": named.url,
        "per_minute": named.per_minute,
    }
    if named.provider == "google":
        from ggt_hub.curation.generators.google import GoogleEditor

        told = providers()["google"]
        return GoogleEditor(
            named.model,
            api_key=key_of("google"),
            size=named.size,
            ratios=tuple(told["ratios"]),
            largest=told["bytes"],
            **common,
        )
    if named.provider in ("openai", "server"):
        from ggt_hub.curation.generators.openai_images import OpenAIEditor

        if named.provider == "openai":
            return OpenAIEditor(named.model, api_key=key_of("openai"), quality=named.quality, **common)
        if named.url is None:
            raise CurationError(f"{named.model}: a generator behind a server needs its `url`")
        return OpenAIEditor(named.model, **common)
    if named.provider == "hub":
        from ggt_hub.curation.generators.inference import InferenceEditor

        return InferenceEditor(named.model, api_key=key_of("hub"), via=named.via, **common)
    from ggt_hub.curation.generators.local import LocalEditor

    return LocalEditor(named.model, weights=named.weights, lora=named.lora, options=named.options)
