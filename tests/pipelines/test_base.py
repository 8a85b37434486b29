"""The contract of all restorers: loading, arguments, generators, forms of pictures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ggt_hub import RestorerPipeline
from ggt_hub.errors import HubError, ImageError, RestorerError, TaskError
from ggt_hub.images import Picture
from ggt_hub.pipelines import CompactRestorerPipeline, PictureByPicture, RestorerDescription, layouts
from ggt_hub.pipelines.layouts import LAYOUTS, Layout
from ggt_hub.pipelines.picture_by_picture import Call
from tests.photographs import photograph
from tests.pipelines.tiny import tiny_pipeline
from tests.servers.local_hub import LocalHub


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tiny_pipeline().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def restored(pipe: RestorerPipeline) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    return pipe(photograph(64), output_type="np").images[0]


def test_saving_and_loading_is_exact_and_gives_the_right_class(saved: Path) -> None:
    loaded = RestorerPipeline.from_pretrained(saved)
    assert type(loaded) is CompactRestorerPipeline
    assert np.array_equal(restored(loaded), restored(tiny_pipeline()))
    again = CompactRestorerPipeline.from_pretrained(str(saved))
    assert np.array_equal(restored(again), restored(loaded))


def test_the_bundled_restorer_loads_by_name_in_float32() -> None:
    pipe = RestorerPipeline.from_pretrained("compact")
    assert type(pipe) is CompactRestorerPipeline
    assert pipe.dtype == torch.float32
    assert RestorerPipeline.from_pretrained("compact", dtype=torch.bfloat16).dtype == torch.bfloat16


def test_revisions_of_a_repository_on_the_hub(hub: LocalHub, tmp_path: Path) -> None:
    for seed, revision in ((1, "v1"), (2, "v2")):
        tiny_pipeline(seed).save_pretrained(tmp_path / revision)
        hub.add("model", "some/restorer", tmp_path / revision, tags=[revision])
    for seed, revision in ((1, "v1"), (2, "v2"), (2, None), (2, "main")):
        pipe = RestorerPipeline.from_pretrained("some/restorer", revision=revision)
        assert np.array_equal(restored(pipe), restored(tiny_pipeline(seed)))
    with pytest.raises(HubError, match="has no revision 'v3'"):
        RestorerPipeline.from_pretrained("some/restorer", revision="v3")


def test_offline_only_what_was_loaded_before(
    hub: LocalHub, saved: Path, request: pytest.FixtureRequest
) -> None:
    hub.add("model", "some/restorer", saved, tags=["v1"])
    online = RestorerPipeline.from_pretrained("some/restorer", revision="v1")
    local = RestorerPipeline.from_pretrained("some/restorer", revision="v1", local_files_only=True)
    assert np.array_equal(restored(online), restored(local))
    request.getfixturevalue("offline")
    assert np.array_equal(
        restored(RestorerPipeline.from_pretrained("some/restorer", revision="v1")), restored(local)
    )
    with pytest.raises(HubError, match="not completely, in the local cache"):
        RestorerPipeline.from_pretrained("some/restorer", revision="v2")


def test_a_gated_and_a_missing_repository(hub: LocalHub, saved: Path) -> None:
    hub.add("model", "some/gated", saved, gated=True)
    with pytest.raises(HubError, match="gated"):
        RestorerPipeline.from_pretrained("some/gated", token=False)
    with pytest.raises(HubError, match="does not exist"):
        RestorerPipeline.from_pretrained("some/missing")


def test_a_card_alone_leads_to_the_repository_that_it_describes(
    hub: LocalHub, saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    card = tmp_path / "card"
    card.mkdir()
    (card / "README.md").write_text("---\nbase_model: authors/weights\n---\nLoads their weights.\n")
    (card / "before-after.webp").write_bytes(b"a picture")
    hub.add("model", "org/described", card, tags=["v1"])
    hub.add("model", "authors/weights", saved)
    found = RestorerPipeline.from_pretrained("org/described", revision="v1")
    assert np.array_equal(restored(found), restored(RestorerPipeline.from_pretrained(saved)))
    assert "loading authors/weights" in caplog.text
    (card / "adapter.safetensors").write_bytes(b"their own weights")
    hub.add("model", "org/adapted", card)
    with pytest.raises(RestorerError, match="is not a restorer"):
        RestorerPipeline.from_pretrained("org/adapted")


def test_what_is_not_a_restorer_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RestorerError, match=r"no restorer at 'compcat': .*ships with the package \('compact'\)"
    ):
        RestorerPipeline.from_pretrained("compcat")
    with pytest.raises(RestorerError, match=r"is not a restorer, .*: a baseline .*; .* \(model_index.json\)"):
        RestorerPipeline.from_pretrained(tmp_path)
    with pytest.raises(RestorerError, match="has no revision 'v1'"):
        RestorerPipeline.from_pretrained(saved, revision="v1")
    index = saved / "model_index.json"
    index.write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(RestorerError, match=r"holds a StableDiffusionPipeline: .* load it with diffusers"):
        RestorerPipeline.from_pretrained(saved)
    index.write_text("{")
    with pytest.raises(RestorerError, match=r"model_index\.json is not JSON"):
        RestorerPipeline.from_pretrained(saved)
    index.write_text("{}")
    with pytest.raises(RestorerError, match="is damaged"):
        RestorerPipeline.from_pretrained(saved)


class Brightened(PictureByPicture):
    """A restorer of somebody else's, in a layout of its own: one number in a file."""

    description = RestorerDescription()

    @classmethod
    def from_folder(cls, folder: Path, factor: float = 1.0) -> "Brightened":
        pipe = cls()
        pipe.amount = float((folder / "amount.txt").read_text()) * factor
        return pipe

    def restore(self, picture: Picture, call: Call) -> tuple[np.ndarray, list]:
        return np.minimum(picture.rgb() + self.amount, 1), []


