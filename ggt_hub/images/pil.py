"""PIL images that remember what their picture carried, and save it."""

import os
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ggt_hub.images.faults import DECODER_ERRORS, ImageWarning
from ggt_hub.images.metadata import WORDS, Metadata, Resolution, portable
from ggt_hub.images.metadata.icc import fault_of
from ggt_hub.images.metadata.tiff import as_exif, with_tags
from ggt_hub.images.picture import Picture

_METADATA, _LEFT_BEHIND = "ggt_hub.metadata", "ggt_hub.left_behind"
_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
_MODES = ("L", "LA", "RGB", "RGBA", "I;16")


class PictureImage(Image.Image):
    """A PIL image that `Picture.to_pil` makes: edited, resized, pickled, it still saves what the picture carried.

    `save` writes the pixels that the image holds now. Without options of Pillow's other than `quality` it writes as
    `write_image` does; with them Pillow writes, and is given EXIF, profile and XMP unless the caller gives others.
    """

    @classmethod
    def of(cls, image: Image.Image, metadata: Metadata, left_behind: tuple[str, ...]) -> "PictureImage":
        """`image` itself, as an image that carries this."""
        image.__class__ = cls
        image.info |= {_METADATA: metadata, _LEFT_BEHIND: left_behind}
        blocks = {"icc_profile": metadata.icc, "exif": metadata.exif and b"Exif\0\0" + metadata.exif}
        image.info |= {key: block for key, block in blocks.items() if block}
        return image  # type: ignore[return-value]

    def _new(self, im: Any) -> Image.Image:
        """What all of Pillow's operations return."""
        new = super()._new(im)
        new.__class__ = type(self)
        return new

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Write the image to a path or an open file, see the class.

        Raises:
            ImageError: If it cannot be written; where Pillow writes, what Pillow raises.
        """
        from ggt_hub.images.write import (  # they read PIL images, and so know this class
            commit_encoded,
            encoded,
        )

        is_path = isinstance(fp, (str, os.PathLike))
        name = fp if is_path else getattr(fp, "name", "")
        named = Path(name).suffix.lower() if isinstance(name, (str, os.PathLike)) else ""
        suffix = _SUFFIXES.get((format or Image.registered_extensions().get(named, "")).upper())
        if suffix is None or self.mode not in _MODES or params.keys() - {"quality"}:
            super().save(fp, format, **(self._for_pillow() | params))
            return
        made = encoded(self, Path(name).with_suffix(suffix) if named else Path(f"picture{suffix}"), **params)
        if is_path:
            commit_encoded(Path(fp), made.data)
        else:
            fp.write(made.data)

    def _for_pillow(self) -> dict[str, Any]:
        """What Pillow's `save` writes as it is given; of the rest an `ImageWarning` tells."""
        icc, metadata = self.info.get("icc_profile"), self.info.get(_METADATA, Metadata())
        channels = 1 if self.mode in ("1", "L", "LA", "I;16", "F") else 3
        fits = icc and self.mode != "CMYK" and fault_of(icc, channels) is None
        written = ("exif", "xmp", "icc")
        lost = [word for field, word in WORDS.items() if getattr(metadata, field) and field not in written]
        if lost:
            warnings.warn(
                f"saved with options of Pillow's, which leave behind: {', '.join(lost)}. write_image keeps more.",
                ImageWarning,
                stacklevel=3,
            )
        carried = {"exif": self.info.get("exif"), "xmp": metadata.xmp}
        return {key: block for key, block in carried.items() if block} | {
            "icc_profile": icc if fits else None
        }


def with_metadata_of(image: Image.Image, picture: Picture) -> Picture:
    """`picture`, read from `image`, with what the image says of itself now."""
    if _METADATA in image.info:
        metadata, left = image.info[_METADATA], list(image.info[_LEFT_BEHIND])
    else:
        metadata, left = _metadata_in(image.info, getattr(image, "text", None) or {}), []
    metadata, left_behind = portable(replace(metadata, exif=_exif_in(image)), left)
    return replace(picture, metadata=replace(metadata, icc=picture.icc), left_behind=left_behind)


def _exif_in(image: Image.Image) -> bytes | None:
    """The block as the file had it, with the tags of its first directory that somebody has changed since."""
    stored = image.info.get("exif") or b""
    stored = stored.removeprefix(b"Exif\0\0") if isinstance(stored, bytes) else b""
    try:
        now, before = image.getexif(), Image.Exif()
        before.load(stored)
        changed = {tag: value for tag, value in now.items() if value != before.get(tag)}
        if not stored or any(isinstance(value, dict) for value in changed.values()):
            return as_exif(now.tobytes()[6:])[0] if len(now) else None
        gone = before.keys() - now.keys()
        return with_tags(stored, _written(changed, stored[:8]), gone) if changed or gone else stored
    except DECODER_ERRORS:
        return stored or None  # what Pillow cannot unpack nobody can have changed


def _written(changed: dict[int, Any], header: bytes) -> bytes:
    """A TIFF structure of these tags, in the byte order of `header`."""
    directory = ImageFileDirectory_v2(header)
    for tag, value in changed.items():
        directory[tag] = value
    first = b"\x08\0\0\0" if header[:2] == b"II" else b"\0\0\0\x08"
    return header[:4] + first + directory.tobytes(8)


def _metadata_in(info: dict[Any, Any], texts: dict[str, str]) -> Metadata:
    """What Pillow has found in a file, as far as it shows it."""
    packet, comment, dpi = info.get("xmp"), info.get("comment"), info.get("dpi")
    known = ("XML:com.adobe.xmp", "Raw profile type exif")
    resources = info.get("photoshop") if isinstance(info.get("photoshop"), dict) else {}
    iptc = (resources or {}).get(0x0404)
    return Metadata(
        xmp=_bytes_of(packet),
        iptc=iptc if isinstance(iptc, bytes) else None,
        resolution=_resolution_of(dpi),
        comments=(_bytes_of(comment) or b"",) if comment else (),
        texts=tuple(_text_chunk(key, value) for key, value in texts.items() if key not in known),
    )


def _bytes_of(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else None


def _resolution_of(dpi: Any) -> Resolution | None:
    try:
        x, y = (Fraction(number).limit_denominator(10_000) for number in dpi)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return Resolution(x, y, "inch") if x > 0 and y > 0 else None


def _text_chunk(key: str, value: str) -> tuple[bytes, bytes]:
    name = key.encode("latin-1", "replace")
    return b"iTXt", name + bytes(5) + value.replace("\0", " ").encode()
