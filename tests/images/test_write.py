"""What `write_image` puts on disk, read back by others where they can."""

import errno
import io
import os
import threading

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from PIL.ExifTags import IFD

from ggt_hub.errors import ImageError
from ggt_hub.images import ImageWarning, Metadata, Picture, read_image, write_image
from tests.images.odd_files import ALPHA, ALPHA16, GREY, GREY16, PHOTO, RGB, RGB16, SRGB, exif
from tests.images.test_picture import PICTURES


@pytest.mark.parametrize("suffix", ["png", "tif", "TIFF"])
@pytest.mark.parametrize("picture", PICTURES)
def test_png_and_tiff_keep_every_bit(tmp_path, picture, suffix):
    again = read_image(write_image(picture, tmp_path / f"x.{suffix}"))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(picture))
    assert np.asarray(again).dtype == np.asarray(picture).dtype


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (300, 7)])
def test_sizes_at_the_edge(tmp_path, size):
    array = np.random.default_rng(0).integers(0, 65536, (*size, 3), dtype=np.uint16)
    for suffix in ("png", "tif"):
        np.testing.assert_array_equal(read_image(write_image(array, tmp_path / f"x.{suffix}")).pixels, array)


def test_other_programs_read_the_same_16_bits(tmp_path):
    for array, order in [
        (GREY16[..., 0], None),
        (RGB16, [2, 1, 0]),
        (np.dstack([RGB16, ALPHA16]), [2, 1, 0, 3]),
    ]:
        png = cv2.imread(str(write_image(array, tmp_path / "x.png")), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(png if order is None else png[..., order], array)
        np.testing.assert_array_equal(tifffile.imread(write_image(array, tmp_path / "x.tif")), array)


def test_pillow_reads_the_same_8_bits(tmp_path):
    for picture in PICTURES[:4]:
        for suffix in ("png", "tif"):
            with Image.open(write_image(picture, tmp_path / f"x.{suffix}")) as image:
                np.testing.assert_array_equal(np.asarray(image), np.asarray(picture))


def test_webp_is_lossless_at_quality_100(tmp_path):
    picture = Picture(RGB, ALPHA)
    again = read_image(write_image(picture, tmp_path / "x.webp", quality=100))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(picture))
    small = write_image(PHOTO, tmp_path / "small.webp", quality=30).stat().st_size
    assert small < write_image(PHOTO, tmp_path / "large.webp", quality=95).stat().st_size


def test_bmp_keeps_8_bits(tmp_path):
    for array in (GREY, RGB):
        np.testing.assert_array_equal(read_image(write_image(array, tmp_path / "x.bmp")).pixels, array)


def test_jpeg_is_close_has_no_subsampling_and_keeps_grey(tmp_path):
    path = write_image(PHOTO, tmp_path / "x.jpeg")
    with Image.open(path) as image:
        assert [(part[1], part[2]) for part in image.layer] == [(1, 1)] * 3
    assert np.abs(read_image(path).pixels.astype(int) - PHOTO).mean() < 2  # quality 95 of a smooth picture
    assert read_image(write_image(PHOTO[..., :1], tmp_path / "g.jpg")).pixels.shape[2] == 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("pixels", [PHOTO, PHOTO[..., :1].copy()])
def test_profile_and_exif_are_carried(tmp_path, suffix, pixels):
    icc = SRGB if pixels.shape[2] == 3 else None
    source = read_image(Picture(pixels, metadata=Metadata(icc=icc)).to_pil())
    picture = Picture(source.pixels, None, Metadata(icc=icc, exif=exif(1)[6:]))
    path = write_image(picture, tmp_path / f"x.{suffix}")
    with Image.open(path) as image:
        assert image.info.get("icc_profile") == icc
        block = image.getexif()
        assert block[0x0112] == 1
        assert block[0x010F] == "Maker"
        assert block.get_ifd(IFD.Exif)[0x9003] == "2001:02:03 04:05:06"
        assert block.get_ifd(IFD.Exif)[0x927C] == b"maker note"
        assert block.get_ifd(IFD.GPSInfo)[2] == (1.0, 2.0, 3.0)
        assert block.get_ifd(IFD.Interop) == {1: "R98"}
        assert block.get_ifd(IFD.IFD1) == {}
    again = read_image(path)
    assert (again.icc, again.exif) == (icc, read_image(write_image(again, tmp_path / f"y.{suffix}")).exif)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_keep_profile_and_exif(tmp_path, suffix):
    picture = Picture(RGB16, ALPHA16, Metadata(icc=SRGB, exif=exif(1)[6:]))
    again = read_image(write_image(picture, tmp_path / f"x.{suffix}"))
    assert again.icc == SRGB
    block = Image.Exif()
    block.load(again.exif)
    assert block.get_ifd(IFD.GPSInfo)[2] == (1.0, 2.0, 3.0)


def test_turned_photograph_is_written_upright_once(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, "JPEG", exif=exif(6), quality=100)
    picture = read_image(buffer.getvalue())
    for suffix in ("png", "jpg", "webp", "tif"):
        path = write_image(picture, tmp_path / f"x.{suffix}")
        assert Image.open(path).size == picture.size == (48, 64)
        assert read_image(path).size == (48, 64)


