"""What stands in for parts of the package in the pipeline file that works without it (`standalone.py`).

Each name here replaces the definition of that name in the package. Files are not read: that takes a dozen decoders,
and Pillow's pixels may differ from theirs.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from diffusers import ModelMixin
from PIL import Image
from PIL.ExifTags import Base

from ggt_hub.errors import ImageError
from ggt_hub.images.convert import from_array, from_open_file, from_tensor, is_tensor
from ggt_hub.images.metadata.orientation import upright
from ggt_hub.images.picture import Picture

# The networks themselves are in the folders of their components.
CompactRestorer = ModelMixin
ToldParts = ModelMixin
Detector = ModelMixin
QualityPrior = ModelMixin


@dataclass(frozen=True)
class Metadata:
    """What is kept of a picture's metadata: EXIF without its orientation, the ICC profile, XMP."""

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None


class PictureImage:
    """Gives a result what the picture carried: Pillow saves the profile, and the rest where it is asked to."""

    @staticmethod
    def of(image: Image.Image, metadata: Metadata, left_behind: tuple[str, ...]) -> Image.Image:
        """The image, with that in its `info`."""
        carried = {"exif": metadata.exif, "icc_profile": metadata.icc, "xmp": metadata.xmp}
        image.info |= {key: block for key, block in carried.items() if block}
        return image


def read_image(source: Any) -> Picture:
    """A picture from a PIL image (turned as its EXIF says), an array or a tensor.

    Raises:
        ImageError: for anything else.
    """
    most = 2**40  # who opened a picture has its pixels already
    if isinstance(source, Picture):
        return source
    if isinstance(source, Image.Image):
        picture = from_open_file(source, "<PIL image>", most)
        return replace(picture, metadata=_metadata_of(source, picture.metadata.icc))
    if isinstance(source, np.ndarray):
        return from_array(source, "<array>", most)
    if is_tensor(source):
        return from_tensor(source, "<tensor>", most)
    raise ImageError(
        f"this file takes PIL images, arrays and tensors, not {type(source).__name__}: open the file with Pillow "
        "(Image.open), or install ggt-hub, which reads files and addresses"
    )


def _metadata_of(image: Image.Image, icc: bytes | None) -> Any:
    exif, packet = Image.Exif(), image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    exif.load(image.getexif().tobytes())  # a copy: the image that was given stays as it is
    exif.pop(Base.Orientation, None)
    packet = packet.encode() if isinstance(packet, str) else packet
    return Metadata(exif.tobytes() if len(exif) else None, icc, packet or None)


def exif_of(image: Image.Image, name: str) -> Image.Exif:
    """The EXIF of an image."""
    return image.getexif()


def finished(picture: Picture, icc: bytes | None, turn: int, name: str) -> Picture:
    """The picture turned upright, with its profile."""
    alpha = None if picture.alpha is None else upright(picture.alpha, turn)
    return Picture(upright(picture.pixels, turn), alpha, Metadata(icc=icc), name)  # type: ignore[arg-type]
