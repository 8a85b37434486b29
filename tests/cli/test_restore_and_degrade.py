"""The command line as a user meets it, with a small random restorer saved to a folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from ggt_hub.cli import app
from ggt_hub.degradations import replay
from ggt_hub.errors import DegradationError, RestorerError, TaskError
from ggt_hub.images import read_image
from tests.photographs import photograph
from tests.pipelines.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    Image.fromarray(photograph(40)).save(folder / "a.png")
    Image.fromarray(photograph(48)).save(folder / "trip" / "a.jpg", quality=90)
    Image.fromarray(photograph(32)[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    return folder


def ggt_hub(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".ggt-hub" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_restore_keeps_folders_formats_and_depth(model: Path, photos: Path, tmp_path: Path) -> None:
    ggt_hub("restore", photos, "-o", tmp_path / "out", "--model", model)
    assert set(contents(tmp_path / "out")) == {"a.png", "deep.png", "trip/a.jpg"}
    assert Image.open(tmp_path / "out/a.png").size == (40, 40)
    assert read_image(tmp_path / "out/deep.png").pixels.dtype == np.uint16
    expected = tiny_pipeline()(photos / "a.png").images[0]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), np.asarray(expected))


def test_resuming_gives_the_bytes_of_one_run(model: Path, photos: Path, tmp_path: Path) -> None:
    ggt_hub("restore", photos, "-o", tmp_path / "whole", "--model", model)
    ggt_hub("restore", photos / "trip", "-o", tmp_path / "parts" / "trip", "--model", model)
    (tmp_path / "parts/trip/.ggt-hub").rename(tmp_path / "records")
    (tmp_path / "parts/.ggt-hub").mkdir()
    (tmp_path / "records").rename(tmp_path / "parts/.ggt-hub/trip")
    ggt_hub("restore", photos, "-o", tmp_path / "parts", "--model", model)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    second = json.loads(
        ggt_hub("restore", photos, "-o", tmp_path / "parts", "--model", model, "--json").stdout
    )
    assert [outcome["status"] for outcome in second] == ["skipped"] * 3


def test_another_setting_or_model_means_working_again(model: Path, photos: Path, tmp_path: Path) -> None:
    def statuses(*options: object) -> set[str]:
        result = ggt_hub("restore", photos, "-o", tmp_path / "out", "--json", *options)
        return {outcome["status"] for outcome in json.loads(result.stdout)}

    assert statuses("--model", model) == {"done"}
    assert statuses("--model", model, "--set", "strength=0.5") == {"done"}
    assert statuses("--model", model, "--set", "strength=0.5") == {"skipped"}
    tiny_pipeline(seed=9).save_pretrained(tmp_path / "other")
    assert statuses("--model", tmp_path / "other", "--set", "strength=0.5") == {"done"}


def test_options_reach_the_call(model: Path, photos: Path, tmp_path: Path) -> None:
    options = ("--upscale", 2, "--tile", 32, "--task", "noise", "--format", "webp")
    ggt_hub("restore", photos / "a.png", "-o", tmp_path / "out", "--model", model, *options)
    assert Image.open(tmp_path / "out/a.png.webp").size == (80, 80)
    ggt_hub("restore", photos / "a.png", "-o", tmp_path / "zero", "--model", model, "--set", "strength=0")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "zero/a.png")), photograph(40))


def test_a_bad_file_is_listed_and_the_exit_code_says_so(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:300])
    result = ggt_hub("restore", photos, "-o", tmp_path / "out", "--model", model, code=1)
    assert "3 done, 0 finished before, 1 failed, of 4" in result.stderr
    assert "broken.png" in result.stderr
    assert len(contents(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (["--task", "haze"], TaskError, "unknown task 'haze': CompactRestorerPipeline knows"),
        (["--upscale", "7"], RestorerError, "cannot upscale by 7"),
        (["--set", "steps=4"], RestorerError, "has no argument 'steps': it has task, prompt, strength"),
        (["--set", "strength"], RestorerError, "write NAME=VALUE"),
        (["--model", "compcat"], RestorerError, "no restorer at 'compcat'"),
    ],
)
def test_wrong_options_stop_before_any_picture(
    options: list[str], error: type[Exception], match: str, model: Path, photos: Path, tmp_path: Path
) -> None:
    arguments = ["restore", str(photos), "-o", str(tmp_path / "out"), "--model", str(model), *options]
    with pytest.raises(error, match=match):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_degrade_writes_the_recipe_that_gives_the_bytes(photos: Path, tmp_path: Path) -> None:
    ggt_hub("degrade", photos, "-o", tmp_path / "out", "--preset", "mixture", "--seed", 4)
    names = {"a.png", "deep.png", "trip/a.jpg.png"}
    assert set(contents(tmp_path / "out")) == names | {f"{name}.json" for name in names}
    recipe = json.loads((tmp_path / "out/a.png.json").read_text())
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), replay(photograph(40), recipe))
    ggt_hub("degrade", photos / "a.png", "-o", tmp_path / "one", "--preset", "mixture", "--seed", 4)
    assert contents(tmp_path / "one")["a.png"] == contents(tmp_path / "out")["a.png"]


def test_degrade_wants_one_known_name(photos: Path, tmp_path: Path) -> None:
    for options in ([], ["--task", "noise", "--preset", "web"], ["--preset", "fog"]):
        arguments = ["degrade", str(photos), "-o", str(tmp_path / "out"), *options]
        with pytest.raises(DegradationError, match="blur, noise, compression"):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
