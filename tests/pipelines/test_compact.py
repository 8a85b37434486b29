"""The compact restorer: what it must and must not do to pictures, with the weights that ship."""

import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ggt_hub import RestorerPipeline, metrics
from ggt_hub.degradations import degrade, replay
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.errors import RestorerError, TaskError
from ggt_hub.images import Metadata, Picture
from ggt_hub.models import Detector, ToldParts
from ggt_hub.models.compact_restorer import TASKS, told_condition
from ggt_hub.models.detector import DETECTED
from ggt_hub.pipelines.compact import CompactRestorerPipeline, alive_bytes
from ggt_hub.pipelines.findings import Finding
from tests.images.carriers import xmp
from tests.photographs import photograph
from tests.pipelines.live_bytes import peak_bytes
from tests.pipelines.tiny import tiny_pipeline, tiny_told


@pytest.fixture(scope="module")
def compact() -> RestorerPipeline:
    pipe = RestorerPipeline.from_pretrained("compact")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def damaged(picture: np.ndarray, **step: object) -> np.ndarray:
    """By one step of a preset, so that it stays the same whatever kinds a family gets."""
    return degrade(picture, parse_preset("one", {"task": "general", "steps": [step]}))[0]


def psnr(restored: object, gt: np.ndarray) -> float:
    return float(metrics.psnr([np.asarray(restored)], [gt])[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (8, 8), (9, 33), (100, 3), (37, 53)])
def test_any_size_comes_back_in_its_size(compact: RestorerPipeline, size: tuple[int, int]) -> None:
    picture = photograph(128)[: size[1], : size[0]]
    assert compact(picture).images[0].size == size
    assert compact(picture, upscale=3, task="low_light").images[0].size == (3 * size[0], 3 * size[1])


# Movement and sharp enlarging filters are left out: known limits, which the card names.
DAMAGE = {
    "noise": {"family": "noise", "kind": "gaussian", "sigma": 25.0, "seed": 1},
    "compression": {"family": "compression", "kind": "jpeg", "quality": 20, "full_colour": False},
    "blur": {"family": "blur", "kind": "gaussian", "sigma": [1.5, 1.5], "angle": 0.0},
    "resize": {"family": "resize", "scale": 0.5, "down": "area", "up": "cubic"},
}


@pytest.mark.parametrize(
    "kinds", [["noise"], ["compression"], ["blur"], ["resize"], ["blur", "noise", "compression"]]
)
def test_damage_of_each_kind_is_reduced_with_no_hint(compact: RestorerPipeline, kinds: list[str]) -> None:
    damaged = replay(photograph(256), {"steps": [DAMAGE[kind] for kind in kinds]})
    assert psnr(compact(damaged).images[0], photograph(256)) > psnr(damaged, photograph(256)) + 0.1


def test_noise_is_reduced_further_than_by_non_local_means(compact: RestorerPipeline) -> None:
    noisy = photograph(256) + np.random.default_rng(0).normal(0, 25, (256, 256, 3))
    noisy = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    best = max(
        psnr(cv2.fastNlMeansDenoisingColored(noisy, None, h, h), photograph(256))
        for h in (8.0, 11.0, 15.0, 20.0)
    )
    assert psnr(compact(noisy).images[0], photograph(256)) > best


