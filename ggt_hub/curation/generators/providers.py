"""Who sells edited pictures: prices, limits and terms, from the dated file `providers.yaml`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from huggingface_hub import get_token

from ggt_hub.errors import CurationError, did_you_mean
from ggt_hub.vlm import Ledger


@dataclass(frozen=True)
class Price:
    """What a model costs, of a million tokens, and how many of them a picture takes.

    Attributes:
        input: asked.
        text: answered in words.
        picture: answered in a picture.
        tokens: of a picture that is drawn.
        asked: of a question with one picture, about.
        batch: the share of it that is paid in a batch.
        flat: of one request, whatever it takes, instead of all these.
    """

    input: float = 0.0
    text: float = 0.0
    picture: float = 0.0
    tokens: int = 0
    asked: int = 0
    batch: float = 1.0
    flat: float = 0.0

    @property
    def expected(self) -> float:
        """Of one picture, about."""
        return self.of(self.asked, 0, self.tokens)

    def of(self, asked: int, words: int, picture: int) -> float:
        """Of so many tokens of each kind."""
        if self.flat:
            return self.flat
        return (asked * self.input + words * self.text + picture * self.picture) / 1e6


@cache
def providers() -> dict[str, Any]:
    """The file, by provider."""
    content = yaml.safe_load(
        (files("ggt_hub.curation.generators") / "providers.yaml").read_text(encoding="utf-8")
    )
    return {name: told for name, told in content.items() if isinstance(told, dict)}


def price_of(provider: str, model: str, grade: str, given: tuple[float, float, float] | None) -> Price:
    """What a model costs.

    Args:
        provider: who sells it.
        model: its name there.
        grade: the size or quality that is asked for.
        given: prices of a configuration in place of the file's: input, text, picture.

    Raises:
        CurationError: if nothing is known of the model, it is gone, or it draws no such pictures.
    """
    told = providers()[provider]
    if given is not None:
        known = told["models"].get(model, {})
        return Price(*given, _tokens(known, grade, 1120), known.get("asked", 1400), known.get("batch", 0.5))
    if model in told.get("gone", {}):
        raise CurationError(f"{model}: {told['gone'][model]}")
    if model not in told["models"]:
        names = list(told["models"])
        raise CurationError(
            f"{model} is no model of {provider} that edits pictures and whose price is known, as are "
            f"{', '.join(names)}{did_you_mean(model, names)}; give `price: [INPUT, TEXT, PICTURE]` to use it"
        )
    known = dict(told["models"][model])
    if grade not in known["tokens"]:
        raise CurationError(f"{model} draws {', '.join(known['tokens'])}, not {grade!r}")
    return Price(**{**known, "tokens": known["tokens"][grade]})


def key_of(provider: str) -> str:
    """The key of the user's account, from the environment.

    Raises:
        CurationError: if there is none.
    """
    names = providers()[provider]["keys"]
    for name in names:
        if key := os.environ.get(name, "").strip():
            return key
    if provider == "hub" and (token := get_token()):  # of `hf auth login`
        return token
    raise CurationError(f"{provider} needs a key: set {' or '.join(names)} in the environment")


def accept_terms(ledger: Ledger, provider: str) -> None:
    """Remember that the user accepts the terms of a provider.

    Raises:
        CurationError: if there is no such provider.
    """
    if provider not in providers():
        raise CurationError(
            f"--accept-terms {provider}: choose one of {', '.join(providers())}"
            f"{did_you_mean(provider, providers())}"
        )
    ledger.accept_terms(provider, providers()[provider]["terms"])


def check_terms(ledger: Ledger, provider: str) -> None:
    """Refuse a provider whose terms the user has not accepted.

    Raises:
        CurationError: if so; the message says where they stand.
    """
    told = providers()[provider]
    if not ledger.has_accepted(provider, told["terms"]):
        raise CurationError(
            f"{provider} sells under terms of its own ({told['terms']}; among them: {told['clause']}): read them, "
            f"then give --accept-terms {provider}, once"
        )


def _tokens(known: Mapping[str, Any], grade: str, default: int) -> int:
    return known.get("tokens", {}).get(grade, default)
