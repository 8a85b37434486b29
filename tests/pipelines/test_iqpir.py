"""IQPIR's pipeline: faces in whole photographs, aligned ones, what is around them, and what is refused."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from ggt_hub import RestorerPipeline, read_image
from ggt_hub.cli import app
from ggt_hub.errors import RestorerError
from ggt_hub.models import CodeFormer
from ggt_hub.pipelines import CompactRestorerPipeline
from ggt_hub.pipelines.faces import align, find_faces
from ggt_hub.pipelines.iqpir import IQPIRPipeline
from tests.pipelines.faces.scenes import group, portrait, small, without_faces
from tests.pipelines.tiny import tiny_iqpir

SIZES: dict[str, Any] = {
    "channels": 32,
    "multipliers": (1, 1, 1),
    "blocks": 1,
    "attention_levels": (2,),
    "code_width": 4,
    "codes": 8,
    "hq_codes": 8,
    "latent": 64,  # faces of 256 pixels
    "width": 16,
    "heads": 2,
    "layers": 1,
    "fusion_levels": (1,),
}


class Double(CodeFormer):
    """Gives what it is given, or white where `white`; remembers how it was called."""

    white = False

    def forward(self, image: Tensor, quality: Any = None, **options: Any) -> Tensor:
        self.seen = [*getattr(self, "seen", []), (tuple(image.shape), quality, options)]
        return torch.ones_like(image) if self.white else image


@pytest.fixture
def same() -> IQPIRPipeline:
    pipe = IQPIRPipeline(Double(**SIZES))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def outside(alignment: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Where a frame does not reach."""
    corners = alignment.back(
        np.array([(x, y) for x, y in ((-1, -1), (256, -1), (256, 256), (-1, 256))], float)
    )
    mask = np.zeros(shape[:2], np.uint8)
    return cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 1) == 0


def test_a_face_that_the_network_leaves_leaves_the_photograph(same: IQPIRPipeline) -> None:
    result = same(portrait(), background="none", output_type="np")
    change = 255 * np.abs(result.images[0] - portrait() / np.float32(255))
    face = find_faces(read_image(portrait()), same.detector)[0]
    alignment = align(face.points, 256)
    beyond = outside(alignment, portrait().shape)
    assert beyond.mean() > 0.8
    assert change[beyond].max() < 1e-4  # rounding of 8 bits to floats
    assert (
        change.mean() < 0.3 and np.sqrt((change[~beyond] ** 2).mean()) < 4
    )  # see the tests of the alignment
    assert [(finding.name, finding.value, finding.words) for finding in result.findings[0]] == [
        ("faces", 1, "1 face")
    ]


def test_faces_are_restored_where_they_are_in_batches(same: IQPIRPipeline) -> None:
    same.network.white = True
    picture, noses = group()
    doubled = np.concatenate([picture, picture[:, ::-1]], axis=1)
    for photograph, batches in ((picture, [4]), (doubled, [4, 4])):
        same.network.seen = []
        restored = same(photograph, background="none", output_type="np").images[0]
        assert [shape for shape, _, _ in same.network.seen] == [(count, 3, 256, 256) for count in batches]
        for x, y in np.rint(noses).astype(int):
            assert (restored[y, x] > 0.999).all()
        assert np.abs(restored - photograph / np.float32(255))[:, 400:600].max() < 1e-6  # between faces


@pytest.mark.parametrize("upscale", [1, 2, 3])
def test_the_face_of_an_enlarged_photograph_lies_where_the_face_is(same: IQPIRPipeline, upscale: int) -> None:
    same.network.white = True
    restored = same(portrait(), background="none", upscale=upscale, output_type="np").images[0]
    plain = cv2.resize(portrait(), None, fx=upscale, fy=upscale, interpolation=cv2.INTER_LINEAR)
    changed = (restored - plain / 255).sum(axis=2)
    rows, columns = np.nonzero(changed > 0.3)
    middle = (np.array([columns.mean(), rows.mean()]) + 0.5) / upscale - 0.5
    frame = align(find_faces(read_image(portrait()), same.detector)[0].points, 256)
    # Where the old face is bright the change is not seen, so the middle of what changed is not quite the frame's.
    assert np.abs(middle - frame.back(np.array([(127.5, 127.5)]))).max() < 2


def test_what_is_around_is_the_compact_restorer_s(same: IQPIRPipeline) -> None:
    compact = CompactRestorerPipeline.from_pretrained("compact")
    compact.set_progress_bar_config(disable=True)
    picture = portrait()[:240, 60:360]
    result = same(picture, upscale=2, output_type="np")
    alone = compact(picture, upscale=2, output_type="np").images[0]
    face = find_faces(read_image(picture), same.detector)[0]
    beyond = outside(align(face.points, 256).enlarged(2), alone.shape)
    assert beyond.mean() > 0.3
    assert np.array_equal(result.images[0][beyond], alone[beyond])