def test_anybody_may_add_a_layout(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = Layout(
        "a folder with an amount", lambda place: (place / "amount.txt").is_file(), lambda place: Brightened
    )
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/amount.txt").write_text("0.2")
    hub.add("model", "org/amount", tmp_path / "theirs", tags=["v1"])
    with pytest.raises(RestorerError, match="is not a restorer"):
        RestorerPipeline.from_pretrained(tmp_path / "theirs")
    monkeypatch.setattr(layouts, "LAYOUTS", [added, *layouts.LAYOUTS])
    black = np.zeros((4, 4, 3), np.uint8)
    for source, options, level in ((tmp_path / "theirs", {}, 51), ("org/amount", {"factor": 2.0}, 102)):
        pipe = RestorerPipeline.from_pretrained(source, **options)
        assert np.asarray(pipe(black).images[0]).max() == level
    with pytest.raises(RestorerError, match="holds a Brightened, not a CompactRestorerPipeline"):
        CompactRestorerPipeline.from_pretrained(tmp_path / "theirs")
    with pytest.raises(RestorerError, match="or one of: a folder with an amount; a baseline"):
        RestorerPipeline.from_pretrained("nowhere")


def test_what_is_put_in_front_is_asked_first(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (saved / "amount.txt").write_text("0.1")
    added = Layout("theirs", lambda place: (place / "amount.txt").is_file(), lambda place: Brightened)
    for first, restorer in ((True, Brightened), (False, CompactRestorerPipeline)):
        known = [added, *LAYOUTS] if first else [*LAYOUTS, added]
        monkeypatch.setattr(layouts, "LAYOUTS", known)
        assert type(RestorerPipeline.from_pretrained(saved)) is restorer


def test_missing_truncated_or_pickled_weights_are_refused(saved: Path) -> None:
    weights = saved / "restorer" / "diffusion_pytorch_model.safetensors"
    whole, tensors = weights.read_bytes(), load_file(weights)

    def refused(match: str) -> None:
        with pytest.raises(RestorerError, match=match):
            RestorerPipeline.from_pretrained(saved)

    weights.write_bytes(whole[:-100])
    refused("Unable to load weights from checkpoint file .*restorer/diffusion_pytorch_model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if name != "head.bias"}, weights)
    refused("lacks 1 tensors of a CompactRestorer: head.bias")
    save_file(tensors | {"head.bias": torch.zeros(3)}, weights)
    refused("head.bias expected shape")
    weights.unlink()
    torch.save(tensors, weights.with_suffix(".bin"))
    refused("no file named diffusion_pytorch_model.safetensors")
    shutil.rmtree(saved / "restorer")
    refused("no file named config.json")


def test_a_list_equals_its_singles_byte_for_byte_whatever_the_sizes() -> None:
    pipe = tiny_pipeline()
    pictures = [photograph(64), photograph(50)[:31], Image.fromarray(photograph(40)).convert("L")]
    together = pipe(pictures, generator=torch.Generator().manual_seed(3)).images
    for picture, image in zip(pictures, together, strict=True):
        assert np.array_equal(np.asarray(pipe(picture).images[0]), np.asarray(image))


def test_one_generator_is_split_in_the_order_of_the_pictures() -> None:
    pipe = tiny_pipeline()

    def draws(generator: torch.Generator | list[torch.Generator], count: int) -> list[float]:
        return [torch.rand((), generator=g).item() for g in pipe.split_generators(generator, count)]

    three = draws(torch.Generator().manual_seed(5), 3)
    assert len(set(three)) == 3
    assert draws(torch.Generator().manual_seed(5), 1) == three[:1]
    own = [torch.Generator().manual_seed(i) for i in range(2)]
    assert draws(own, 2) == [
        torch.rand((), generator=torch.Generator().manual_seed(i)).item() for i in range(2)
    ]
    assert pipe.split_generators(None, 2) == [None, None]
    with pytest.raises(RestorerError, match="2 generators for 3 pictures"):
        pipe.split_generators(own, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_pil_results_keep_grey_alpha_and_size(mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(photograph(48)[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(photograph(48)).convert(mode)
    image = tiny_pipeline()(picture).images[0]
    kept = {"P": "RGB", "1": "L", "CMYK": "RGB"}
    assert image.mode == kept.get(mode, mode)
    assert image.size == picture.size
    if mode in ("RGBA", "LA"):
        assert np.array_equal(np.asarray(image)[..., -1], np.asarray(picture)[..., -1])


def test_output_types_hold_the_same_values() -> None:
    pipe = tiny_pipeline()
    array = pipe(photograph(40), output_type="np").images[0]
    tensor = pipe(photograph(40), output_type="pt").images[0]
    picture = pipe(photograph(40)).images[0]
    assert array.shape == (40, 40, 3)
    assert array.dtype == np.float32
    assert np.array_equal(tensor.numpy().transpose(1, 2, 0), array)
    assert np.array_equal(np.asarray(picture), np.rint(array * 255).astype(np.uint8))
    assert np.array_equal(pipe(photograph(40), output_type="np", return_dict=False)[0][0], array)


def test_batches_arrays_tensors_and_files_are_taken(tmp_path: Path) -> None:
    pipe, picture = tiny_pipeline(), photograph(40)
    expected = pipe(picture, output_type="np").images[0]
    Image.fromarray(picture).save(tmp_path / "a.png")
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)
    for form in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), tensor, Image.fromarray(picture)):
        assert np.array_equal(pipe(form, output_type="np").images[0], expected)
    for batch in (np.stack([picture] * 2), torch.stack([tensor] * 2), (picture, picture)):
        images = pipe(batch, output_type="np").images
        assert len(images) == 2
        assert all(np.array_equal(image, expected) for image in images)


def test_what_is_not_supported_raises_and_says_what_is() -> None:
    pipe, picture = tiny_pipeline(), photograph(16)
    with pytest.raises(
        TaskError, match="unknown task 'haze': CompactRestorerPipeline knows blur, compression"
    ):
        pipe(picture, task="haze")
    with pytest.raises(RestorerError, match="takes no prompt: tell it a task"):
        pipe(picture, prompt="make it sharp")
    with pytest.raises(RestorerError, match="cannot upscale by 8: it supports 1, 2, 3, 4"):
        pipe(picture, upscale=8)
    with pytest.raises(RestorerError, match="output_type 'jpg': choose one of pil, np, pt"):
        pipe(picture, output_type="jpg")
    with pytest.raises(RestorerError, match="strength is 2"):
        pipe(picture, strength=2)
    with pytest.raises(RestorerError, match="tile is -5"):
        pipe(picture, tile=-5)


def test_bad_pictures_raise_before_anything_runs(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    with pytest.raises(RestorerError, match="give one as the first argument"):
        pipe(None)
    with pytest.raises(RestorerError, match="empty"):
        pipe([])
    with pytest.raises(ImageError, match=r"nothing.png"):
        pipe([photograph(16), tmp_path / "nothing.png"])
    with pytest.raises(ImageError):
        pipe(object())
