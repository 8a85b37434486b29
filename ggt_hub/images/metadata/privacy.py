"""What people do not want to give away with a picture."""

from dataclasses import replace
from typing import Literal

from ggt_hub.images.metadata import exif, xmp
from ggt_hub.images.metadata.model import Metadata

_COLOURS = ("icc", "cicp", "gamma", "chromaticities", "intent", "lossless")


def stripped(metadata: Metadata, what: Literal["gps", "all"]) -> Metadata:
    """The metadata without positions on Earth, or without anything but what says how colours look."""
    if what == "all":
        return Metadata(**{field: getattr(metadata, field) for field in _COLOURS})
    extended = metadata.extended_xmp and _without_gps(metadata.extended_xmp)
    packet = metadata.xmp and _without_gps(metadata.xmp)
    if packet and extended != metadata.extended_xmp:
        packet = xmp.with_extension(packet, extended)
    return replace(
        metadata,
        exif=metadata.exif and exif.without_gps(metadata.exif),
        xmp=packet,
        extended_xmp=extended,
        texts=tuple(
            (kind, data) for kind, data in metadata.texts if not xmp.PLACES.search(data.split(b"\0")[0])
        ),
    )


def _without_gps(packet: bytes) -> bytes | None:
    """A packet that cannot be read may say where it was taken, and goes."""
    try:
        return xmp.without_gps(packet)
    except ValueError:
        return None