@pytest.mark.parametrize("suffix", ["jpg", "bmp"])
def test_transparency_is_laid_on_white_with_a_warning(tmp_path, suffix):
    alpha = np.zeros((9, 13), np.uint8)
    alpha[:, :6] = 255
    picture = Picture(np.zeros((9, 13, 3), np.uint8), alpha, name="logo")
    with pytest.warns(ImageWarning, match="'logo'.*no transparency"):
        path = write_image(picture, tmp_path / f"x.{suffix}", quality=100)
    pixels = read_image(path).pixels
    assert pixels[:, :4].max() < 20  # JPEG rings at the edge between 5 and 6
    assert pixels[:, 8:].min() > 235


@pytest.mark.parametrize("suffix", ["jpg", "webp", "bmp"])
def test_16_bits_are_rounded_to_8_with_a_warning(tmp_path, suffix):
    array = np.full((8, 8, 3), 40_000, np.uint16)
    with pytest.warns(ImageWarning, match="16 were rounded"):
        path = write_image(array, tmp_path / f"x.{suffix}", quality=100)
    assert np.abs(read_image(path).pixels.astype(int) - round(40_000 / 257)).max() <= 1


def test_exif_too_large_for_jpeg_is_left_behind_with_a_warning(tmp_path):
    picture = Picture(PHOTO, metadata=Metadata(exif=exif(1, t37510=b"x" * 70_000)[6:]))
    with pytest.warns(ImageWarning, match="64 KB"):
        path = write_image(picture, tmp_path / "x.jpg")
    assert read_image(path).exif is None
    assert len(read_image(write_image(picture, tmp_path / "x.png")).exif) > 70_000


def test_sources_of_every_kind(tmp_path):
    floats = (RGB / 255).astype(np.float32)
    tensor = torch.from_numpy(floats).permute(2, 0, 1)
    for image in (RGB, floats, tensor, tensor[None], Image.fromarray(RGB), Picture(RGB)):
        again = read_image(write_image(image, str(tmp_path / "x.png")))
        assert again.pixels.dtype == np.uint8
        np.testing.assert_array_equal(again.pixels, RGB)
    overshoot = write_image(np.array([[-0.2, 0.5, 1.2]]), tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(overshoot).pixels.ravel(), [0, 128, 255])


@pytest.mark.parametrize("name", ["x", "x.gif", "x.heic", "x.png.part"])
def test_unknown_suffix_is_refused_with_the_list(tmp_path, name):
    with pytest.raises(ImageError, match=r"\.png, \.jpg, \.jpeg, \.webp, \.tif, \.tiff, \.bmp"):
        write_image(RGB, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_out_of_range_is_refused(tmp_path, quality):
    with pytest.raises(ImageError, match="quality must be 1 to 100"):
        write_image(RGB, tmp_path / "x.jpg", quality=quality)


@pytest.mark.parametrize("name", ["ünï cødé 写真.png", "new\nline.png", "-rf.png", "x" * 250 + ".png"])
def test_any_file_name_is_written(tmp_path, name):
    write_image(RGB, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_existing_file_is_replaced_and_a_link_stays_a_link(tmp_path):
    write_image(GREY, tmp_path / "real.png")
    (tmp_path / "link.png").symlink_to("real.png")
    write_image(RGB, tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    np.testing.assert_array_equal(read_image(tmp_path / "real.png").pixels, RGB)
    assert len(list(tmp_path.iterdir())) == 2


def test_missing_folder_and_folder_in_the_way_are_errors(tmp_path):
    (tmp_path / "x.png").mkdir()
    for path, reason in [(tmp_path / "no" / "x.png", "No such file"), (tmp_path / "x.png", "Is a directory")]:
        with pytest.raises(ImageError, match=reason):
            write_image(RGB, path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_an_error(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(ImageError, match="Permission denied"):
        write_image(RGB, tmp_path / "x.png")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = write_image(GREY, tmp_path / "x.png")
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(ImageError, match=r"No space left on device.*free space"):
        write_image(RGB, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_image(RGB, tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_picture_too_large_for_webp_is_an_error(tmp_path):
    with pytest.raises(ImageError, match=r"x\.webp.*20000x1 pixels.*PNG"):
        write_image(np.zeros((1, 20_000, 3), np.uint8), tmp_path / "x.webp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_umask_is_respected(tmp_path, mask):
    before = os.umask(mask)
    try:
        path = write_image(RGB, tmp_path / "x.png")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_concurrent_writers_and_readers_see_only_whole_files(tmp_path):
    path = tmp_path / "x.png"
    arrays = [np.full((200, 200, 3), value, np.uint8) for value in range(4)]
    write_image(arrays[0], path)
    seen = []

    def write(array):
        for _ in range(15):
            write_image(array, path)
            seen.append(set(np.unique(read_image(path).pixels)))

    threads = [threading.Thread(target=write, args=[array]) for array in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 60
    assert all(len(values) == 1 for values in seen)
    assert list(tmp_path.iterdir()) == [path]