def test_a_photograph_without_faces_is_the_background_restorer_s_and_it_is_said(same: IQPIRPipeline) -> None:
    compact = CompactRestorerPipeline.from_pretrained("compact")
    compact.set_progress_bar_config(disable=True)
    picture = without_faces()[:200, :300]
    result = same(picture, output_type="np")
    assert np.array_equal(result.images[0], compact(picture, output_type="np").images[0])
    (finding,) = result.findings[0]
    assert (finding.name, finding.value) == ("faces", 0)
    assert finding.words == "no face, so only what is around is restored"
    kept = same(picture, background="none", output_type="np")
    assert np.array_equal(kept.images[0], picture / np.float32(255))
    assert kept.findings[0][0].words == "no face, so nothing is restored"
    assert not hasattr(same.network, "seen")


def test_a_face_of_eight_pixels_is_left_to_the_background(same: IQPIRPipeline) -> None:
    result = same(small(8)[0][:200, :300], background="none")
    assert result.findings[0][0].value == 0


def test_quality_fidelity_and_weight_reach_the_network(same: IQPIRPipeline) -> None:
    same(portrait(), background="none")
    same(portrait(), background="none", quality=0.3, fidelity=0.4, hq_weight=1.1)
    assert [call[1:] for call in same.network.seen] == [
        (0.95, {"fidelity": 0.0, "hq_weight": 0.8}),
        (0.3, {"fidelity": 0.4, "hq_weight": 1.1}),
    ]


def test_each_step_of_quality_gives_another_face() -> None:
    pipe = tiny_iqpir()
    pipe.set_progress_bar_config(disable=True)
    face = cv2.resize(portrait()[60:180, 160:280], (32, 32))

    def restored(quality: float) -> np.ndarray:
        return pipe(face, faces="aligned", quality=quality, output_type="np").images[0]

    assert np.array_equal(restored(0.91), restored(0.99))
    assert not np.array_equal(restored(0.05), restored(0.95))


def test_an_aligned_face_is_what_the_network_makes_of_the_whole_picture(same: IQPIRPipeline) -> None:
    face = cv2.resize(portrait()[60:180, 160:280], (256, 256))
    result = same(face, faces="aligned", output_type="np")
    assert np.abs(result.images[0] - face / np.float32(255)).max() < 1e-6
    large = same(cv2.resize(face, (300, 200)), faces="aligned", upscale=2, output_type="np").images[0]
    assert large.shape == (400, 600, 3)
    assert [shape for shape, _, _ in same.network.seen] == [(1, 3, 256, 256)] * 2


def test_without_a_table_of_qualities_it_is_codeformer() -> None:
    pipe = tiny_iqpir(hq_codes=None, bins=None)
    assert set(pipe.description.options) == {"fidelity", "faces", "background"}
    assert pipe.description.options["fidelity"].default == 0.5
    with pytest.raises(
        RestorerError, match="has no quality prior, so it cannot be asked for a quality: leave out"
    ):
        pipe(portrait(), quality=0.9)
    assert "fidelity" not in tiny_iqpir(fusion_levels=()).description.options


@pytest.mark.parametrize("kind", ["grey", "black and white", "alpha", "16 bit"])
def test_faces_in_pictures_of_other_kinds(same: IQPIRPipeline, kind: str, tmp_path: Path) -> None:
    grey = cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY)
    picture: np.ndarray = {
        "grey": grey,
        "black and white": np.dstack([grey] * 3),
        "alpha": np.dstack([portrait(), np.full((512, 512), 200, np.uint8)]),
        "16 bit": portrait().astype(np.uint16) * 257,
    }[kind]
    same.network.white = True
    result = same(read_image(picture), background="none")
    assert result.findings[0][0].value == 1
    found = np.asarray(result.images[0])
    assert found.shape == picture.shape
    if kind in ("grey", "black and white"):  # a face all of one brightness takes the mean of the old one
        assert np.ptp(found[120, 225].astype(int)) == 0 if kind != "grey" else True
        assert found[120, 225].max() < 200
    else:
        assert found[120, 225][:3].min() == 255
    if kind == "alpha":
        assert (found[..., 3] == 200).all()