def test_low_light_is_lifted_when_asked_and_only_then(compact: RestorerPipeline) -> None:
    dark, _ = degrade(photograph(256), "low_light", severity=0.7, seed=2)
    asked = np.asarray(compact(dark, task="low_light").images[0])
    blind = np.asarray(compact(dark).images[0])
    assert psnr(asked, photograph(256)) > psnr(dark, photograph(256)) + 5
    assert blind.mean() == pytest.approx(dark.mean(), rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_light_in_half_precision(compact: RestorerPipeline, dtype: torch.dtype) -> None:
    dark, _ = degrade(photograph(96), "low_light", severity=0.7, seed=2)
    expected = compact(dark, task="low_light", output_type="np").images[0]
    half = RestorerPipeline.from_pretrained("compact", torch_dtype=dtype)
    restored = half(dark, task="low_light", output_type="np").images[0]
    # bfloat16 has 8 bits of precision, and the curve multiplies its errors where the picture is darkest.
    assert np.abs(restored - expected).mean() < 0.01


def test_clean_pictures_are_left_alone(compact: RestorerPipeline) -> None:
    assert psnr(compact(photograph(256)).images[0], photograph(256)) > 36


def test_strength_zero_gives_the_picture_itself(compact: RestorerPipeline) -> None:
    noisy = damaged(photograph(128), family="noise", sigma=[30, 30], kinds=["gaussian"])
    half = np.asarray(compact(noisy, strength=0.5).images[0])
    assert np.array_equal(np.asarray(compact(noisy, strength=0.0).images[0]), noisy)
    assert psnr(noisy, photograph(128)) < psnr(half, photograph(128))


def test_the_damage_is_found(compact: RestorerPipeline) -> None:
    def found(picture: np.ndarray) -> dict[str, float]:
        return {finding.name: finding.value for finding in compact(picture).findings[0]}

    noisy = np.clip(photograph(256) + np.random.default_rng(0).normal(0, 25, (256, 256, 3)), 0, 255)
    assert found(noisy.astype(np.uint8))["noise_sigma"] == pytest.approx(25, abs=6)
    compressed = damaged(photograph(256), family="compression", quality=[8, 8])
    assert found(compressed)["jpeg_quality"] < 30
    assert found(cv2.GaussianBlur(photograph(256), (0, 0), 2))["blur_sigma"] > 0.8
    assert found(photograph(256))["noise_sigma"] < 4


def test_every_block_is_moved_by_the_condition(compact: RestorerPipeline) -> None:
    """A quality prior will be added to c: were a block's modulation dead, it could not act there."""
    for name, parameter in compact.restorer.named_parameters():
        if name.endswith("modulation.weight"):
            assert parameter.abs().mean() > 1e-3, name


def test_the_conditioner_is_called_in_blind_mode_and_its_output_matters(compact: RestorerPipeline) -> None:
    def push(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output + 1.0

    before = np.asarray(compact(photograph(64)).images[0])
    handle = compact.restorer.conditioner.register_forward_hook(push)
    try:
        after = np.asarray(compact(photograph(64)).images[0])
    finally:
        handle.remove()
    assert not np.array_equal(before, after)


def test_tasks_are_told_apart(compact: RestorerPipeline) -> None:
    noisy = damaged(photograph(64), family="noise", sigma=[18, 18], kinds=["gaussian"])
    results = {task: np.asarray(compact(noisy, task=task).images[0]).tobytes() for task in TASKS}
    assert results["general"] == np.asarray(compact(noisy).images[0]).tobytes()
    assert len(set(results.values())) == len(TASKS)


def test_tiles_leave_no_seams(compact: RestorerPipeline) -> None:
    noisy = damaged(photograph(512), family="noise", sigma=[24, 24], kinds=["gaussian"])
    whole = compact(noisy, tile=0, output_type="np").images[0]
    tiled = compact(noisy, tile=256, output_type="np").images[0]
    # The overlap is narrower than the receptive field (it would cost twice the time), so tiles are not exact:
    # the difference must stay far below the eye's threshold, and below one level of 255 on average.
    assert np.abs(whole - tiled).max() < 4 / 255
    assert np.abs(whole - tiled).mean() < 0.1 / 255


def test_a_tile_as_large_as_the_picture_changes_nothing() -> None:
    pipe = tiny_pipeline()
    whole = pipe(photograph(100), tile=0, output_type="np").images[0]
    assert np.array_equal(pipe(photograph(100), tile=104, output_type="np").images[0], whole)
    assert np.array_equal(pipe(photograph(100), output_type="np").images[0], whole)


def test_the_size_promised_to_users() -> None:
    network = RestorerPipeline.from_pretrained("compact").restorer
    assert sum(parameter.numel() for parameter in network.parameters()) <= 4_000_000


_PEAK = """
import resource, sys, warnings
import numpy as np
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from tests.pipelines.tiny import tiny_pipeline, tiny_told
side = int(sys.argv[1])
picture = np.zeros((side, side, 3), np.uint8)
picture[::3] = 200
tiny_pipeline()(picture, tile=512)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_follows_the_tile_not_the_picture(pytestconfig: pytest.Config) -> None:
    def peak(side: int) -> float:
        command = [sys.executable, "-c", _PEAK, str(side), str(pytestconfig.rootpath)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 2**20

    assert resource.getpagesize() > 0  # ru_maxrss counts KiB on Linux
    # 0.7 GB: three float32 copies of 4096 x 4096 x 3 are 0.6.
    assert peak(4096) - peak(1024) < 0.7


_END_TO_END = """
import resource, sys, warnings
import cv2
import numpy as np
sys.path.insert(0, sys.argv[1])
from ggt_hub import RestorerPipeline, read_image, write_image
width, height, channels, upscale, folder = *map(int, sys.argv[2:6]), sys.argv[6]
noise = np.random.default_rng(0).integers(0, 256, (height // 40, width // 40, channels), dtype=np.uint8)
source = f"{folder}/source.{'png' if channels == 4 else 'jpg'}"
if sys.argv[7] == "make":
    write_image(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), source)
    sys.exit()
pipe = RestorerPipeline.from_pretrained("compact")
# The network's own memory is that of a tile; without its work the test takes a minute instead of twelve, and the
# peak was the same.
type(pipe.restorer)._residual = lambda self, x, c: x * 0
result = pipe(read_image(source, max_pixels=2**30), upscale=upscale).images[0]
write_image(result, f"{folder}/result.png")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "channels", "upscale"), [(12_000, 9_000, 3, 1), (6_000, 4_200, 4, 2)]
)
def test_large_photographs_fit_into_six_gibibytes_from_file_to_file(
    width: int, height: int, channels: int, upscale: int, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    numbers = [str(number) for number in (width, height, channels, upscale)]
    command = [sys.executable, "-c", _END_TO_END, str(pytestconfig.rootpath), *numbers, str(tmp_path)]
    subprocess.run([*command, "make"], check=True, capture_output=True)
    done = subprocess.run([*command, "restore"], capture_output=True, text=True, check=True)
    assert int(done.stdout) / 2**20 < 6


# --- transparency and panoramas -------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [None, "low_light"])
@pytest.mark.parametrize("upscale", [None, 2])
def test_hidden_pixels_never_change_visible_ones(
    compact: RestorerPipeline, task: str | None, upscale: int | None
) -> None:
    picture = photograph(128)
    alpha = np.full((128, 128), 255, np.uint8)
    alpha[:, 64:] = 0
    alpha[:10] //= 2
    other = np.where(alpha[..., None] == 0, np.random.default_rng(0).integers(0, 256, picture.shape), picture)
    results = [
        compact(np.dstack([p, alpha]).astype(np.uint8), task=task, upscale=upscale) for p in (picture, other)
    ]
    assert np.array_equal(*(np.asarray(result.images[0]) for result in results))
    assert results[0].findings == results[1].findings


@pytest.mark.parametrize("upscale", [None, 2, 3, 4])
def test_no_dark_fringe_around_what_floats_in_black_nothing(
    compact: RestorerPipeline, upscale: int | None
) -> None:
    """A white disc with a soft edge, black where it is transparent, laid on white: it must stay white."""
    radius = np.hypot(*(np.mgrid[0:64, 0:64] - 31.5))
    alpha = np.rint(np.clip(20.5 - radius, 0, 1) * 255).astype(np.uint8)
    disc = np.dstack([np.where(alpha > 0, 255, 0)] * 3 + [alpha]).astype(np.uint8)
    result = np.asarray(compact(disc, upscale=upscale).images[0]).astype(float)
    weight = result[..., 3:] / 255
    assert (result[..., :3] * weight + 255 * (1 - weight)).min() >= 252  # 208 before the fill


def test_findings_are_those_of_the_visible_part(compact: RestorerPipeline) -> None:
    noisy, _ = degrade(photograph(256), "noise", severity=0.8, seed=3)
    alpha = np.zeros((256, 256), np.uint8)
    alpha[30:180, 40:200] = 255
    whole = compact(np.dstack([noisy, alpha])).findings
    assert whole == compact(np.ascontiguousarray(noisy[30:180, 40:200])).findings


def test_panorama_has_no_seam_where_it_wraps(compact: RestorerPipeline) -> None:
    """Turned by half a circle, what was the seam lies in the middle: both results must agree there."""
    noisy, _ = degrade(photograph(256), "noise", severity=0.8, seed=3)
    said = (
        b'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:ProjectionType="equirectangular" '
        b'GPano:FullPanoWidthPixels="256" GPano:CroppedAreaImageWidthPixels="256"'
    )

    def difference(metadata: Metadata) -> float:
        pictures = [
            Picture(np.ascontiguousarray(np.roll(noisy, shift, 1)), metadata=metadata) for shift in (0, 128)
        ]
        there, turned = (np.asarray(compact(picture).images[0]).astype(int) for picture in pictures)
        assert there.shape == noisy.shape
        turned = np.roll(turned, -128, 1)
        return float(np.abs(there - turned)[:, [0, 1, 2, -3, -2, -1]].mean())

    assert difference(Metadata(xmp=xmp(attributes=said))) < 0.5 < difference(Metadata())


def test_panorama_is_enlarged_around_its_wrap(compact: RestorerPipeline) -> None:
    said = b'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:ProjectionType="equirectangular"'
    picture = Picture(np.ascontiguousarray(photograph(128)), metadata=Metadata(xmp=xmp(attributes=said)))
    for output_type, shape in (("np", (256, 256, 3)), ("pt", (3, 256, 256))):
        assert compact(picture, upscale=2, output_type=output_type).images[0].shape == shape
    assert compact(picture, upscale=2).images[0].size == (256, 256)


# --- memory ---------------------------------------------------------------------------------------------------


def test_the_plan_counts_the_tensors_that_are_alive_at_once(compact: RestorerPipeline) -> None:
    config, side = compact.restorer.config, 128
    for dtype, expected in ((torch.float32, 252), (torch.bfloat16, 126)):
        with torch.device("meta"):
            network = type(compact.restorer).from_config(config).to(dtype)
            tile, condition = torch.empty(1, 3, side, side, dtype=dtype), torch.empty(1, 64, dtype=dtype)
            curve = torch.empty(1, 2)
        taken = peak_bytes(
            lambda n=network, t=tile, c=condition, k=curve: n(t, c, k, 1.0).clamp(0, 1), network
        )
        assert taken / side**2 == pytest.approx(expected, rel=0.001)
        assert alive_bytes(48, dtype.itemsize) == pytest.approx(expected)


def test_the_plan_follows_tile_picture_factor_and_precision(compact: RestorerPipeline) -> None:
    def planned(**arguments: object) -> float:
        return compact.plan_memory(10**11, **arguments).device / 1e6

    weights = (
        sum(p.nbytes for n in compact.components.values() if n is not None for p in n.parameters()) / 1e6
    )
    libraries, tile = 970, 2.1 * 252 * 1024**2 / 1e6
    assert planned() == pytest.approx(libraries + weights + tile + 25 * 4096**2 / 1e6, abs=0.001)
    small = {"picture": (500, 300)}
    assert planned(**small) == pytest.approx(
        libraries + weights + 2.1 * 252 * 500 * 300 / 1e6 + 25 * 0.15, abs=0.001
    )
    assert planned(upscale=2, **small) == pytest.approx(planned(picture=(1000, 600)))
    assert planned(tile=512) == pytest.approx(planned() - 0.75 * tile)
    half = RestorerPipeline.from_pretrained("compact", dtype=torch.bfloat16)
    saved = planned() - half.plan_memory(10**11).device / 1e6
    assert saved == pytest.approx((weights + tile) / 2)


def test_a_budget_that_is_too_small_is_told_what_would_do(compact: RestorerPipeline) -> None:
    least = compact.plan_memory(10**10).device
    assert compact.plan_memory(least).device == least
    with pytest.raises(
        RestorerError, match=r"does not fit into 1\.0 GB: it needs 2\.0 GB on a CPU; a smaller tile"
    ):
        compact.plan_memory(10**9)


def test_the_plan_holds_for_the_device_that_was_measured(compact: RestorerPipeline) -> None:
    plan = compact.plan_memory(10**10)
    assert str(plan) == "all on the device: 2.0 GB on the device, 0.0 GB of main memory"
    plan.apply(compact, "cpu")
    with pytest.raises(RestorerError, match="is measured on a cpu, not on cuda: leave out --memory"):
        plan.apply(compact, "cuda")


def test_told_parts_are_told_and_leave_the_blind_path_alone() -> None:
    pipe, plain = tiny_told(), tiny_pipeline()
    plain.restorer.load_state_dict(pipe.restorer.state_dict())
    assert plain.description.tasks == TASKS
    assert pipe.description.tasks == (*TASKS, "haze", "rain")
    picture = photograph(80)
    for task in (None, "noise", "low_light"):
        assert np.array_equal(*(p(picture, task=task, output_type="np").images[0] for p in (pipe, plain)))
    blind = pipe(picture, output_type="np").images[0]
    told = {task: pipe(picture, task=task, output_type="np").images[0] for task in ("rain", "haze")}
    assert all(np.abs(image - blind).max() > 0.01 for image in told.values())
    with pytest.raises(TaskError, match="unknown task 'rain'"):
        plain(picture, task="rain")


def test_what_a_told_part_gives_by_value() -> None:
    """As the networks give it for the whole picture; half of it with half the strength."""
    pipe, picture = tiny_told(), photograph(80)
    lq = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255
    for task in ("rain", "haze"):
        with torch.no_grad():
            expected = pipe.parts(lq, task, pipe.restorer, told_condition(pipe.restorer, lq)).clamp(0, 1)
        whole = pipe(picture, task=task, tile=0, output_type="pt").images[0]
        torch.testing.assert_close(whole, expected[0], rtol=0, atol=1e-6)
        half = pipe(picture, task=task, tile=0, strength=0.5, output_type="pt").images[0]
        torch.testing.assert_close(half, (lq[0] + expected[0]) / 2, rtol=0, atol=1e-6)
    tiled = pipe(picture, task="haze", tile=32, output_type="pt").images[0]
    assert torch.equal(tiled, pipe(picture, task="haze", tile=0, output_type="pt").images[0])


def test_parts_are_saved_and_loaded_with_their_restorer(tmp_path: Path) -> None:
    pipe, picture = tiny_told(), photograph(48)
    pipe.save_pretrained(tmp_path / "a")
    loaded = RestorerPipeline.from_pretrained(tmp_path / "a")
    assert loaded.description.tasks == pipe.description.tasks
    images = [p(picture, task="rain", output_type="np").images[0] for p in (pipe, loaded)]
    np.testing.assert_allclose(
        *images, atol=1e-6
    )  # convolutions add up otherwise where weights lie otherwise
    tiny_pipeline().save_pretrained(tmp_path / "b")
    assert RestorerPipeline.from_pretrained(tmp_path / "b").parts is None


def test_the_detector_says_what_it_finds_and_how_much() -> None:
    pipe = tiny_told()
    with pytest.raises(RestorerError, match="has no detector: load one that has"):
        pipe.detect(photograph(64))
    verdicts = {"haze": 0.73, "nothing": 0.0}
    detector = Detector((8, 8, 8), width=4).eval()
    pipe.register_modules(detector=detector)
    for said, severity in verdicts.items():
        logits, severities = torch.zeros(1, 10), torch.zeros(1, 9)
        if said != "nothing":
            logits[0, 1 + DETECTED.index(said)], severities[0, DETECTED.index(said)] = 3.0, severity
        detector.forward = lambda found, small, verdict=(logits, severities): verdict
        assert pipe.detect(photograph(64)) == (None if said == "nothing" else said)
        findings = pipe(photograph(64)).findings[0]
        told = pipe(photograph(64), task="haze").findings
        if said == "nothing":
            assert len(findings) == 4 and told is None
        else:
            assert findings[0] == told[0][0] == Finding("haze", 0.73, "of 1", "haze 0.7 of 1")
            assert len(findings) == 5


@pytest.mark.parametrize(("ahead", "done"), [(1.0, 1.0), (0.0, 1.0), (-2.0, 0.2384)])
def test_flare_is_removed_as_far_as_it_is_likely(ahead: float, done: float) -> None:
    """All of it from a chance of one half on; by how much its logit is ahead of nothing's, less the caution."""
    restorer = tiny_pipeline().restorer
    parts = ToldParts({"flare": 0, "haze": 0}, channels=(8, 8, 8), blocks=(1, 1, 1), width=4)
    with torch.no_grad():
        for weight in parts.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    detector = Detector((8, 8, 8), width=4, caution=1.5).eval()
    logits, severities = torch.full((1, 10), -9.0), torch.zeros(1, 9)
    logits[0, 0], logits[0, 1 + DETECTED.index("flare")] = 1.5, ahead
    detector.forward = lambda found, small: (logits, severities)
    picture = photograph(64)
    plain, careful = (
        CompactRestorerPipeline(restorer, parts),
        CompactRestorerPipeline(restorer, parts, detector),
    )
    before = picture / np.float32(255)
    for task, share in (("flare", done), ("haze", 1.0)):
        whole, part = (p(picture, task=task, output_type="np").images[0] - before for p in (plain, careful))
        np.testing.assert_allclose(part, share * whole, atol=2e-5)
        assert np.abs(whole).max() > 0.01


def test_what_told_parts_take_is_not_measured() -> None:
    pipe = tiny_told()
    told = next(task for task in pipe.parts.tasks)
    with pytest.raises(RestorerError, match="has no memory plan, since its memory is not measured"):
        pipe.plan_memory(10**10, task=told)
    assert (
        pipe.plan_memory(10**10).device > tiny_pipeline().plan_memory(10**10).device
    )  # the parts' own weights
