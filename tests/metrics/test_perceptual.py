"""LPIPS and DISTS against torchmetrics' networks, with the same seeded random weights in both.

The published backbones are downloads of hundreds of megabytes, so none is used here; torchmetrics ships the
small published heads, and those are.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics.functional.image
from torchvision.models import alexnet, vgg16

from ggt_hub.errors import MetricError, MetricUnavailableError
from ggt_hub.metrics import METRICS, Dists, Lpips, available, compute, dists, lpips
from tests.metrics.golden import pairs, tensor

SHIPPED = Path(torchmetrics.functional.image.__file__).parent
PAIRS = pairs()
CROPS = [tuple(picture[:97, :131] for picture in PAIRS[name]) for name in ("noise 60", "chelsea darker")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder as `--weights` takes it: random backbones under the published names, and the real heads."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(alexnet().state_dict(), folder / "alexnet-owt-7be5be79.pth")
    small = {key: value for key, value in vgg16().state_dict().items() if key.startswith("features")}
    torch.save(small, folder / "vgg16-397923af.pth")
    heads = {
        "LPIPS_v0.1_alex-df73285e.pth": "lpips_models/alex.pth",
        "LPIPS_v0.1_vgg-a78928a0.pth": "lpips_models/vgg.pth",
        "DISTS_weights-f5e65c96.pth": "dists_models/weights.pt",
    }
    for name, source in heads.items():
        (folder / name).write_bytes((SHIPPED / source).read_bytes())
    return folder


def expected_lpips(net, folder, restored, gt):
    from torchmetrics.functional.image.lpips import _LPIPS

    reference = _LPIPS(pretrained=True, net=net, pnet_rand=True)
    backbone = torch.load(folder / METRICS["lpips" if net == "alex" else "lpips-vgg"].weights[0])
    ours = [value for key, value in backbone.items() if key.startswith("features")]
    for parameter, value in zip(reference.net.parameters(), ours, strict=True):
        parameter.data.copy_(value)
    return float(reference(tensor(restored) * 2 - 1, tensor(gt) * 2 - 1))


@pytest.mark.parametrize("net", ["alex", "vgg"])
@pytest.mark.parametrize("pair", CROPS, ids=["noise", "darker"])
def test_lpips_is_torchmetrics(net, pair, weights):
    expected = expected_lpips(net, weights, *pair)
    assert lpips(*pair, net=net, weights=weights)[0] == pytest.approx(expected, abs=1e-5)
    name = "lpips" if net == "alex" else "lpips-vgg"
    assert compute([name], *pair, weights=weights)[name][0] == pytest.approx(expected, abs=1e-5)


def expected_dists(folder, restored, gt, monkeypatch):
    import torchmetrics.functional.image.dists as theirs

    backbone = vgg16()
    backbone.load_state_dict(torch.load(folder / "vgg16-397923af.pth"), strict=False)
    monkeypatch.setattr(theirs, "vgg16", lambda weights: backbone)
    return float(theirs.DISTSNetwork(load_weights=True)(tensor(restored), tensor(gt)))


@pytest.mark.parametrize("pair", CROPS, ids=["noise", "darker"])
def test_dists_is_torchmetrics(pair, weights, monkeypatch):
    expected = expected_dists(weights, *pair, monkeypatch)
    assert dists(*pair, weights=weights)[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("network", [Lpips("alex"), Dists()], ids=["lpips", "dists"])
def test_kept_features_of_a_reference_give_the_same_distance(network):
    restored, gt = (tensor(picture) * 255 for picture in CROPS[0])
    kept = network.features(gt)
    with torch.no_grad():
        assert network.compare(network.features(restored), kept) == pytest.approx(network(restored, gt))
    # DISTS' variances and covariances are sums in float32
    assert float(network(gt, gt)) == pytest.approx(0, abs=1e-6)


def test_grey_and_batches_score_as_their_colour_and_single_pictures(weights):
    restored, gt = CROPS[0]
    grey = restored[..., 0], gt[..., 0]
    colour = tuple(np.repeat(plane[..., None], 3, axis=2) for plane in grey)
    assert lpips(*grey, weights=weights) == pytest.approx(lpips(*colour, weights=weights), abs=1e-7)
    batch = [torch.cat([tensor(pair[side]) for pair in CROPS]) for side in (0, 1)]
    singles = [lpips(*pair, weights=weights)[0] for pair in CROPS]
    np.testing.assert_allclose(lpips(*batch, weights=weights), singles, atol=1e-6)


def test_too_small_pictures_are_refused(weights):
    for net, smallest in (("alex", 31), ("vgg", 16)):
        fits = np.zeros((smallest, 80, 3), np.uint8)
        assert lpips(fits, fits, net=net, weights=weights)[0] == 0
        with pytest.raises(MetricError, match=f"80x{smallest - 1} is too small"):
            lpips(fits[1:], fits[1:], net=net, weights=weights)
    pixel = np.zeros((1, 1, 3), np.uint8)
    assert dists(pixel, pixel, weights=weights)[0] == pytest.approx(0, abs=1e-6)


def test_missing_or_damaged_weights_are_one_line_and_do_not_spoil_the_run(tmp_path, weights, caplog):
    (tmp_path / "alexnet-owt-7be5be79.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(MetricUnavailableError, match=r"alexnet-owt-7be5be79\.pth cannot be had"):
        lpips(*CROPS[0], weights=tmp_path)
    with pytest.raises(MetricUnavailableError, match=r"the weights vgg16-397923af\.pth cannot be had"):
        compute(["psnr", "dists", "ssim"], *CROPS[0], weights=tmp_path)
    assert available(["psnr", "dists", "ssim"], tmp_path)[0] == ["psnr", "ssim"]
    (record,) = caplog.records
    assert record.getMessage().startswith("dists is left out: the weights vgg16-397923af.pth cannot be had")
    assert "\n" not in record.getMessage()
