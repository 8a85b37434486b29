"""Models that edit pictures by instruction, each a `Service`: sold by companies, behind servers, or run here."""

from ggt_hub.curation.generators.configured import Generator, Named, open_generator
from ggt_hub.curation.generators.providers import Price, accept_terms, check_terms, price_of, providers

__all__ = [
    "Generator",
    "Named",
    "Price",
    "accept_terms",
    "check_terms",
    "open_generator",
    "price_of",
    "providers",
]
