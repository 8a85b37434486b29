"""What decoders raise on damaged input, the one error that users see instead, and the warnings beside it."""

import struct
import warnings
import zlib

import cv2
from PIL import Image, ImageCms

from ggt_hub.errors import ImageError


class ImageWarning(UserWarning):
    """A picture was read or written, but something of it was left behind: which picture, and what."""


class OtherPicturesWarning(ImageWarning):
    """A file holds several pages or frames, and only the first was read because nobody chose."""


# All that Pillow, OpenCV, tifffile and zlib were seen to raise when bytes of valid files were cut or changed at
# random. SyntaxError is Pillow's word for "not in this format". ImageError is a ValueError and so among them.
DECODER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    cv2.error,
    Image.DecompressionBombError,
    ImageCms.PyCMSError,
)


def damage(name: str, error: Exception) -> ImageError:
    """The error to raise for what a decoder said: an `ImageError` stays as it is."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"cannot read {name!r}: it unpacks to far more pixels than its header says.")
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return ImageError(f"cannot read {name!r}: {reason}. The file is incomplete or damaged; get a fresh copy.")


def warn(name: str, what: str) -> None:
    """Say what of a picture was left behind."""
    warnings.warn(f"{name!r}: {what}.", ImageWarning, stacklevel=3)
