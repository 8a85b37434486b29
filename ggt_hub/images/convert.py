"""From what other libraries hold in memory (PIL, NumPy, torch) to `Picture`."""

import io
import sys
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from ggt_hub.errors import ImageError
from ggt_hub.images import ifd
from ggt_hub.images.faults import DECODER_ERRORS, ImageWarning, OtherPicturesWarning, damage, warn
from ggt_hub.images.metadata import Metadata, orientation_of, upright
from ggt_hub.images.metadata.icc import fault_of
from ggt_hub.images.picture import Picture, quantised
from ggt_hub.images.request import Request

_OVERSHOOT = 0.5  # floats this far outside 0..1 are ringing of a filter or network; further is another range


def check_size(width: int, height: int, max_pixels: int, name: str) -> None:
    """Refuse what is empty or larger than `max_pixels`, before a single pixel is decoded.

    Raises:
        ImageError: With the size that was found and the limit.
    """
    if width < 1 or height < 1:
        raise ImageError(f"{name!r}: the picture is {width}x{height}, there is nothing in it.")
    if width * height > max_pixels:
        raise ImageError(
            f"{name!r}: {width}x{height} is {width * height / 1e6:,.1f} megapixels, the limit is "
            f"{max_pixels / 1e6:,.1f}. If you trust the file, raise max_pixels."
        )


def is_tensor(source: Any) -> bool:
    """Whether this is a torch tensor, found out without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def from_tensor(tensor: Any, name: str, max_pixels: int, depth: Any = np.uint16) -> Picture:
    """A tensor HW, CHW or 1CHW with 1 to 4 channels, uint8 or floats in 0..1, on any device."""
    shape = tuple(tensor.shape)
    if tensor.ndim == 4 and shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim not in (2, 3):
        raise ImageError(f"{name!r}: a tensor must be HW, CHW or 1CHW; got shape {shape}. Pass one image.")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy has no bfloat16
    array = tensor.numpy()
    return from_array(array if array.ndim == 2 else np.moveaxis(array, 0, -1), name, max_pixels, depth)


def from_array(array: np.ndarray, name: str, max_pixels: int, depth: Any = np.uint16) -> Picture:
    """An array HW or HWC with 1 to 4 channels (grey, grey+alpha, RGB, RGBA).

    Args:
        array: uint8, uint16, bool, or floats in 0..1; a slight overshoot is clipped.
        name: What messages call it.
        max_pixels: The largest width x height.
        depth: What floats become: uint16 by default, so that no precision of weight is lost.

    Raises:
        ImageError: For any other layout, dtype or range.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        raise ImageError(
            f"{name!r}: an array must be HW, or HWC with 1 to 4 channels; got shape {array.shape}."
        )
    check_size(array.shape[1], array.shape[0], max_pixels, name)
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        array = _from_floats(array, name, depth)
    elif array.dtype == np.dtype(">u2"):
        array = array.astype(np.uint16)
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{name!r}: pixels of type {array.dtype} have no agreed range. Convert to uint8, uint16 or 0..1 floats."
        )
    array = array[..., None] if array.ndim == 2 else array
    has_alpha = array.shape[2] in (2, 4)
    pixels, alpha = (array[..., :-1], array[..., -1]) if has_alpha else (array, None)
    return Picture(
        np.ascontiguousarray(pixels), None if alpha is None else np.ascontiguousarray(alpha), name=name
    )


def _from_floats(array: np.ndarray, name: str, depth: Any) -> np.ndarray:
    low, high = float(array.min()), float(array.max())
    if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):  # also true for NaN
        raise ImageError(
            f"{name!r}: floats must lie in 0..1, these go from {low:g} to {high:g}. Rescale them."
        )
    out = np.empty(array.shape, depth)
    for top in range(0, len(array), 256):  # in bands: float copies of a whole picture are large
        out[top : top + 256] = quantised(array[top : top + 256].astype(np.float32), depth, name)
    return out


def from_pil(image: Image.Image, name: str, max_pixels: int) -> Picture:
    """A PIL image that somebody made or opened; of several frames it is the one at hand, with a word."""
    picture = from_open_file(image, name, max_pixels)
    if _is_animated(image):
        warn(name, "it holds several pictures; only the one at hand is used")
    return picture


def _is_animated(image: Image.Image) -> bool:
    if image.format == "MPO":  # a photograph, and a gain map or preview of the same
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except DECODER_ERRORS:  # a damaged second picture is no reason to lose the first
        return True


def from_open_file(image: Image.Image, name: str, max_pixels: int, orientation: int | None = None) -> Picture:
    """A PIL image of any mode, turned by `orientation`, or by what its EXIF says where that is None.

    CMYK goes to sRGB through the embedded profile (perceptual intent), or by Pillow's plain formula where there
    is none; Lab, YCbCr and HSV become sRGB too; a palette becomes RGB, or grey if all its colours are.

    Raises:
        ImageError: If the data behind the image is damaged, or the mode is unknown.
    """
    check_size(*image.size, max_pixels, name)
    try:
        image.load()  # before orientation is asked for: Pillow turns TIFF files itself while loading
        converted, icc = _in_plain_mode(image, name)
        array = _with_colour_key(np.asarray(converted), converted)
    except DECODER_ERRORS as error:
        raise damage(name, error) from error
    turn = orientation_of(exif_of(image, name)) if orientation is None else orientation
    return finished(from_array(array, name, max_pixels), icc, turn, name)


