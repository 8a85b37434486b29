"""Speed of the metrics beside their peers, in one run: 512x512 RGB, one core.

    make bench

Peers that are not installed are skipped, and say so. The claims measure the ratios in `results/metrics.md`:
processor time, the least of several rounds taken in turns, so that a busy machine disturbs both alike.
"""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure
from torchvision.models import alexnet, vgg16

from ggt_hub.metrics import Dists, Lpips, ms_ssim, niqe, psnr, ssim

CLEAN = data.astronaut()
NOISE = np.random.default_rng(0).normal(0, 20, CLEAN.shape)
POOR = np.clip(np.rint(CLEAN + NOISE), 0, 255).astype(np.uint8)
CLEAN_TENSOR, POOR_TENSOR = (
    torch.from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float32) / 255) for picture in (CLEAN, POOR)
)
PAPER = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
NIQE_MODEL = Path(__file__).parents[1] / "ggt_hub/metrics/niqe_pris_params.npz"


@pytest.fixture(autouse=True, scope="module")
def one_core():
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def piq_function(name):
    piq = pytest.importorskip("piq", reason="piq is not installed")
    return lambda: getattr(piq, name)(POOR_TENSOR, CLEAN_TENSOR, data_range=1.0)


def pyiqa_function(name, *pictures, **options):
    pyiqa = pytest.importorskip("pyiqa", reason="pyiqa is not installed (extra `iqa`)")
    metric = pyiqa.create_metric(name, device="cpu", **options)
    return lambda: metric(*pictures)


def pyiqa_niqe(folder):
    pytest.importorskip("pyiqa", reason="pyiqa is not installed (extra `iqa`)")
    import scipy.io

    model = np.load(NIQE_MODEL)
    matrices = {"mu_prisparam": model["mu_pris_param"], "cov_prisparam": model["cov_pris_param"]}
    scipy.io.savemat(folder / "niqe.mat", matrices)
    return pyiqa_function("niqe", POOR_TENSOR, pretrained_model_path=str(folder / "niqe.mat"))


FUNCTIONS = {
    ("psnr", "ours"): lambda: lambda: psnr(POOR, CLEAN),
    ("psnr", "piq"): lambda: piq_function("psnr"),
    ("ssim", "ours"): lambda: lambda: ssim(POOR, CLEAN),
    ("ssim", "ours, precise"): lambda: lambda: ssim(POOR, CLEAN, precise=True),
    ("ssim", "scikit-image"): lambda: lambda: structural_similarity(CLEAN, POOR, channel_axis=2, **PAPER),
    ("ssim", "torchmetrics"): lambda: (
        lambda: structural_similarity_index_measure(POOR_TENSOR, CLEAN_TENSOR, data_range=1.0)
    ),
    ("ssim", "piq"): lambda: piq_function("ssim"),
    ("ssim", "pyiqa"): lambda: pyiqa_function("ssimc", POOR_TENSOR, CLEAN_TENSOR),
    ("ms_ssim", "ours"): lambda: lambda: ms_ssim(POOR, CLEAN),
    ("ms_ssim", "piq"): lambda: piq_function("multi_scale_ssim"),
    ("ms_ssim", "pyiqa"): lambda: pyiqa_function("ms_ssim", POOR_TENSOR, CLEAN_TENSOR, test_y_channel=False),
    ("niqe", "ours"): lambda: lambda: niqe(POOR),
}


@pytest.mark.parametrize(("metric", "library"), FUNCTIONS, ids=lambda part: part)
def test_speed(benchmark, metric, library):
    benchmark.group = metric
    benchmark.pedantic(FUNCTIONS[metric, library](), rounds=7, warmup_rounds=1)


def test_speed_of_pyiqas_niqe(benchmark, tmp_path):
    benchmark.group = "niqe"
    benchmark.pedantic(pyiqa_niqe(tmp_path), rounds=7, warmup_rounds=1)


def least_seconds(*functions, rounds=7):
    """The least processor time of each, measured in turns."""
    seconds = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(rounds):
        for function, measured in zip(functions, seconds, strict=True):
            started = time.process_time()
            function()
            measured.append(time.process_time() - started)
    return [min(measured) for measured in seconds]


@pytest.mark.parametrize(
    ("metric", "peer", "factor"),
    [("ssim", "scikit-image", 3), ("ms_ssim", "piq", 3)],
    ids=lambda part: str(part),
)
def test_claims(metric, peer, factor):
    ours, theirs = least_seconds(FUNCTIONS[metric, "ours"](), FUNCTIONS[metric, peer]())
    print(f"{metric}: ours {1e3 * ours:.1f} ms, {peer} {1e3 * theirs:.1f} ms")
    assert theirs / ours >= factor


def test_claim_of_niqe(tmp_path):
    ours, theirs = least_seconds(lambda: niqe(POOR), pyiqa_niqe(tmp_path))
    print(f"niqe: ours {1e3 * ours:.1f} ms, pyiqa {1e3 * theirs:.1f} ms")
    assert theirs / ours >= 1.5


@pytest.mark.parametrize("name", ["lpips", "lpips-vgg", "dists"])
def test_claim_that_perceptual_metrics_cost_their_bare_backbone(name):
    network = {"lpips": lambda: Lpips("alex"), "lpips-vgg": lambda: Lpips("vgg"), "dists": Dists}[name]()
    backbone = (alexnet().features[:12] if name == "lpips" else vgg16().features[:30]).eval()
    x, y = POOR_TENSOR * 255, CLEAN_TENSOR * 255
    with torch.inference_mode():
        kept = network.features(y)
        bare, whole, cached = least_seconds(
            lambda: (backbone(x), backbone(y)),
            lambda: network(x, y),
            lambda: network.compare(network.features(x), kept),
            rounds=10 if name == "lpips" else 2,
        )
    print(
        f"{name}: backbone {1e3 * bare:.0f} ms, whole {1e3 * whole:.0f} ms, reference kept {1e3 * cached:.0f} ms"
    )
    assert whole <= 1.1 * bare
    assert cached <= 1.1 * bare / 2  # the bare backbone on one picture alone is half of `bare`
