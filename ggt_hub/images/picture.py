"""`Picture`: the one form that every image has inside ggt-hub."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from ggt_hub.errors import ImageError
from ggt_hub.images.metadata import Metadata, stripped

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
Box = tuple[int, int, int, int]

_ROWS_AT_ONCE = 256  # float conversions go in bands of this many rows, so that no float copy outlives its use


@dataclass(frozen=True, eq=False)
class Picture:
    r"""An upright picture in memory, with what has to survive until it is written again.

    Args:
        pixels: HWC, `uint8` or `uint16`; one channel (grey) or three (RGB, or whatever RGB space `icc` names).
        alpha: HW of the same dtype, not premultiplied; None for an opaque picture.
        metadata: What it carries beside the pixels.
        name: What messages call the picture: its path or URL, or `<array>` and the like.
        left_behind: What of its file was not read, in words: a gain map, a film, damaged EXIF.
        margin: How many columns at either side repeat those of the other, see `images.network.wrapped`.

    Raises:
        ImageError: For pixels or alpha of any other shape or dtype.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: Metadata = Metadata()  # noqa: RUF009 - it is frozen
    name: str = "<picture>"
    left_behind: tuple[str, ...] = ()
    margin: int = 0

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape or dtype not in (np.uint8, np.uint16):
            raise ImageError(
                f"{self.name!r}: a Picture needs HWC pixels, uint8 or uint16, 1 or 3 channels; "
                f"got {dtype} {shape}. Use read_image(), which converts."
            )
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != dtype):
            raise ImageError(
                f"{self.name!r}: alpha must be {dtype} {shape[:2]} as the pixels are; "
                f"got {self.alpha.dtype} {self.alpha.shape}."
            )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, the order that PIL uses."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def is_grey(self) -> bool:
        """True when the picture has one channel."""
        return self.pixels.shape[2] == 1

    @property
    def levels(self) -> int:
        """The value that stands for 1.0: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)

    @property
    def icc(self) -> bytes | None:
        """The ICC profile of the pixels."""
        return self.metadata.icc

    @property
    def exif(self) -> bytes | None:
        """The EXIF block, a TIFF structure."""
        return self.metadata.exif

    def strip(self, what: Literal["gps", "all"]) -> "Picture":
        """This picture without what tells about people.

        Args:
            what: `gps` takes out positions on Earth, from EXIF, XMP and texts; `all` takes out everything but the
                colour description (ICC profile, CICP, gamma), without which the colours would change. What
                camera makers hide in their own notes is only gone with `all`.

        Raises:
            ImageError: For another word.
        """
        if what not in ("gps", "all"):
            raise ImageError(f"{self.name!r}: cannot strip {what!r}. Choose gps or all.")
        return replace(self, metadata=stripped(self.metadata, what))

    def rgb(self, box: Box | None = None) -> FloatArray:
        """The colours as floats, alpha left out.

        Args:
            box: (left, top, right, bottom) as in PIL, inside the picture. Only this part is converted, so a
                tile of a large picture costs what the tile costs.

        Returns:
            HWC float32 in 0..1, three channels; those of a grey picture are equal.
        """
        left, top, right, bottom = box or (0, 0, *self.size)
        part = self.pixels[top:bottom, left:right]
        floats = np.empty((*part.shape[:2], 3), np.float32)
        np.divide(part, np.float32(self.levels), out=floats)
        return floats

    def with_rgb(self, rgb: FloatArray) -> "Picture":
        """This picture with new colours: same bit depth, same metadata.

        A grey picture stays grey by the mean of the three channels. They are three estimates of one value, so
        equal weights leave the least noise; the weights of luma would favour the errors made in green.

        Args:
            rgb: HWC floats with three channels, nominally 0..1 (clipped). Another size than the picture's
                resamples alpha to it (Lanczos); at the same size alpha is kept bit for bit.

        Raises:
            ImageError: If `rgb` has another layout, or holds NaN.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise ImageError(f"{self.name!r}: with_rgb() needs HWC with 3 channels; got shape {rgb.shape}.")
        pixels = np.empty((*rgb.shape[:2], self.pixels.shape[2]), self.pixels.dtype)
        for top in range(0, len(rgb), _ROWS_AT_ONCE):
            band = rgb[top : top + _ROWS_AT_ONCE]
            if self.is_grey:
                band = band.mean(axis=2, keepdims=True, dtype=np.float32)
            pixels[top : top + _ROWS_AT_ONCE] = quantised(band, self.pixels.dtype, self.name)
        return replace(self, pixels=pixels, alpha=self._alpha_at(rgb.shape[1], rgb.shape[0]))

    def _alpha_at(self, width: int, height: int) -> np.ndarray | None:
        if self.alpha is None or self.size == (width, height):
            return self.alpha
        floats = Image.fromarray(self.alpha.astype(np.float32) / self.levels)
        resized = np.asarray(floats.resize((width, height), Image.Resampling.LANCZOS))
        return quantised(resized, self.alpha.dtype, self.name)

    def to_pil(self) -> Image.Image:
        """The picture as PIL holds it: L, LA, RGB or RGBA in 8 bits, I;16 for opaque 16-bit grey.

        PIL has no other 16-bit mode, so all other 16-bit pictures come out in 8 bits; `write_image` of the
        Picture itself keeps 16. Its `save` keeps the metadata as `write_image` does.
        """
        array = np.asarray(self)
        if array.dtype == np.uint16 and array.ndim == 3:
            array = to_eight_bits(array)
        from ggt_hub.images.pil import PictureImage  # saves through `encode_image`, and so through Picture

        return PictureImage.of(Image.fromarray(array), self.metadata, self.left_behind)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """HW for opaque grey, otherwise HWC with alpha as the last channel; uint8 or uint16."""
        if self.alpha is not None:
            array = np.dstack([self.pixels, self.alpha])
        else:
            array = self.pixels[..., 0] if self.is_grey else self.pixels
        return np.array(array, dtype=dtype, copy=copy)


def quantised(floats: np.ndarray, dtype: Any, name: str) -> np.ndarray:
    """Floats in 0..1 rounded to the nearest level of `dtype`, clipped at both ends.

    Raises:
        ImageError: If a value is NaN: rounding would turn it into an arbitrary colour.
    """
    levels = np.float32(np.iinfo(dtype).max)
    if np.isnan(floats).any():
        raise ImageError(f"{name!r}: NaN among the pixels. Look for the step that produced it.")
    return np.rint(np.clip(floats, 0.0, 1.0) * levels).astype(dtype)


def to_eight_bits(array: np.ndarray) -> np.ndarray:
    """uint16 to the nearest of 256 levels: 65535/255 = 257 exactly."""
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
