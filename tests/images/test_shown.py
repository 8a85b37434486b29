"""Pictures as they are shown to models, and files of them."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ggt_hub.images.shown import is_plain_png, png, png_rgb, png_size, shown_rgb

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def saved(picture: Image.Image, **how: object) -> bytes:
    picture.save(buffer := io.BytesIO(), "PNG", **how)
    return buffer.getvalue()


@pytest.mark.parametrize("picture", [PIXELS, PIXELS[::2, ::3], Image.fromarray(PIXELS)])
def test_what_is_written_holds_the_pixels_and_nothing_else(picture: object) -> None:
    data = png(picture)
    assert np.array_equal(png_rgb(data), np.asarray(picture))
    assert np.array_equal(shown_rgb(data), np.asarray(picture))
    assert png_size(data) == np.asarray(picture).shape[1::-1]
    assert is_plain_png(data)


def test_files_that_hold_more_or_other_pixels_are_not_plain() -> None:
    rgb = Image.fromarray(PIXELS)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "somebody")
    plain = saved(rgb)
    assert is_plain_png(plain)
    others = {
        "texts": saved(rgb, pnginfo=texts),
        "a profile": saved(rgb, icc_profile=b"profile"),
        "alpha": saved(rgb.convert("RGBA")),
        "grey": saved(rgb.convert("L")),
        "a palette": saved(rgb.convert("P")),
        "16 bits": saved(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)),
        "interlacing": plain[:28] + b"\1" + plain[29:],
        "what follows": plain + b"and more",
        "no end": plain[:-12],
        "another format": b"GIF89a" + plain[6:],
        "nothing": b"",
    }
    assert [name for name, data in others.items() if is_plain_png(data)] == []
