"""What travels beside the pixels, as bytes: one file per container, one per kind of block."""

from ggt_hub.images.metadata.extract import extract, portable
from ggt_hub.images.metadata.model import WORDS, Carried, Metadata, Resolution
from ggt_hub.images.metadata.orientation import orientation_of, upright
from ggt_hub.images.metadata.privacy import stripped

__all__ = [
    "WORDS",
    "Carried",
    "Metadata",
    "Resolution",
    "extract",
    "orientation_of",
    "portable",
    "stripped",
    "upright",
]
