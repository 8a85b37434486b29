"""Models that edit pictures by instruction, each a `Service`: sold by companies, behind servers, or run here."""

from ggt_hub.curation.generators.providers import Price, accept_terms, check_terms, price_of, providers

__all__ = ["Price", "accept_terms", "check_terms", "price_of", "providers"]
