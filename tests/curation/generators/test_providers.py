"""The dated file of prices, terms that are remembered, and keys."""

import datetime

import pytest
import yaml

from ggt_hub.curation.generators import Named, accept_terms, check_terms, price_of, providers
from ggt_hub.curation.generators.providers import key_of
from ggt_hub.errors import CurationError
from ggt_hub.vlm import Ledger


def test_prices_are_those_of_the_facts() -> None:
    # a picture of 1K by 2.1 is 0.0336 dollars, by 3-pro 0.134, by gpt-image-2 about 0.06 at medium quality
    drawn = {
        model: price.of(0, 0, price.tokens)
        for model, price in {
            "2.1": price_of("google", "gemini-nano-banana-2.1", "1K", None),
            "pro": price_of("google", "gemini-3-pro-image", "1K", None),
            "gpt": price_of("openai", "gpt-image-2", "medium", None),
        }.items()
    }
    assert drawn == {"2.1": pytest.approx(0.0336), "pro": pytest.approx(0.1344), "gpt": pytest.approx(0.06)}


def test_the_file_has_a_date_and_every_model_a_whole_price() -> None:
    from importlib.resources import files

    content = yaml.safe_load((files("ggt_hub.curation.generators") / "providers.yaml").read_text())
    assert isinstance(content["date"], datetime.date)
    assert set(providers()) == set(content) - {"date"}
    for provider, told in providers().items():
        assert told["terms"].startswith("https://")
        for model, known in told["models"].items():
            for grade in known["tokens"]:
                assert price_of(provider, model, grade, None).expected > 0.01


def test_a_price_of_ones_own_opens_unknown_models_and_a_flat_one_counts_no_tokens() -> None:
    own = Named(provider="google", model="gemini-next", price=(1.0, 2.0, 100.0))
    assert own.priced().of(10, 10, 10) == pytest.approx((10 + 20 + 1000) / 1e6)
    assert own.priced().expected == pytest.approx((1400 * 1 + 1120 * 100) / 1e6)
    flat = Named(provider="hub", model="x/y", per_picture=0.05)
    assert (flat.priced().expected, flat.priced().of(1, 2, 3)) == (0.05, 0.05)


def test_terms_are_accepted_once_for_each_provider_and_anew_where_they_move(tmp_path, monkeypatch) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    accept_terms(ledger, "google")
    check_terms(Ledger(ledger.path), "google")
    with pytest.raises(CurationError, match=r"openai sells under terms .*give --accept-terms openai, once"):
        check_terms(ledger, "openai")
    monkeypatch.setitem(providers()["google"], "terms", "https://elsewhere")
    with pytest.raises(CurationError, match="https://elsewhere"):
        check_terms(ledger, "google")


def test_a_key_is_of_the_environment_and_an_empty_one_is_none(monkeypatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, " ")
    with pytest.raises(CurationError, match="set GOOGLE_API_KEY or GEMINI_API_KEY"):
        key_of("google")
    monkeypatch.setenv("GEMINI_API_KEY", "two")
    assert key_of("google") == "two"
    monkeypatch.setenv("GOOGLE_API_KEY", "one")
    assert key_of("google") == "one"