def test_a_converted_network_restores_with_the_detector_that_ships(tmp_path: Path) -> None:
    network = tiny_iqpir().network
    torch.save({"params_ema": network.state_dict()}, tmp_path / "iqpir.pth")
    arguments = ["convert", "iqpir", str(tmp_path / "iqpir.pth"), str(tmp_path / "own"), "--heads", "2"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    loaded = RestorerPipeline.from_pretrained(tmp_path / "own")
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded, IQPIRPipeline)
    picture = portrait()[:240, 60:360]
    ours = IQPIRPipeline(network)
    ours.set_progress_bar_config(disable=True)
    given = {"background": "none", "output_type": "np"}
    assert np.array_equal(loaded(picture, **given).images[0], ours(picture, **given).images[0])
    told = CliRunner().invoke(app, ["info", str(tmp_path / "own")]).output
    assert (
        "IQPIRPipeline" in told
        and "a number in 0..1, or None; 0.95 if not given" in told
        and "trained on 32" in told
    )
    (tmp_path / "own/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(RestorerError, match=r"the network in .* cannot be loaded"):
        RestorerPipeline.from_pretrained(tmp_path / "own")


def test_the_command_takes_quality_background_and_detector(tmp_path: Path) -> None:
    pipe = tiny_iqpir()
    pipe.save_pretrained(tmp_path / "model")
    pipe.detector.save_pretrained(tmp_path / "detector")
    cv2.imwrite(str(tmp_path / "photo.png"), portrait()[:240, 60:360, ::-1])
    given = [
        "restore",
        str(tmp_path / "photo.png"),
        "--model",
        str(tmp_path / "model"),
        "--background",
        "none",
    ]

    def restored(name: str, *more: str) -> np.ndarray:
        result = CliRunner().invoke(app, [*given, "-o", str(tmp_path / name), *more])
        assert result.exit_code == 0, result.output
        assert "1 face" in result.output
        return cv2.imread(str(tmp_path / name / "photo.png"))

    best = restored("best")
    assert np.array_equal(
        best, restored("same", "--quality", "0.97", "--detector", str(tmp_path / "detector"))
    )
    assert not np.array_equal(best, restored("poor", "--quality", "0.05"))
    refused = CliRunner().invoke(
        app, [*given, "-o", str(tmp_path / "no"), "--detector", str(tmp_path / "none.onnx")]
    )
    assert "no face detector at" in str(refused.exception)
    compact = ["restore", str(tmp_path / "photo.png"), "-o", str(tmp_path / "no")]
    refused = CliRunner().invoke(app, [*compact, "--detector", str(tmp_path / "detector")])
    assert "CompactRestorerPipeline looks for no faces: leave out --detector" in str(refused.exception)


def test_the_plan_counts_faces_that_run_together_and_what_is_around() -> None:
    pipe = tiny_iqpir()

    def planned(**arguments: Any) -> float:
        return pipe.plan_memory(10**12, **({"picture": (100, 50), "background": "none"} | arguments)).device

    def bytes_of(part: Any) -> int:
        nets = [net for net in part.components.values() if isinstance(net, torch.nn.Module)]
        return sum(weight.nbytes for net in nets for weight in net.parameters())

    face, spare = 9 * 32 * 4 * 32**2, 970_000_000 + bytes_of(pipe)
    assert planned() == spare + 25 * 5000 + 4 * face
    assert planned(faces="aligned") == spare + 25 * 5000 + face
    assert planned(upscale=2) == planned() + 25 * 3 * 5000
    # Of a large one the search for faces takes more; it is in a copy of at most 2048 pixels.
    assert planned(picture=(4096, 4096)) == spare + 25 * 4096**2 + 110 * 2048**2
    compact = CompactRestorerPipeline.from_pretrained("compact")
    around = compact.plan_memory(10**12, picture=(100, 50)).device
    assert planned(background="compact") == max(planned() + bytes_of(compact), around + bytes_of(pipe))
    with pytest.raises(RestorerError, match=r"IQPIRPipeline does not fit into 0\.5 GB: it needs .* on a CPU"):
        pipe.plan_memory(5 * 10**8)


@pytest.mark.parametrize("way", ["model", "block_level", "leaf_level", "compiled"])
def test_offloading_and_compiling_give_the_same(way: str) -> None:
    pipe, cpu, face = tiny_iqpir(), torch.device("cpu"), portrait()[60:360, 60:360]
    call = {"output_type": "np", "background": "none", "quality": 0.9, "fidelity": 0.5}
    expected, (finding,) = (found[0] for found in pipe(face, **call).to_tuple())
    assert finding.value == 1
    if way == "model":
        pipe.enable_model_cpu_offload(device="cpu")
    elif way == "compiled":
        pipe.network = torch.compile(pipe.network, backend="eager")
    else:
        pipe.enable_group_offload(cpu, cpu, offload_type=way, num_blocks_per_group=1)
    assert np.array_equal(pipe(face, **call).images[0], expected)


def test_an_overflow_is_an_error(same: IQPIRPipeline) -> None:
    same.network.forward = lambda image, quality, **options: image * float("nan")
    with pytest.raises(RestorerError, match=r"overflowed \(NaN or infinite\)"):
        same(portrait(), background="none")


def test_a_detector_of_another_kind_is_used(same: IQPIRPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    from ggt_hub.pipelines import iqpir

    class Blind:
        def detect(self, pixels: np.ndarray) -> list[Any]:
            return []

    monkeypatch.setattr(iqpir, "load_detector", lambda source: Blind())
    same.use_detector("anything")
    assert same(portrait(), background="none").findings[0][0].value == 0