def warn_of_others(request: Request, count: int, kind: str) -> None:
    """Say that a file holds more pages or frames than the first, if nobody chose one."""
    if count > 1 and request.page is None:
        warnings.warn(
            f"{request.name!r} holds {count} {kind}s; only the first is used: choose with page=1..{count}.",
            OtherPicturesWarning,
            stacklevel=3,
        )


def in_sixteen_bits(array: np.ndarray, bits: int) -> np.ndarray:
    """Whole numbers of so many bits, 0 to 2**bits - 1, at full scale: uint8 up to 8 bits, uint16 up to 16."""
    if bits in (8, 16) or bits > 16 or array.dtype == bool:
        return array
    depth, top, highest = (np.uint8, 255, 2**bits - 1) if bits < 8 else (np.uint16, 65535, 2**bits - 1)
    table = (np.arange(2**bits, dtype=np.uint32) * top + highest // 2) // highest
    return table.astype(depth)[array]


def finished(picture: Picture, icc: bytes | None, turn: int, name: str) -> Picture:
    """The picture turned upright, with its profile; what else it carries, `decode` adds."""
    fault = fault_of(icc, picture.pixels.shape[2]) if icc else None
    if fault:
        warnings.warn(f"{name!r}: its ICC profile {fault}; it was left behind.", ImageWarning, stacklevel=2)
    return Picture(
        upright(picture.pixels, turn),
        None if picture.alpha is None else upright(picture.alpha, turn),
        Metadata(icc=None if fault else icc or None),
        name,
        left_behind=(f"ICC profile, which {fault}",) if fault else (),
    )


def exif_of(image: Image.Image, name: str) -> Image.Exif:
    """The EXIF of an image; an empty one where it cannot even be opened."""
    try:
        block = image.info.get("exif") or bytes.fromhex("".join(_hexadecimal(image).split("\n")[3:]))
        if ifd.repeats_itself(block.removeprefix(b"Exif\0\0")):
            warn(name, f"its EXIF {ifd.REPEATS}")
            return Image.Exif()
        return image.getexif()
    except DECODER_ERRORS:
        return Image.Exif()


def _hexadecimal(image: Image.Image) -> str:
    """EXIF as ImageMagick once put it into PNG: text."""
    return str(image.info.get("Raw profile type exif", ""))


def _in_plain_mode(image: Image.Image, name: str) -> tuple[Image.Image, bytes | None]:
    """The image in a mode that NumPy can hold as it is, and the profile that describes it then."""
    icc = image.info.get("icc_profile")
    mode = image.mode
    if mode in ("1", "L", "LA", "RGB", "RGBA", "F") or mode.startswith("I;16"):
        return image, icc
    if mode == "I":
        return _sixteen_bits(image, name), icc
    if mode in ("P", "PA"):
        return _without_palette(image), icc
    if mode == "CMYK":
        return _cmyk_to_srgb(image, icc, name), None
    if mode == "LAB":
        return _through_profile(image, ImageCms.createProfile("LAB")), None
    if mode in ("RGBX", "YCbCr", "HSV"):
        return image.convert("RGB"), None if mode == "HSV" else icc
    if mode in ("RGBa", "La"):
        return image.convert(mode.upper()), icc
    raise ImageError(f"{name!r}: pictures of mode {mode} are not supported. Convert it to RGB first.")


def _sixteen_bits(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            f"{name!r}: 32-bit values from {values.min()} to {values.max()} have no agreed range. "
            "Rescale them to 16 bits."
        )
    converted = Image.fromarray(values.astype(np.uint16))
    converted.info = image.info
    return converted


def _without_palette(image: Image.Image) -> Image.Image:
    has_alpha = image.has_transparency_data
    colours = image.convert("RGBA" if has_alpha else "RGB")
    channels = np.asarray(colours)
    if (channels[..., :1] == channels[..., 1:3]).all():
        # Not colours.convert("L"): luma may round a grey by one level.
        return Image.fromarray(channels[..., [0, 3]] if has_alpha else channels[..., 0])
    return colours


def _cmyk_to_srgb(image: Image.Image, icc: bytes | None, name: str) -> Image.Image:
    if icc:
        try:
            return _through_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(icc)))
        except DECODER_ERRORS:
            warnings.warn(
                f"{name!r}: its CMYK profile cannot be used; colours are approximate.",
                ImageWarning,
                stacklevel=2,
            )
    return image.convert("RGB")


def _through_profile(image: Image.Image, profile: Any) -> Image.Image:
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None  # noqa: S101 - None only comes with inPlace
    return converted


def _with_colour_key(array: np.ndarray, image: Image.Image) -> np.ndarray:
    """PNG's tRNS for grey and RGB names one colour as transparent: make that an alpha channel."""
    key = image.info.get("transparency")
    if key is None or image.mode in ("LA", "RGBA"):
        return array
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
        key = 255 if key else 0
    return with_colour_key(array, key)


def with_colour_key(array: np.ndarray, key: int | tuple[int, ...]) -> np.ndarray:
    """An HW or HWC array with an alpha channel appended: zero where a pixel equals `key`, opaque elsewhere."""
    colours = array[..., None] if array.ndim == 2 else array
    opaque = np.iinfo(array.dtype).max
    alpha = np.where((colours == np.asarray(key)).all(axis=2), 0, opaque).astype(array.dtype)
    return np.dstack([colours, alpha])
