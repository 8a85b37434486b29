"""Peers from small random checkpoints of several architectures, and the baselines."""

import importlib
from argparse import Namespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ggt_hub import RestorerPipeline
from ggt_hub.errors import RestorerError
from ggt_hub.metrics import psnr
from ggt_hub.pipelines import layouts, peers
from ggt_hub.pipelines.peers import SpandrelPipeline
from tests.metrics.golden import noisy
from tests.photographs import photograph

spandrel = pytest.importorskip("spandrel", reason="spandrel is not installed (extra `peers`)")

# module and class inside spandrel.architectures, settings, scale
NETWORKS = {
    "Real-ESRGAN": ("ESRGAN.__arch.RRDB", "RRDBNet", {"num_filters": 16, "num_blocks": 1, "scale": 4}, 4),
    "Compact": ("Compact.__arch.SRVGG", "SRVGGNetCompact", {"num_feat": 16, "num_conv": 2, "upscale": 2}, 2),
    "SwinIR": (
        "SwinIR.__arch.SwinIR",
        "SwinIR",
        {
            "embed_dim": 12,
            "depths": [2],
            "num_heads": [2],
            "window_size": 8,
            "upscale": 2,
            "upsampler": "pixelshuffle",
        },
        2,
    ),
    "NAFNet": (
        "NAFNet.__arch.NAFNet_arch",
        "NAFNet",
        {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
        1,
    ),
    "SCUNet": ("SCUNet.__arch.SCUNet", "SCUNet", {"config": [1] * 7}, 1),
}


def checkpoint(name, folder, suffix=".safetensors"):
    module, class_name, settings, _ = NETWORKS[name]
    torch.manual_seed(0)
    network = getattr(importlib.import_module(f"spandrel.architectures.{module}"), class_name)(**settings)
    state = {key: value.contiguous().clone() for key, value in network.state_dict().items()}
    path = folder / f"{name}{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"params_ema": state}, path)
    return path, network.eval()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_restores_at_its_scale_what_its_network_gives(name, suffix, tmp_path):
    path, network = checkpoint(name, tmp_path, suffix)
    pipe = RestorerPipeline.from_pretrained(path)
    scale = NETWORKS[name][3]
    assert pipe.description.upscales == (scale,)
    picture = photograph(64)
    (restored,) = pipe(picture, output_type="pt").images
    with torch.no_grad():
        pixels = torch.from_numpy(picture / np.float32(255)).permute(2, 0, 1)[None]
        expected = network(pixels).clamp(0, 1)[0]
    assert restored.shape == (3, 64 * scale, 64 * scale)
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_keeps_its_size_times_the_scale(name, tmp_path):
    path, _ = checkpoint(name, tmp_path)
    pipe, scale = RestorerPipeline.from_pretrained(path), NETWORKS[name][3]
    pictures = [photograph(64)[:37, :51], photograph(64)[:9, :1]]
    assert [image.size for image in pipe(pictures).images] == [
        (51 * scale, 37 * scale),
        (1 * scale, 9 * scale),
    ]


def test_tiles_give_what_the_whole_picture_gives_away_from_global_layers(tmp_path):
    path, _ = checkpoint("Compact", tmp_path)  # convolutions only; sees 4 pixels far
    pipe = RestorerPipeline.from_pretrained(path)
    whole, tiled = (pipe(photograph(128), tile=tile, output_type="np").images[0] for tile in (0, 96))
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_what_is_no_checkpoint_is_refused_and_no_code_in_it_runs(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    save_file({"odd.weight": torch.zeros(3)}, tmp_path / "unknown.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"damaged")
    torch.save({"params": {"x": torch.zeros(1)}, "settings": Namespace(scale=4)}, tmp_path / "settings.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "settings.pth").read_bytes()[:300])
    (tmp_path / "junk.pth").write_bytes(b"\x80\x02junk")
    for name, reason in (
        ("evil.pth", r"holds more than tensors \(\S+\), and reading that could run code: .*`torch\.save"),
        ("settings.pth", r"holds more than tensors \(argparse\.Namespace\)"),
        ("cut.pth", "cannot be read as a checkpoint"),
        ("junk.pth", "cannot be read as a checkpoint"),
        ("unknown.safetensors", "knows no architecture"),
        ("damaged.safetensors", "cannot be read as a checkpoint"),
    ):
        with pytest.raises(RestorerError, match=reason):
            RestorerPipeline.from_pretrained(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_another_upscale_and_a_prompt_are_refused(tmp_path):
    path, _ = checkpoint("Compact", tmp_path)
    pipe = RestorerPipeline.from_pretrained(path)
    with pytest.raises(RestorerError, match="cannot upscale by 3: it supports 2"):
        pipe(photograph(32), upscale=3)
    with pytest.raises(RestorerError, match="takes no prompt"):
        pipe(photograph(32), prompt="please")
    with pytest.raises(RestorerError, match="not ours to save"):
        pipe.save_pretrained(tmp_path / "copy")


def test_precisions_are_those_that_spandrel_states(tmp_path):
    path, _ = checkpoint("Compact", tmp_path)
    stated = RestorerPipeline.from_pretrained(path)
    precisions = ("float32", "bfloat16", "float16")
    assert stated.description.precisions == SpandrelPipeline.describe(path).precisions == precisions
    half = RestorerPipeline.from_pretrained(path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    expected = stated(photograph(32), output_type="np").images[0]
    # bfloat16 has 8 bits of precision, here through three layers
    np.testing.assert_allclose(half(photograph(32), output_type="np").images[0], expected, atol=0.02)
    with pytest.raises(RestorerError, match="takes no variant: that is for networks that diffusers loads"):
        RestorerPipeline.from_pretrained(path, variant="fp16")


def test_precisions_that_do_not_work_are_refused_in_words(tmp_path):
    path, _ = checkpoint("SwinIR", tmp_path)
    with pytest.raises(
        RestorerError, match="SwinIR cannot work in float16: it computes in float32, bfloat16"
    ):
        RestorerPipeline.from_pretrained(path, dtype=torch.float16)
    half = RestorerPipeline.from_pretrained(path, dtype=torch.bfloat16)  # stated, but its masks are float32
    with pytest.raises(
        RestorerError, match=r"SwinIR does not work in torch.bfloat16 \(.*\): leave out dtype"
    ):
        half(photograph(32))


def test_baselines_do_what_they_say():
    clean = photograph(128)
    poor, dark = noisy(clean, 25), (clean // 5)
    identity = RestorerPipeline.from_pretrained("identity")
    np.testing.assert_array_equal(np.asarray(identity(poor).images[0]), poor)
    for name in ("opencv:nlm", "skimage:tv", "skimage:wavelet"):
        denoised = np.asarray(RestorerPipeline.from_pretrained(name)(poor).images[0])
        assert psnr(denoised, clean)[0] > psnr(poor, clean)[0] + 2
    gain = RestorerPipeline.from_pretrained("gain")
    # some pixels saturate, so the mean stays a little below
    assert np.asarray(gain(dark).images[0]).mean() == pytest.approx(0.4 * 255, rel=0.1)
    bright = np.full((8, 8, 3), 200, np.uint8)
    np.testing.assert_array_equal(np.asarray(gain(bright).images[0]), bright)


def test_each_baseline_is_known_by_name_before_anything_is_imported():
    assert tuple(peers.BASELINES) == layouts.BASELINES


def test_a_baseline_keeps_grey_and_alpha():
    grey = Image.fromarray(photograph(32)[..., 0])
    assert RestorerPipeline.from_pretrained("opencv:nlm")(grey).images[0].mode == "L"
    clear = Image.fromarray(np.dstack([photograph(32), photograph(32)[..., 0]]))
    result = RestorerPipeline.from_pretrained("identity")(clear).images[0]
    visible = np.asarray(clear)[..., 3] > 0  # beneath nothing, colours are drawn from visible ones
    np.testing.assert_array_equal(np.asarray(result)[visible], np.asarray(clear)[visible])
    np.testing.assert_array_equal(np.asarray(result)[..., 3], np.asarray(clear)[..., 3])
