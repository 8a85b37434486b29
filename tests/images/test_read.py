"""What comes out of `read_image` for files as the world makes them."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps
from PIL.ExifTags import IFD

from ggt_hub.errors import ImageError
from ggt_hub.images import ImageWarning, OtherPicturesWarning, Picture, read_image
from tests.images import odd_files as odd
from tests.images.odd_files import ALPHA, ALPHA16, GREY, GREY16, PHOTO, RGB, RGB16, encode, png_of


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def tiff_pages(*pages):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for array, options in pages:
            file.write(array, **({"photometric": "rgb"} | options))
    return buffer.getvalue()


def rgba(rgb, alpha):
    return np.dstack([rgb, alpha])


def by_pillow(data, mode=None):
    image = Image.open(io.BytesIO(data))
    array = np.asarray(image.convert(mode) if mode else image)
    return array[..., None] if array.ndim == 2 else array


def palette_png(transparent=None):
    image = Image.fromarray((GREY[..., 0] % 4).astype(np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 200, 210, 220])
    options = {} if transparent is None else {"transparency": transparent}
    return encode(image, "PNG", **options)


PALETTE = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [200, 210, 220]], np.uint8)
INDEX = GREY[..., 0] % 4
BINARY = (GREY > 127).astype(np.uint8) * 255
ONE_BIT = Image.fromarray(BINARY[..., 0]).convert("1", dither=Image.Dither.NONE)
JPEG = odd.jpeg()
JPEG_PIXELS = by_pillow(JPEG)
LARGE16 = np.tile(RGB16, (6, 6, 1))
INK = np.zeros_like(ALPHA16)
HALF = np.full((9, 13, 1), 32768, np.uint16)
FLOATS = (RGB16 / 65535).astype(np.float32)
ANIMATION = {"save_all": True, "append_images": [Image.fromarray(RGB[::-1])]}
ONE_OF_SEVERAL = "only the first is used: choose with page=1.."

# name: (file, pixels that must come out, alpha that must come out, warning that must be given)
GOOD = {
    "png grey": (png_of(GREY), GREY, None, None),
    "png grey + alpha": (png_of(rgba(GREY, ALPHA)), GREY, ALPHA, None),
    "png rgb": (png_of(RGB), RGB, None, None),
    "png rgb + alpha": (png_of(rgba(RGB, ALPHA)), RGB, ALPHA, None),
    "png grey 16": (png_of(GREY16), GREY16, None, None),
    "png grey 16 + alpha": (png_of(rgba(GREY16, ALPHA16)), GREY16, ALPHA16, None),
    "png rgb 16": (png_of(RGB16), RGB16, None, None),
    "png rgb 16 + alpha": (png_of(rgba(RGB16, ALPHA16)), RGB16, ALPHA16, None),
    "png grey, one level transparent": (
        png_of(GREY, odd.chunk(b"tRNS", struct.pack(">H", GREY[2, 3, 0]))),
        GREY,
        np.where(GREY[..., 0] == GREY[2, 3, 0], 0, 255),
        None,
    ),
    "png rgb, one colour transparent": (
        png_of(RGB, odd.chunk(b"tRNS", struct.pack(">HHH", *RGB[2, 3].tolist()))),
        RGB,
        np.where((RGB[2, 3] == RGB).all(axis=2), 0, 255),
        None,
    ),
    "png grey 16, one level transparent": (
        png_of(GREY16, odd.chunk(b"tRNS", struct.pack(">H", GREY16[2, 3, 0]))),
        GREY16,
        np.where(GREY16[..., 0] == GREY16[2, 3, 0], 0, 65535),
        None,
    ),
    "png rgb 16, one colour transparent": (
        png_of(RGB16, odd.chunk(b"tRNS", struct.pack(">HHH", *RGB16[2, 3].tolist()))),
        RGB16,
        np.where((RGB16[2, 3] == RGB16).all(axis=2), 0, 65535),
        None,
    ),
    "png 4-bit grey, level 1 transparent": (
        odd.png(2, 1, 4, 0, b"\0\x1f", odd.chunk(b"tRNS", b"\0\x01")),
        np.array([[[17], [255]]], np.uint8),
        np.array([[0, 255]]),
        None,
    ),
    "png 2-bit grey": (
        odd.png(4, 1, 2, 0, b"\0\x1b"),
        np.array([[[0], [85], [170], [255]]], np.uint8),
        None,
        None,
    ),
    "png 1-bit grey": (encode(ONE_BIT, "PNG"), BINARY, None, None),
    "png palette": (palette_png(), PALETTE[INDEX], None, None),
    "png palette, one entry transparent": (
        palette_png(2),
        PALETTE[INDEX],
        np.where(INDEX == 2, 0, 255),
        None,
    ),
    "png palette with an alpha each": (
        palette_png(b"\x00\x55\xaa\xff"),
        PALETTE[INDEX],
        np.array([0, 0x55, 0xAA, 0xFF])[INDEX],
        None,
    ),
    "png grey palette stays grey": (
        encode(Image.fromarray(GREY[..., 0]).convert("P"), "PNG"),
        by_pillow(encode(Image.fromarray(GREY[..., 0]).convert("P"), "PNG"), "L"),
        None,
        None,
    ),
    "png with gamma": (png_of(RGB, odd.chunk(b"gAMA", struct.pack(">I", 100000))), RGB, None, None),
    "png rgb 16 by OpenCV": (cv2.imencode(".png", RGB16[..., ::-1])[1].tobytes(), RGB16, None, None),
    "png with a megabyte of text": (odd.png_text(3_000_000), RGB, None, None),
    "png with a text bomb": (
        png_of(RGB, odd.chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(30_000_000)))),
        RGB,
        None,
        "damaged metadata",
    ),
    "png with a profile bomb": (
        png_of(RGB, odd.chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(30_000_000)))),
        RGB,
        None,
        "damaged metadata",
    ),
    "png with a broken text chunk": (
        png_of(RGB16, odd.chunk(b"tEXt", b"k\0text")[:-1] + b"?"),
        RGB16,
        None,
        "damaged metadata",
    ),
    "png with rubbish behind it": (png_of(RGB) + b"rubbish" * 100, RGB, None, None),
    "apng": (encode(RGB, "PNG", **ANIMATION), RGB, None, ONE_OF_SEVERAL),
    "jpeg": (JPEG, JPEG_PIXELS, None, None),
    "jpeg grey": (odd.jpeg(PHOTO[..., 0]), by_pillow(odd.jpeg(PHOTO[..., 0])), None, None),
    "jpeg progressive": (odd.jpeg(progressive=True), JPEG_PIXELS, None, None),
    "jpeg with restart markers": (odd.jpeg(restart_marker_rows=1), JPEG_PIXELS, None, None),
    "jpeg 4:2:0": (odd.jpeg(subsampling=2), by_pillow(odd.jpeg(subsampling=2)), None, None),
    "jpeg stored as RGB": (odd.jpeg(keep_rgb=True), by_pillow(odd.jpeg(keep_rgb=True)), None, None),
    "jpeg with rubbish behind it": (JPEG + b"rubbish" * 100, JPEG_PIXELS, None, None),
    "jpeg with a second jpeg behind it": (JPEG + odd.jpeg(PHOTO[::2]), JPEG_PIXELS, None, None),
    "jpeg from a phone (MPO)": (odd.mpo(), by_pillow(odd.mpo()), None, None),
    "jpeg with broken exif": (
        odd.with_segment(JPEG, 0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
        JPEG_PIXELS,
        None,
        None,
    ),
    "jpeg with rubbish as exif": (odd.with_segment(JPEG, 0xE1, b"Exif\0\0rubbish"), JPEG_PIXELS, None, None),
    "jpeg with absurd orientation": (
        odd.with_segment(JPEG, 0xE1, odd.exif(orientation=99)),
        JPEG_PIXELS,
        None,
        None,
    ),
    "jpeg with a broken profile": (
        odd.jpeg(icc_profile=b"rubbish" * 50),
        JPEG_PIXELS,
        None,
        "ICC profile is dam",
    ),
    "jpeg grey with an RGB profile": (
        odd.jpeg(PHOTO[..., 0], icc_profile=odd.SRGB),
        by_pillow(odd.jpeg(PHOTO[..., 0])),
        None,
        "describes RGB",
    ),
    "jpeg CMYK without profile": (
        odd.jpeg(Image.fromarray(PHOTO).convert("CMYK")),
        by_pillow(odd.jpeg(Image.fromarray(PHOTO).convert("CMYK")), "RGB"),
        None,
        None,
    ),
    "jpeg CMYK with a broken profile": (
        odd.jpeg(Image.fromarray(PHOTO).convert("CMYK"), icc_profile=b"rubbish" * 50),
        by_pillow(odd.jpeg(Image.fromarray(PHOTO).convert("CMYK")), "RGB"),
        None,
        "colours are approximate",
    ),
    "webp lossless": (encode(RGB, "WEBP", lossless=True), RGB, None, None),
    "webp lossless + alpha": (
        encode(rgba(RGB, ALPHA), "WEBP", lossless=True, exact=True),
        RGB,
        ALPHA,
        None,
    ),
    "webp animated": (
        encode(RGB, "WEBP", lossless=True, **ANIMATION),
        RGB,
        np.full((9, 13), 255),
        ONE_OF_SEVERAL,
    ),
    "gif": (encode(GREY, "GIF"), GREY, None, None),
    "gif animated": (
        encode(GREY, "GIF", save_all=True, append_images=[Image.fromarray(GREY[::-1, :, 0])]),
        GREY,
        None,
        ONE_OF_SEVERAL,
    ),
    "gif with a broken second frame": (
        encode(GREY, "GIF", save_all=True, append_images=[Image.fromarray(GREY[::-1, :, 0])])[:-60],
        GREY,
        None,
        ONE_OF_SEVERAL,
    ),
    "bmp": (encode(RGB, "BMP"), RGB, None, None),
    "bmp 1-bit": (encode(ONE_BIT, "BMP"), BINARY, None, None),
    "ppm": (encode(RGB, "PPM"), RGB, None, None),
    "ppm 16": (b"P6 # made by hand\n13 9\n65535\n" + RGB16.astype(">u2").tobytes(), RGB16, None, None),
    "pgm 16": (b"P5\n13 9\n65535\n" + GREY16.astype(">u2").tobytes(), GREY16, None, None),
    "pbm": (encode(ONE_BIT, "PPM"), BINARY, None, None),
    "tiff grey": (tiff(GREY[..., 0]), GREY, None, None),
    "tiff rgb lzw": (encode(RGB, "TIFF", compression="tiff_lzw"), RGB, None, None),
    "tiff rgb + alpha": (encode(rgba(RGB, ALPHA), "TIFF"), RGB, ALPHA, None),
    "tiff grey + alpha": (encode(rgba(GREY, ALPHA), "TIFF"), GREY, ALPHA, None),
    "tiff 1-bit fax": (encode(ONE_BIT, "TIFF", compression="group4"), BINARY, None, None),
    "tiff palette": (
        encode(Image.open(io.BytesIO(palette_png())), "TIFF"),
        PALETTE[INDEX],
        None,
        None,
    ),
    "tiff planes apart": (
        tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"),
        RGB,
        None,
        None,
    ),
    "tiff tiled": (
        tiff(PHOTO, photometric="rgb", tile=(16, 16), compression="zlib"),
        PHOTO,
        None,
        None,
    ),
    "tiff grey 16": (tiff(GREY16[..., 0]), GREY16, None, None),
    "tiff grey 16 big-endian": (tiff(GREY16[..., 0], byteorder=">"), GREY16, None, None),
    "tiff grey 16, white is zero": (
        tiff(65535 - GREY16[..., 0], photometric="miniswhite"),
        GREY16,
        None,
        None,
    ),
    "tiff grey 16 + alpha": (
        tiff(
            rgba(GREY16, ALPHA16),
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=["unassalpha"],
        ),
        GREY16,
        ALPHA16,
        None,
    ),
    "tiff rgb 16": (tiff(RGB16, photometric="rgb"), RGB16, None, None),
    "tiff rgb 16 big-endian deflate": (tiff(RGB16, byteorder=">", compression="zlib"), RGB16, None, None),
    "tiff rgb 16 lzw": (cv2.imencode(".tiff", RGB16[..., ::-1])[1].tobytes(), RGB16, None, None),
    "tiff rgb 16 planes apart": (
        tiff(np.moveaxis(RGB16, 2, 0), photometric="rgb", planarconfig="separate"),
        RGB16,
        None,
        None,
    ),
    "tiff rgb 16 + alpha": (
        tiff(rgba(RGB16, ALPHA16), photometric="rgb", extrasamples=["unassalpha"]),
        RGB16,
        ALPHA16,
        None,
    ),
    "tiff rgb that says grey": (
        tiff(RGB, photometric="minisblack", planarconfig="contig"),
        RGB,
        None,
        None,
    ),
    "tiff rgb 16 that says grey": (
        tiff(RGB16, photometric="minisblack", planarconfig="contig"),
        RGB16,
        None,
        None,
    ),
    "tiff with two extra channels": (
        tiff(np.dstack([RGB16, ALPHA16, ALPHA16]), photometric="rgb", extrasamples=["unassalpha", 0]),
        RGB16,
        ALPHA16,
        "1 channels beside colour and transparency",
    ),
    "tiff big": (tiff(RGB16, photometric="rgb", bigtiff=True), RGB16, None, None),
    "tiff float": (tiff(FLOATS[..., 0]), RGB16[..., :1], None, None),
    "tiff rgb float": (tiff(FLOATS, photometric="rgb"), RGB16, None, None),
    "tiff of several pages": (
        tiff(np.stack([GREY16[..., 0]] * 3), photometric="minisblack"),
        GREY16,
        None,
        ONE_OF_SEVERAL,
    ),
    "tiff of several 8-bit pages": (encode(RGB, "TIFF", **ANIMATION), RGB, None, ONE_OF_SEVERAL),
    "jpeg 2000": (encode(RGB, "JPEG2000"), RGB, None, None),
    "jpeg 2000 grey 16": (encode(GREY16, "JPEG2000"), GREY16, None, None),
    "jpeg 2000 rgb 16": (
        cv2.imencode(".jp2", LARGE16[..., ::-1], [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes(),
        LARGE16,
        None,
        None,
    ),
    "avif": (encode(PHOTO, "AVIF"), by_pillow(encode(PHOTO, "AVIF")), None, None),
    "ico": (encode(rgba(RGB, ALPHA), "ICO", sizes=[(13, 9)]), RGB, ALPHA, None),
    "png rgb interlaced": (odd.png(13, 9, 8, 2, odd.interlaced_rows(RGB), interlace=1), RGB, None, None),
    "png rgb 16 interlaced": (
        odd.png(13, 9, 16, 2, odd.interlaced_rows(RGB16), interlace=1),
        RGB16,
        None,
        None,
    ),
    "ppm up to 1023": (
        b"P6\n13 9\n1023\n" + (RGB16 >> 6).astype(">u2").tobytes(),
        np.rint((RGB16 >> 6) / 1023 * 65535).astype(np.uint16),
        None,
        None,
    ),
    "pgm up to 100, as text": (
        b"P2 # by hand\n13 9 100\n" + b" ".join(b"%d" % v for v in (GREY % 101).ravel().tolist()),
        ((GREY % 101).astype(int) * 255 // 50 + 1 >> 1).astype(np.uint8),
        None,
        None,
    ),
    "ppm 16 as text": (
        b"P3\n13 9\n65535\n" + b" ".join(b"%d" % v for v in RGB16.ravel().tolist()),
        RGB16,
        None,
        None,
    ),
    "pfm": (b"PF\n13 9\n-1.0\n" + FLOATS[::-1].astype("<f4").tobytes(), RGB16, None, None),
    "pfm grey big-endian": (
        b"Pf\n13 9\n1.0\n" + FLOATS[::-1, :, 0].astype(">f4").tobytes(),
        RGB16[..., :1],
        None,
        None,
    ),
    "jpeg-ls": (imagecodecs.jpegls_encode(RGB), RGB, None, None),
    "jpeg-ls grey 16": (imagecodecs.jpegls_encode(GREY16[..., 0]), GREY16, None, None),
    "jpeg lossless 16": (
        imagecodecs.jpeg8_encode(GREY16[..., 0], lossless=True, bitspersample=16),
        GREY16,
        None,
        None,
    ),
    "jpeg xr": (imagecodecs.jpegxr_encode(LARGE16, level=1.0), LARGE16, None, None),
    "jpeg 2000 of 10 bits": (
        imagecodecs.jpeg2k_encode(RGB16 >> 6, level=0, bitspersample=10, reversible=True),
        np.rint((RGB16 >> 6) / 1023 * 65535).astype(np.uint16),
        None,
        None,
    ),
    "jpeg 2000 grey 16 + alpha": (
        imagecodecs.jpeg2k_encode(rgba(GREY16, ALPHA16), level=0, bitspersample=16, reversible=True),
        GREY16,
        ALPHA16,
        None,
    ),
    "avif of 10 bits": (
        imagecodecs.avif_encode(LARGE16 >> 6, level=100, bitspersample=10),
        np.rint((LARGE16 >> 6) / 1023 * 65535).astype(np.uint16),
        None,
        None,
    ),
    "bmp whose alpha was never filled": (odd.bmp_v4(RGB, np.zeros((9, 13), np.uint8)), RGB, None, None),
    "bmp with alpha": (odd.bmp_v4(RGB, ALPHA), RGB, ALPHA, None),
    "tiff of 12 bits": (
        tiff(GREY16[..., 0] >> 4, bitspersample=12),
        np.rint((GREY16 >> 4) / 4095 * 65535).astype(np.uint16),
        None,
        None,
    ),
    "tiff rgb zstd": (tiff(RGB, photometric="rgb", compression="zstd"), RGB, None, None),
    "tiff rgb 16 lzma": (tiff(RGB16, photometric="rgb", compression="lzma"), RGB16, None, None),
    "tiff rgb 16 packbits": (tiff(RGB16, photometric="rgb", compression="packbits"), RGB16, None, None),
    "tiff rgb 16 lzw planes apart": (
        tiff(np.moveaxis(RGB16, 2, 0), photometric="rgb", planarconfig="separate", compression="lzw"),
        RGB16,
        None,
        None,
    ),
    "tiff big, big-endian, of 8 bits": (
        tiff(RGB, photometric="rgb", bigtiff=True, byteorder=">"),
        RGB,
        None,
        None,
    ),
    "tiff float, predictor, deflate": (
        tiff(FLOATS, photometric="rgb", compression="zlib", predictor=3),
        RGB16,
        None,
        None,
    ),
    "tiff double, lzw": (
        tiff(FLOATS.astype(float), photometric="rgb", compression="lzw"),
        RGB16,
        None,
        None,
    ),
    "tiff float, white is zero": (
        tiff(1 - FLOATS[..., 0], photometric="miniswhite"),
        RGB16[..., :1],
        None,
        None,
    ),
    "tiff grey 16 + alpha, white is zero": (
        tiff(
            rgba(65535 - GREY16, ALPHA16),
            photometric="miniswhite",
            planarconfig="contig",
            extrasamples=["unassalpha"],
        ),
        GREY16,
        ALPHA16,
        None,
    ),
    "tiff CMYK 16": (tiff(65535 - rgba(RGB16, INK + 65535), photometric="separated"), RGB16, None, None),
    "tiff of a scanner, infrared fourth": (
        tiff(rgba(RGB16, ALPHA16), photometric="rgb", extrasamples=[0]),
        RGB16,
        None,
        "1 channels beside colour and transparency",
    ),
    "tiff of a scanner, fourth channel without a name": (
        odd.tiff_without_tag(tiff(rgba(RGB16, ALPHA16), photometric="rgb", extrasamples=[0]), 338),
        RGB16,
        None,
        "1 channels beside colour and transparency",
    ),
    "tiff with a mask before alpha": (
        tiff(np.dstack([RGB16, ALPHA16[::-1], ALPHA16]), photometric="rgb", extrasamples=[0, 2]),
        RGB16,
        ALPHA16,
        "1 channels beside colour and transparency",
    ),
    "tiff grey with a channel without a name": (
        tiff(rgba(GREY16, ALPHA16), photometric="minisblack", planarconfig="contig", extrasamples=[0]),
        GREY16,
        None,
        "1 channels beside colour and transparency",
    ),
    "tiff whose first page is the thumbnail": (
        tiff_pages((RGB[::4, ::4], {"subfiletype": 1}), (RGB16, {})),
        RGB16,
        None,
        None,
    ),
    "tiff whose first page is a mask": (
        tiff_pages((GREY[..., 0] > 99, {"subfiletype": 4, "photometric": "minisblack"}), (RGB16, {})),
        RGB16,
        None,
        None,
    ),
    "one pixel": (png_of(RGB[:1, :1]), RGB[:1, :1], None, None),
}


@pytest.mark.parametrize("case", GOOD)
def test_odd_file_gives_exactly_its_pixels(case):
    data, pixels, alpha, warning = GOOD[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read_image(data, name=case)
    assert picture.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        assert picture.alpha.dtype == pixels.dtype
        np.testing.assert_array_equal(picture.alpha, alpha)
    said = [str(w.message) for w in caught if issubclass(w.category, ImageWarning)]
    assert [case in text and warning in text for text in said] == ([True] if warning else [])


GRADIENT = encode(np.arange(40_000).reshape(200, 200).astype(np.uint8), "TIFF")
NOT_A_PICTURE = "not a picture"
DAMAGED = "incomplete or damaged"
TOO_LARGE = "the limit is 128.0"

# name: (file, what the message must say)
BAD = {
    "empty": (b"", "it is empty"),
    "jpeg xl": (b"\xff\x0a" + bytes(50), "JPEG XL"),
    "camera raw CR2": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(50), "camera raw"),
    "camera raw CR3": (b"\0\0\0\x18ftypcrx \0\0\0\x01", "camera raw"),
    "text": (b"hello, I am a text\n", NOT_A_PICTURE),
    "zeros": (bytes(1000), NOT_A_PICTURE),
    "one byte": (b"\xff", NOT_A_PICTURE),
    "html": (b"<!DOCTYPE html><html></html>", "a web page"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "Render it to PNG"),
    "pdf": (b"%PDF-1.7\n", "Render it to PNG"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "Render it to PNG"),
    "photoshop": (b"8BPS\0\x01" + bytes(50), "Photoshop"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "video": (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", "a video"),
    "zip": (b"PK\x03\x04" + bytes(50), "an archive"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "png signature only": (b"\x89PNG\r\n\x1a\n", DAMAGED),
    "png cut": (png_of(RGB)[:-100], DAMAGED),
    "png 16 cut": (png_of(RGB16)[:-100], DAMAGED),
    "png with a flipped byte": (png_of(RGB)[:60] + b"?" + png_of(RGB)[61:], DAMAGED),
    "png of no width": (odd.png(0, 9, 8, 0, b""), "0x9, there is nothing in it"),
    "png bomb behind a small header": (
        odd.png(
            9,
            9,
            16,
            2,
            bytes(99),
            before=odd.chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 16, 2, 0, 0, 0)),
        ),
        TOO_LARGE,
    ),
    "png of an iPhone": (
        b"\x89PNG\r\n\x1a\n" + odd.chunk(b"CgBI", b"\x50\0\x20\x06") + png_of(RGB)[8:],
        "IHDR",
    ),
    "png bomb": (odd.png(20_000, 20_000, 8, 0, bytes(49_000)), TOO_LARGE),
    "png 16 bomb": (odd.png(20_000, 20_000, 16, 2, bytes(49_000)), TOO_LARGE),
    "png just over the limit": (odd.png(12_801, 10_000, 8, 0, bytes(49_000)), "128.0 megapixels"),
    "jpeg start only": (b"\xff\xd8\xff\xe0", DAMAGED),
    "jpeg cut": (JPEG[: len(JPEG) * 2 // 3], "% is missing"),
    "jpeg progressive cut": (odd.jpeg(progressive=True)[:-50], "% lacks its finer details"),
    "jpeg cut, with a whole thumbnail": (
        odd.with_segment(JPEG, 0xE1, b"Exif\0\0" + odd.jpeg(PHOTO[::4, ::4]))[:-400],
        "% is missing",
    ),
    "jpeg bomb": (odd.resized_in_header(JPEG, 20_000, 20_000), TOO_LARGE),
    "gif cut": (encode(GREY, "GIF")[:-40], DAMAGED),
    "gif bomb": (odd.bomb_gif((20_000, 20_000), (20_000, 20_000)), TOO_LARGE),
    "gif bomb on a small screen": (odd.bomb_gif((10, 10), (20_000, 20_000)), "far more pixels"),
    "webp cut": (encode(RGB, "WEBP")[:-30], DAMAGED),
    "webp bomb": (odd.bomb_webp(), TOO_LARGE),
    "bmp cut": (encode(RGB, "BMP")[:-40], DAMAGED),
    "bmp bomb": (
        b"BM"
        + struct.pack("<IHHI", 154, 0, 0, 54)
        + struct.pack("<IiiHH24x", 40, 20_000, 20_000, 1, 24)
        + bytes(99),
        TOO_LARGE,
    ),
    "ppm cut": (encode(RGB, "PPM")[:-40], DAMAGED),
    "ppm 16 cut": (b"P6\n13 9\n65535\n" + RGB16.astype(">u2").tobytes()[:-40], DAMAGED),
    "ppm bomb": (b"P5\n20000 20000\n255\n" + bytes(99), TOO_LARGE),
    "tiff cut": (tiff(RGB)[:-100], DAMAGED),
    "tiff 16 cut": (tiff(RGB16)[:-100], DAMAGED),
    "tiff 16 deflate cut": (tiff(RGB16, compression="zlib")[:-100], DAMAGED),
    "tiff without directory": (b"II*\0\x08\0\0\0", DAMAGED),
    "tiff bomb": (odd.tiff_tag_changed(odd.tiff_tag_changed(GRADIENT, 256, 20_000), 257, 20_000), TOO_LARGE),
    "tiff 16 bomb": (odd.tiff_tag_changed(tiff(GREY16[..., 0]), 257, 2**31), TOO_LARGE),
    "tiff with a tile bomb": (
        odd.tiff_tag_changed(
            odd.tiff_tag_changed(tiff(GREY16[..., 0], tile=(16, 16)), 322, 2**20), 323, 2**20
        ),
        TOO_LARGE,
    ),
    "tiff of too many channels": (
        odd.tiff_tag_changed(tiff(RGB16, photometric="rgb"), 277, 9999),
        "9999 channels",
    ),
    "tiff of signed numbers": (tiff(GREY16[..., 0].astype(np.int16)), "int16"),
    "tiff of 32-bit numbers": (tiff(GREY16[..., 0].astype(np.uint32) * 65536), "uint32"),
    "tiff of floats up to 255": (tiff(FLOATS * 255, photometric="rgb"), "floats must lie in 0..1"),
    "tiff with NaN": (tiff(np.full((9, 13), np.nan, np.float32)), "floats must lie in 0..1"),
    "camera raw in a TIFF": (
        tiff(GREY16[..., 0], photometric=32803, extratags=[(33421, "H", 2, (2, 2), True)]),
        "camera raw (a colour filter array)",
    ),
    "tiff by JPEG 2000": (tiff(PHOTO, photometric="rgb", compression="jpeg2000"), "compression JPEG 2000"),
    "tiff by WebP": (tiff(PHOTO, photometric="rgb", compression="webp"), "compression WebP"),
    "tiff of far too wide channels": (
        odd.tiff_tag_changed(
            odd.tiff_tag_changed(tiff(np.zeros((9, 13, 16)), planarconfig="contig"), 256, 12_000), 257, 10_000
        ),
        "16 channels of 64 bits",
    ),
    "ppm above its highest value": (b"P5\n2 1\n100\n\x01\xff", "above its highest"),
    "jpeg xr cut": (imagecodecs.jpegxr_encode(RGB)[:-200], "cannot read"),
    "jpeg 2000 cut": (encode(RGB, "JPEG2000")[:-100], DAMAGED),
    "avif cut": (encode(PHOTO, "AVIF")[:-100], DAMAGED),
    "ico cut": (encode(RGB, "ICO", sizes=[(13, 9)])[:-100], DAMAGED),
    "ico with a png bomb": (odd.ico(odd.png(13_000, 10_000, 8, 6, bytes(99))), TOO_LARGE),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore:Corrupt EXIF data")
def test_bad_file_gives_one_error_with_its_name_and_the_reason(case, tmp_path):
    data, reason = BAD[case]
    path = tmp_path / "bäd file\n.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert reason in message
    assert "bäd file\\n.jpg" in message
    assert "\n" not in message


def test_png_bomb_is_refused_without_the_memory_it_asks_for():
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb = odd.png(20_000, 20_000, 8, 2, bytes(48_000_000))
    assert len(bomb) < 50_000
    with pytest.raises(ImageError, match=r"20000x20000 is 400\.0 megapixels"):
        read_image(bomb)
    # 1.2 GB decoded; 0.2 GB is room for what building the bomb takes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_limit_of_pixels_can_be_raised_and_lowered():
    data = odd.png(12_000, 9_000, 1, 0, bytes(9_000 * 1_501))
    with pytest.raises(ImageError, match=r"108\.0 megapixels"):
        read_image(data, max_pixels=107_999_999)
    assert read_image(data).size == (12_000, 9_000)  # what phones take needs no flag
    with pytest.raises(ImageError, match=r"12x9.*the limit|13x9.*the limit"):
        read_image(png_of(RGB), max_pixels=13 * 9 - 1)
    assert read_image(png_of(RGB), max_pixels=13 * 9).size == (13, 9)


def test_random_damage_never_raises_anything_but_image_error():
    rng = np.random.default_rng(0)
    files = [data for data, *_ in GOOD.values() if len(data) < 20_000]
    outcomes = {"read": 0, "refused": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in files * 8:
            broken = np.frombuffer(data, np.uint8).copy()
            reach = min(len(broken), int(rng.choice([64, 400, len(broken)])))
            broken[rng.integers(0, reach, 3)] = rng.integers(0, 256, 3)
            try:
                read_image(broken.tobytes(), max_pixels=10_000_000)
                outcomes["read"] += 1
            except ImageError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50


# --- a part is missing -------------------------------------------------------------------------------------------

TALL = np.asarray(
    Image.fromarray(odd.RNG.integers(0, 256, (40, 8, 3), dtype=np.uint8)).resize((64, 320))
)  # many rows, each of about as many bytes
WHOLE = odd.jpeg(TALL)
DATA = WHOLE.index(b"\xff\xda")
CUT = DATA + (len(WHOLE) - DATA) * 52 // 100
PROGRESSIVE = odd.jpeg(TALL, progressive=True)
SCANS = [at for at in range(len(PROGRESSIVE)) if PROGRESSIVE.startswith(b"\xff\xda", at)]
HALF_WRITTEN = {
    "cut": WHOLE[:CUT],
    "cut, end marker put behind": WHOLE[:CUT] + b"\xff\xd9",
    "zeros": WHOLE[:CUT] + bytes(len(WHOLE) - CUT),
    "zeros, and the end marker": WHOLE[:CUT] + bytes(len(WHOLE) - CUT - 2) + b"\xff\xd9",
    "a preview behind the cut": WHOLE[:CUT] + bytes(50) + odd.jpeg(),
}


@pytest.mark.parametrize("case", HALF_WRITTEN)
def test_half_written_jpeg_is_refused_and_salvaged(case):
    data = HALF_WRITTEN[case]
    with pytest.raises(ImageError, match=r"the lower (\d+) % is missing.*salvage") as caught:
        read_image(data)
    missing = int(str(caught.value).split("the lower ")[1].split(" %")[0])
    whole = by_pillow(WHOLE)
    with pytest.warns(ImageWarning, match=f"the lower {missing} % is missing"):
        salvaged = read_image(data, salvage=True).pixels
    assert salvaged.shape == whole.shape
    reached = round(320 * (1 - missing / 100))
    assert 40 <= missing <= 56  # 48 % of the bytes
    np.testing.assert_array_equal(salvaged[: reached - 16], whole[: reached - 16])
    assert (salvaged[reached + 16 :] != whole[reached + 16 :]).any(axis=(1, 2)).all()


def test_progressive_jpeg_without_its_last_scans_is_refused_and_salvaged():
    data = PROGRESSIVE[: SCANS[2]] + b"\xff\xd9"
    with pytest.raises(ImageError, match="only 2 of its scans"):
        read_image(data)
    with pytest.warns(ImageWarning, match="only 2 of its scans"):
        assert read_image(data, salvage=True).size == (64, 320)


def test_jpeg_that_lacks_nothing_but_its_end_marker_is_read():
    with pytest.warns(ImageWarning, match="the picture is whole"):
        np.testing.assert_array_equal(read_image(WHOLE[:-2]).pixels, by_pillow(WHOLE))


def test_flat_jpeg_coded_as_zeros_is_whole():
    """With tables of its own a flat picture is nothing but zeros, as a hole is."""
    data = encode(np.full((512, 512), 128, np.uint8), "JPEG", optimize=True)
    assert bytes(64) in data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read_image(data).pixels == 128).all()


def test_jpeg_padded_by_its_camera_is_whole():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(
            read_image(WHOLE[:-2] + bytes(40) + WHOLE[-2:]).pixels, by_pillow(WHOLE)
        )


# --- pages -------------------------------------------------------------------------------------------------------


def test_pages_and_frames_are_chosen_from_1():
    files = {
        "tiff": tiff_pages((RGB, {}), (RGB[::-1], {}), (RGB[::4, ::4], {"subfiletype": 1})),
        "tiff of JPEGs": encode(RGB, "TIFF", compression="raw", **ANIMATION),
        "gif": encode(GREY, "GIF", save_all=True, append_images=[Image.fromarray(GREY[::-1, :, 0])]),
        "webp": encode(RGB, "WEBP", lossless=True, **ANIMATION),
        "apng": encode(RGB, "PNG", **ANIMATION),
    }
    for name, data in files.items():
        with pytest.warns(OtherPicturesWarning, match=f"{name}' holds 2 .*page=1..2"):
            first = read_image(data, name=name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(read_image(data, page=1).pixels, first.pixels)
            second = read_image(data, page=2).pixels[..., : first.pixels.shape[2]]  # Pillow: GIF, RGB
            np.testing.assert_array_equal(second, first.pixels[::-1])
        for page in (0, 3):
            with pytest.raises(ImageError, match=f"there is no page {page}"):
                read_image(data, page=page)
    with pytest.raises(ImageError, match="holds one picture"):
        read_image(JPEG, page=2)


# --- orientation -------------------------------------------------------------------------------------------------


def expected_upright(array, orientation):
    """By Pillow, from PNG pixels that carry no orientation."""
    image = Image.fromarray(array)
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied_once(file_format, orientation):
    options = {"lossless": True} if file_format == "WEBP" else {}
    plain = by_pillow(encode(PHOTO, file_format, **options))
    data = encode(PHOTO, file_format, exif=odd.exif(orientation), **options)
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, expected_upright(plain, orientation))
    again = read_image(picture.to_pil())
    np.testing.assert_array_equal(again.pixels, picture.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_orientation_of_16_bit_tiff_is_applied_once_with_alpha(orientation, compression):
    array = rgba(RGB16, ALPHA16)
    tag = (274, "H", 1, orientation, True)
    options = {"extrasamples": ["unassalpha"], "compression": compression, "extratags": [tag]}
    picture = read_image(tiff(array, photometric="rgb", **options))
    want = np.dstack([expected_upright(np.ascontiguousarray(array[..., c]), orientation) for c in range(4)])
    np.testing.assert_array_equal(np.asarray(picture), want)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bit_lzw_tiff_is_applied_once(orientation):
    """LZW takes another decoder, which turns the picture itself."""
    data = encode(GREY16, "TIFF", compression="tiff_lzw", tiffinfo={274: orientation})
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels[..., 0], expected_upright(GREY16[..., 0], orientation))


def test_orientation_of_16_bit_png_is_applied():
    before = odd.chunk(b"eXIf", odd.exif(6)[6:])
    np.testing.assert_array_equal(read_image(png_of(RGB16, before)).pixels, np.rot90(RGB16, -1))


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
def test_orientation_given_only_as_xmp_is_applied(image_format):
    options = {"lossless": True} if image_format == "WEBP" else {}
    plain = by_pillow(encode(PHOTO, image_format, **options))
    data = encode(PHOTO, image_format, xmp=odd.xmp(8).encode(), **options)
    np.testing.assert_array_equal(read_image(data).pixels, np.rot90(plain))


def test_pil_image_that_still_carries_orientation_is_turned():
    image = Image.open(io.BytesIO(encode(RGB, "PNG", exif=odd.exif(6))))
    np.testing.assert_array_equal(read_image(image).pixels, np.rot90(RGB, -1))
    np.testing.assert_array_equal(read_image(image.copy()).pixels, np.rot90(RGB, -1))
    np.testing.assert_array_equal(read_image(ImageOps.exif_transpose(image)).pixels, np.rot90(RGB, -1))


# --- HDR ---------------------------------------------------------------------------------------------------------


def pq(nits):
    power = (nits / 10_000) ** 0.1593017578125  # SMPTE ST 2084
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def cicp(primaries, transfer, level):
    array = np.full((4, 4, 3), round(level * 65535), np.uint16)
    return png_of(array, odd.chunk(b"cICP", bytes([primaries, transfer, 0, 1])))


@pytest.mark.parametrize(
    ("transfer", "level", "white"),
    [
        (16, 0.0, 0.0),
        (16, pq(101.5), 0.5),  # half of diffuse white, 203 cd/m2, stays that
        (16, pq(203), 1 - 0.25 * np.exp(-1)),
        (18, 0.5, 1000 / 203 * (1 / 12) ** 1.2),  # BT.2100: scene light 1/12, to the power of 1.2
        (18, 0.75, 1 - 0.25 * np.exp(-1)),  # BT.2408: diffuse white
    ],
)
def test_hdr_becomes_srgb(transfer, level, white):
    with pytest.warns(ImageWarning, match="was converted to sRGB"):
        value = read_image(cicp(9, transfer, level)).pixels / 65535
    srgb = 12.92 * white if white <= 0.0031308 else 1.055 * white ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(value, srgb, atol=1e-3)  # three digits of BT.2408 in the HLG level


def test_pixels_of_wide_but_not_hdr_colours_stay():
    assert (read_image(cicp(12, 13, 0.5)).pixels == 32768).all()


# --- colour and metadata -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile_to_srgb(file_format):
    profile = odd.cmyk_profile(lab=(50, 60, 40))
    data = encode(Image.fromarray(PHOTO).convert("CMYK"), file_format, icc_profile=profile)
    picture = read_image(data)
    assert picture.icc is None  # it is sRGB now; the CMYK profile would be wrong
    # Lab (50, 60, 40) under D50 is sRGB (214, 60, 55) by the CIE formulas and Bradford's adaptation; two levels
    # for the rounding of 8-bit Lab.
    assert np.abs(picture.pixels.reshape(-1, 3).astype(int) - [214, 60, 55]).max() <= 2


def test_lab_tiff_becomes_srgb():
    lab = np.full((4, 4, 3), [136, 0, 0], np.uint8)  # L* 53.3, a* and b* 0: sRGB grey of 127
    picture = read_image(encode(Image.fromarray(lab, "LAB"), "TIFF"))
    assert np.abs(picture.pixels.astype(int) - 127).max() <= 1


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_profile_and_exif_are_kept_without_orientation_and_thumbnail(file_format):
    data = encode(PHOTO, file_format, exif=odd.exif(6), icc_profile=odd.SRGB)
    picture = read_image(data)
    assert picture.icc == odd.SRGB
    block = Image.Exif()
    block.load(picture.exif)
    assert block.get(0x0112, 1) == 1  # AVIF says it in a property of its own
    assert block[0x010F] == "Maker"
    assert block.get_ifd(0x8769)[0x9003] == "2001:02:03 04:05:06"
    assert block.get_ifd(0x8769)[0x927C] == b"maker note"
    if file_format != "TIFF":  # Pillow writes a dangling offset there
        assert block.get_ifd(IFD.Interop) == {1: "R98"}
    assert block.get_ifd(0x8825)[2] == (1.0, 2.0, 3.0)
    assert set(block) - {0x0112} == {0x010F, 0x8769, 0x8825}  # nothing of how a TIFF stores its pixels


def test_exif_thumbnail_is_removed():
    thumbnail = odd.jpeg(PHOTO[::4, ::4])
    first = struct.pack("<H", 1) + struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<I", 26)
    second = (
        struct.pack("<H", 2)
        + struct.pack("<HHII", 0x0201, 4, 1, 56)
        + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
        + struct.pack("<I", 0)
    )
    block = b"Exif\0\0II*\0\x08\0\0\0" + first + second + thumbnail
    data = odd.with_segment(JPEG, 0xE1, block)
    assert Image.open(io.BytesIO(data)).getexif().get_ifd(IFD.IFD1)[0x0202] == len(thumbnail)
    picture = read_image(data)
    assert picture.size == (48, 64)
    assert b"\xff\xd8" not in picture.exif
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept.get_ifd(IFD.IFD1) == {}


def test_profile_of_16_bit_files_is_kept():
    profile = odd.chunk(b"iCCP", b"p\0\0" + zlib.compress(odd.SRGB))
    assert read_image(png_of(RGB16, profile)).icc == odd.SRGB
    assert read_image(tiff(RGB16, photometric="rgb", iccprofile=odd.SRGB)).icc == odd.SRGB


def test_premultiplied_16_bit_tiff_comes_back_straight():
    alpha = np.full((9, 13), 32768, np.uint16)
    data = tiff(rgba(RGB16 // 2, alpha), photometric="rgb", extrasamples=["assocalpha"])
    picture = read_image(data)
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert (
        np.abs(picture.pixels.astype(int) - RGB16).max() <= 2
    )  # halving lost one level of 65535, then doubled


# --- sources -----------------------------------------------------------------------------------------------------


def test_paths_bytes_and_pictures():
    data = png_of(RGB)
    picture = read_image(data)
    assert picture.name == "<bytes>"
    assert read_image(picture) is picture
    np.testing.assert_array_equal(read_image(bytearray(data)).pixels, RGB)


@pytest.mark.parametrize("name", ["ünï cødé 写真.png", "new\nline.png", "-rf.png", "no suffix", "wrong.jpg"])
def test_any_file_name_is_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(png_of(RGB))
    np.testing.assert_array_equal(read_image(name).pixels, RGB)
    (tmp_path / "link").symlink_to(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / "link").pixels, RGB)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    cases = {
        tmp_path: "a folder",
        tmp_path / "pipe": "a pipe or device",
        Path("/dev/zero"): "a pipe or device",
        tmp_path / "missing.png": "no such file",
        tmp_path / "dead": "no such file",
        tmp_path / "circle": "symbolic links",
        tmp_path / ("x" * 300): "too long",
        "": "a folder",
        "nul\0byte": "null",
    }
    for source, reason in cases.items():
        with pytest.raises(ImageError, match=reason):
            read_image(source)


def test_name_in_a_message_is_never_a_whole_picture():
    with pytest.raises(ImageError) as caught:
        read_image("data:image/png;base64," + "A" * 100_000)
    assert len(str(caught.value)) < 400


def test_file_larger_than_the_limit_is_refused_unread(tmp_path):
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.write(png_of(RGB))
        file.truncate(2**40)
    with pytest.raises(ImageError, match="Raise max_bytes"):
        read_image(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_an_error(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(png_of(RGB))
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        read_image(path)


@pytest.mark.parametrize(
    ("array", "pixels", "alpha"),
    [
        (GREY[..., 0], GREY, None),
        (GREY, GREY, None),
        (rgba(GREY, ALPHA), GREY, ALPHA),
        (RGB, RGB, None),
        (rgba(RGB16, ALPHA16), RGB16, ALPHA16),
        (RGB16.astype(">u2"), RGB16, None),
        (RGB[::-1, ::-2], RGB[::-1, ::-2], None),
        (GREY[..., 0] > 127, BINARY, None),
        (FLOATS, RGB16, None),
        (FLOATS.astype(np.float64), RGB16, None),
        (np.array([[-0.1, 0.0, 1.2]]), np.array([[[0], [0], [65535]]], np.uint16), None),
    ],
)
def test_arrays(array, pixels, alpha):
    picture = read_image(array)
    assert picture.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.alpha is None) if alpha is None else (picture.alpha == alpha).all()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 9, 13), np.uint8), "HWC"),
        (np.zeros((9, 13, 5), np.uint8), "1 to 4 channels"),
        (np.zeros((2, 9, 13, 3), np.uint8), "HWC"),
        (np.zeros(5, np.uint8), "HWC"),
        (np.zeros((0, 5, 3), np.uint8), "5x0"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((4, 4), complex), "complex"),
        (np.full((4, 4), 255.0), "0..1"),
        (np.full((4, 4), np.nan), "0..1"),
        (np.full((4, 4), -1.0), "0..1"),
        (np.array([["a"]]), "no agreed range"),
    ],
)
def test_arrays_without_a_clear_meaning_are_refused(array, reason):
    with pytest.raises(ImageError, match=reason):
        read_image(array)


def test_tensors():
    chw = torch.from_numpy(FLOATS).permute(2, 0, 1)
    for tensor in (chw, chw[None], chw.double(), chw.clone().requires_grad_()):
        np.testing.assert_array_equal(read_image(tensor).pixels, RGB16)
    np.testing.assert_array_equal(read_image(torch.from_numpy(GREY[..., 0])).pixels, GREY)
    assert read_image(chw.bfloat16()).pixels.shape == (9, 13, 3)
    for bad in (chw.repeat(2, 1, 1, 1), chw[:, 0, 0], torch.zeros(3, 9, 13, dtype=torch.int64), chw * 255):
        with pytest.raises(ImageError, match="<tensor>"):
            read_image(bad)


@pytest.mark.parametrize(
    ("image", "channels", "has_alpha"),
    [
        (Image.new("1", (5, 4), 1), 1, False),
        (Image.new("L", (5, 4)), 1, False),
        (Image.new("LA", (5, 4)), 1, True),
        (Image.new("I", (5, 4), 40_000), 1, False),
        (Image.new("I;16", (5, 4)), 1, False),
        (Image.new("F", (5, 4), 0.5), 1, False),
        (Image.new("RGB", (5, 4)), 3, False),
        (Image.new("RGBX", (5, 4)), 3, False),
        (Image.new("RGBA", (5, 4)), 3, True),
        (Image.new("RGBa", (5, 4)), 3, True),
        (Image.new("CMYK", (5, 4)), 3, False),
        (Image.new("YCbCr", (5, 4)), 3, False),
        (Image.new("HSV", (5, 4)), 3, False),
        (Image.new("LAB", (5, 4)), 3, False),
        (Image.fromarray(rgba(RGB, ALPHA)).quantize(8, method=Image.Quantize.FASTOCTREE), 3, True),
    ],
)
def test_every_mode_of_pil(image, channels, has_alpha):
    picture = read_image(image)
    assert picture.pixels.shape[2] == channels
    assert (picture.alpha is not None) == has_alpha
    assert picture.pixels.dtype == (np.uint16 if image.mode in ("I", "I;16", "F") else np.uint8)


def test_pil_images_that_mean_nothing_are_refused():
    with pytest.raises(ImageError, match="from -5 to -5"):
        read_image(Image.new("I", (5, 4), -5))
    with pytest.raises(ImageError, match=DAMAGED):
        read_image(Image.open(io.BytesIO(JPEG[: len(JPEG) // 2])))
    with pytest.raises(ImageError, match="from NoneType"):
        read_image(None)


def test_pil_image_of_several_pictures_is_used_as_it_stands():
    frames = [Image.fromarray(GREY[..., 0]), Image.fromarray(GREY[::-1, :, 0])]
    image = Image.open(io.BytesIO(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    with pytest.warns(ImageWarning, match="only the one at hand"):
        np.testing.assert_array_equal(read_image(image).pixels, GREY)
    image.seek(1)
    with pytest.warns(ImageWarning, match="only the one at hand"):
        picture = read_image(image)
    np.testing.assert_array_equal(picture.pixels[..., :1], GREY[::-1])


def test_exif_of_sizes_alone_is_no_damage():
    """As many programs write it: resolution, and an Exif directory that holds nothing but the size."""
    block = Image.Exif()
    block[0x011A] = 72.0
    block[0x8769] = {0xA002: 64, 0xA003: 48}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = read_image(odd.jpeg(exif=block.tobytes())).exif
    again = Image.Exif()
    again.load(kept)
    assert again[0x011A] == 72.0


def test_exif_made_in_memory_is_kept():
    image = Image.fromarray(RGB)
    image.getexif()[0x8769] = {0x9003: "2001:02:03 04:05:06", 0xA005: {1: "R98"}}
    kept = Image.Exif()
    kept.load(read_image(image).exif)
    assert kept.get_ifd(IFD.Exif)[0x9003] == "2001:02:03 04:05:06"
    assert kept.get_ifd(IFD.Interop) == {1: "R98"}


def test_pil_image_from_a_phone_is_one_picture():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = read_image(Image.open(io.BytesIO(odd.mpo())))
    assert np.array_equal(picture.pixels, np.asarray(Image.open(io.BytesIO(odd.mpo()))))


def test_profile_of_a_pil_image_is_kept():
    image = Image.fromarray(RGB)
    image.info["icc_profile"] = odd.SRGB
    assert read_image(image).icc == odd.SRGB
    assert isinstance(read_image(image), Picture)


def test_jpeg_decodes_to_the_bytes_that_pillow_gives():
    """The fast decoder must not be another one: any size, subsampling and quality."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        noise = rng.integers(0, 256, (*rng.integers(2, 70, 2), 3), dtype=np.uint8)
        data = encode(noise, "JPEG", quality=int(rng.integers(5, 100)), subsampling=int(rng.integers(0, 3)))
        np.testing.assert_array_equal(read_image(data).pixels, by_pillow(data))


def test_profile_check_uses_the_colour_space_of_the_profile():
    grey_icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    with pytest.warns(ImageWarning, match="describes XYZ"):
        assert read_image(odd.jpeg(icc_profile=grey_icc)).icc is None
