"""Models behind the page that work in steps and draw random numbers, and the GPU that ZeroGPU lends."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from PIL import Image
from typer.testing import CliRunner

import ggt_hub.demo
import spaces
from ggt_hub.cli import app
from ggt_hub.demo import Settings
from ggt_hub.demo.restore_tab import _adapted, asked, sliders, told_options
from ggt_hub.demo.restorers import Request, Restorer, load_restorers, on_gpu, short_names
from ggt_hub.errors import DemoError
from ggt_hub.images import Picture, read_image
from ggt_hub.models import QualityPrior
from ggt_hub.pipelines import RestorerPipeline
from tests.photographs import photograph
from tests.pipelines.tiny import tiny_iqpir
from tests.pipelines.tiny_dreamclear import tiny_pipeline as tiny_dreamclear
from tests.pipelines.tiny_realrestorer import tiny_pipeline

SPACE = Path(__file__).parents[2] / "spaces" / "restorer"


@pytest.fixture(scope="module")
def realrestorer(tmp_path_factory: pytest.TempPathFactory) -> Restorer:
    folder = tmp_path_factory.mktemp("models") / "RealRestorer"
    tiny_pipeline().save_pretrained(folder)
    restorer = Restorer(str(folder), Settings(time_limit=300))
    # The networks are small, and so is their working size; the page has no control for it.
    restorer.pipe = _Small(restorer.pipe)
    return restorer


class _Small:
    """A pipeline whose calls work at 64 x 64 pixels."""

    def __init__(self, pipe) -> None:
        self._pipe = pipe

    def __getattr__(self, name: str):
        return getattr(self._pipe, name)

    def __call__(self, *args, **kwargs):
        return self._pipe(*args, size_level=64, **kwargs)


def test_a_model_is_on_the_page_where_it_fits_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The card is made up: models stay where they are, and are told how large it is."""
    tiny_dreamclear(text=False).save_pretrained(tmp_path / "dreamclear")
    models = (str(tmp_path / "dreamclear"), "compact")
    placed: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        "ggt_hub.pipelines.placement.Plan.apply", lambda _, pipe, device: placed.append(device)
    )
    monkeypatch.setattr(RestorerPipeline, "to", lambda pipe, device: placed.append(f"{device}, all of it"))
    card = SimpleNamespace(total_memory=24 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    assert list(load_restorers(Settings(models=models))) == ["dreamclear", "compact"]
    assert placed == ["cuda", "cuda, all of it"]
    card.total_memory = 2 * 10**9
    assert list(load_restorers(Settings(models=models))) == ["compact"]
    assert "DreamClear does not fit into 2.0 GB" in caplog.text
    with pytest.raises(DemoError, match="fits the card: name a smaller model"):
        load_restorers(Settings(models=models[:1]))


@pytest.fixture
def picture() -> Picture:
    return read_image(np.array(photograph(64)))


def test_realrestorer_is_known_by_its_name_and_its_controls(realrestorer: Restorer) -> None:
    assert realrestorer.name == "RealRestorer"
    assert list(realrestorer.sliders) == ["num_inference_steps"]
    assert realrestorer.tasks[0] == "automatic"
    assert "reflection" in realrestorer.tasks


def test_the_page_has_the_sliders_of_all_models_and_shows_those_of_the_chosen_one(
    realrestorer: Restorer,
) -> None:
    compact = Restorer("compact", Settings())
    offered = sliders({"compact": compact, "RealRestorer": realrestorer})
    assert {name: option.slider for name, option in offered.items()} == {
        "strength": (0, 1, 0.05),
        "quality": (0, 1, 0.05),
        "num_inference_steps": (4, 50, 1),
    }

    def shown(model: Restorer) -> list[tuple[str, float]]:
        controls = _adapted(model, offered)[-len(offered) :]
        return [(one.label, one.value) for one in controls if one.visible]

    assert shown(compact) == [("Strength", 1.0), ("Quality", 0)]
    assert shown(realrestorer) == [("Num inference steps", 28)]


def test_a_slider_of_quality_is_there_with_a_prior_and_off_at_its_lowest_place(picture: Picture) -> None:
    compact = Restorer("compact", Settings())
    plain = np.asarray(compact.restore(picture, Request()).picture)
    prior = QualityPrior.of(compact.pipe.restorer)
    torch.nn.init.normal_(prior.table.weight)
    compact.pipe.register_modules(quality_prior=prior)
    option = compact.sliders["quality"]
    (quality,) = [one for one in _adapted(compact, sliders({"compact": compact})) if one.label == "Quality"]
    assert (quality.minimum, quality.value, quality.maximum) == (0, 0, 1)

    def restored(value: float) -> np.ndarray:
        told = Request(options={"quality": asked(option, value)})
        return np.asarray(compact.restore(picture, told).picture)

    assert np.array_equal(restored(0), plain) and not np.array_equal(restored(0.9), plain)


def test_each_model_understands_the_slider_of_quality_in_its_own_way(tmp_path: Path) -> None:
    """The compact one's begins at 0, which is off; IQPIR is always told a quality, and 0 would be its worst."""
    tiny_iqpir().save_pretrained(tmp_path / "faces")
    compact, faces = Restorer("compact", Settings()), Restorer(str(tmp_path / "faces"), Settings())
    for models in ({"compact": compact, "faces": faces}, {"faces": faces, "compact": compact}):
        offered = sliders(models)
        start = {name: 0 if option.default is None else option.default for name, option in offered.items()}
        assert told_options(compact, offered, {**start, "quality": 0})["quality"] is None
        assert told_options(compact, offered, {**start, "quality": 0.35})["quality"] == 0.35
        assert told_options(faces, offered, {**start, "quality": 0.35})["quality"] == 0.35
        assert told_options(faces, offered, {**start, "quality": 0})["quality"] == 0.95
        assert told_options(faces, offered, start) == {"quality": 0.95, "fidelity": 0.0}


def test_steps_and_seed_reach_realrestorer(realrestorer: Restorer, picture: Picture) -> None:
    def restored(**request) -> np.ndarray:
        request = {"seed": 1, "steps": 2} | request
        told = Request(seed=request["seed"], options={"num_inference_steps": request["steps"]})
        return np.asarray(realrestorer.restore(picture, told).picture)

    first = restored()
    assert np.array_equal(first, restored())
    assert not np.array_equal(first, restored(seed=2))
    assert not np.array_equal(first, restored(steps=3))


def test_realrestorer_has_no_strength(realrestorer: Restorer, picture: Picture) -> None:
    with pytest.raises(
        Exception, match=r"RealRestorer has no option .*strength.*: it has language \(one of en, zh"
    ):
        realrestorer.restore(picture, Request(options={"strength": 0.5}))


def test_the_duration_follows_size_and_steps(realrestorer: Restorer) -> None:
    def seconds(side: int, steps: int) -> int:
        asked = Request(options={"num_inference_steps": steps})
        return realrestorer.duration(read_image(np.zeros((side, side, 3), np.uint8)), asked)

    assert seconds(1000, 28) == 20 + 2 * 28
    assert seconds(1000, 10) == 20 + 2 * 10
    assert seconds(500, 10) == seconds(1000, 10), "small pictures are worked on at a megapixel"
    assert seconds(2000, 10) == 20 + 2 * 10 * 4
    assert seconds(2000, 50) == 300, "never more than the time limit"


def test_zero_gpu_is_asked_for_that_duration(monkeypatch: pytest.MonkeyPatch, picture: Picture) -> None:
    asked = []

    def lend(function, duration):
        return lambda *args: asked.append(duration(*args)) or function(*args)

    monkeypatch.setattr(spaces, "GPU", lend)
    restorer = Restorer("compact", Settings())
    restorer.restore(picture, Request())
    assert asked == [15]


def test_outside_of_zero_gpu_the_decorator_changes_nothing() -> None:
    def function() -> None: ...

    assert on_gpu(function, lambda: 1) is function


def test_limits_come_from_the_environment() -> None:
    settings = Settings.from_environment(
        {"GGT_HUB_MODELS": "RealRestorer/RealRestorer@v1, compact", "GGT_HUB_TIME_LIMIT": "60"}
    )
    assert settings == Settings(models=("RealRestorer/RealRestorer@v1", "compact"), time_limit=60.0)
    with pytest.raises(DemoError, match="GGT_HUB_TIME_LIMIT is 'long': give a number"):
        Settings.from_environment({"GGT_HUB_TIME_LIMIT": "long"})


def test_the_command_passes_on_what_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def serving(settings: Settings, **options: object) -> object:
        told.append((settings, options))
        return nullcontext(SimpleNamespace(block_thread=lambda: None))

    monkeypatch.setattr(ggt_hub.demo, "serving", serving)
    arguments = "app --model compact --model org/other@v1 --dataset samples --host 0.0.0.0 --port 81 --open"
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 0, result.output
    assert told == [
        (
            Settings(models=("compact", "org/other@v1"), datasets=("samples",)),
            {"server_name": "0.0.0.0", "server_port": 81, "inbrowser": True},
        )
    ]


@pytest.mark.parametrize(
    "command",
    [
        ["app.py"],
        pytest.param(
            ["-m", "ggt_hub", "app", "--dataset", "samples", "--port", "{port}"], marks=pytest.mark.slow
        ),
    ],
)
def test_space_and_command_serve_and_leave_nothing_behind(command: list[str], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = tmp_path / "files"
    files.mkdir()
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "TMPDIR": str(files)}
    environment.pop("GRADIO_TEMP_DIR", None)
    arguments = [part.format(port=port) for part in command]
    process = subprocess.Popen([sys.executable, *arguments], cwd=SPACE, env=environment)
    try:
        client = _client(f"http://127.0.0.1:{port}", process, tmp_path / "downloads")
        Image.fromarray(photograph(64)).save(tmp_path / "photo.png")
        _, file, _ = client.predict(photo=handle_file(tmp_path / "photo.png"), api_name="/restore")
        assert Image.open(file).size == (64, 64)
        assert list(files.rglob("photo.png")), "while it runs, the upload is there"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert not [path for path in files.rglob("*") if "ggt-hub-app" in str(path)]


def _client(url: str, process: subprocess.Popen, downloads: Path) -> Client:
    """A client as soon as somebody answers."""
    end = time.monotonic() + 120
    while True:
        try:
            return Client(url, verbose=False, download_files=downloads)
        except httpx.TransportError:
            assert process.poll() is None, "the server has stopped"
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.5)


def test_pictures_of_visitors_are_deleted_when_they_are_old(serve, noisy: Path, tmp_path: Path) -> None:
    with serve(keep_seconds=2) as address:
        client = Client(address, verbose=False, download_files=tmp_path)
        sent = client.predict(photo=handle_file(noisy), api_name="/degrade")
        assert sent
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        there = [path for path in folder.rglob("*photo*") if path.is_file()]
        assert there, "the upload and the result"
        end = time.monotonic() + 30
        while any(path.exists() for path in there):
            assert time.monotonic() < end, f"still there: {there}"
            time.sleep(0.5)


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["compact"], ["compact"]),
        (["compact", "org/RealRestorer@v2"], ["compact", "RealRestorer"]),
        (["compact@v1", "compact@v2"], ["compact@v1", "compact@v2"]),
        (["a/net", "b/net", "c/other"], ["a/net", "b/net", "other"]),
        (["a/net@v1", "b/net@v1"], ["a/net@v1", "b/net@v1"]),
    ],
)
def test_models_of_one_last_name_stay_apart(sources: list[str], names: list[str]) -> None:
    assert short_names(sources) == names
