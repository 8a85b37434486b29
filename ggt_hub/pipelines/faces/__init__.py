"""Faces in photographs: found, brought upright to one size, and put back where they were."""

from ggt_hub.pipelines.faces.alignment import Alignment, align, colours_of, cut_out, paste
from ggt_hub.pipelines.faces.finding import (
    LONGEST,
    FaceFinder,
    YuNet,
    find_faces,
    load_detector,
    shipped_detector,
)

__all__ = [
    "LONGEST",
    "Alignment",
    "FaceFinder",
    "YuNet",
    "align",
    "colours_of",
    "cut_out",
    "find_faces",
    "load_detector",
    "paste",
    "shipped_detector",
]
