"""The command line as a user meets it, with a small random restorer saved to a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from ggt_hub import RestorerPipeline
from ggt_hub.cli import app
from ggt_hub.data.recognising.pairing import pair_up
from ggt_hub.data.storage.archives import Member
from ggt_hub.data.storage.trees import File
from ggt_hub.degradations import Assets, replay
from ggt_hub.degradations.sheet import damage_sheet
from ggt_hub.errors import DegradationError, ImageError, RestorerError, TaskError, WriteError
from ggt_hub.images import read_image
from ggt_hub.samples import load_samples
from ggt_hub.tasks import TASKS
from tests.photographs import photograph
from tests.pipelines.tiny import tiny_pipeline, tiny_with_prior


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


def refused(*arguments: object) -> None:
    """Raises what the command raised."""
    CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


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


def test_a_quality_reaches_the_restorer_and_is_part_of_what_was_done(photos: Path, tmp_path: Path) -> None:
    tiny_with_prior().save_pretrained(tmp_path / "model")

    def status(*options: object) -> str:
        call = ("restore", photos / "a.png", "-o", tmp_path / "out", "--model", tmp_path / "model", "--json")
        (outcome,) = json.loads(ggt_hub(*call, *options).stdout)
        return outcome["status"]

    assert [status(), status("--quality", 0.9), status("--quality", 0.9)] == ["done", "done", "skipped"]
    pipe = RestorerPipeline.from_pretrained(tmp_path / "model")
    (expected,) = pipe(read_image(photos / "a.png"), quality=0.9, output_type="pil").images
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), np.asarray(expected))
    for options in (("--quality", 90), ("--set", "quality=90")):
        with pytest.raises(RestorerError, match=r"quality is 90.*not how much a JPEG"):
            refused("restore", photos, "-o", tmp_path / "no", "--model", tmp_path / "model", *options)


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
        (
            ["--set", "steps=4"],
            RestorerError,
            r"has no argument 'steps': it has .*tile, strength \(a number in 0\.\.1\)",
        ),
        (["--set", "strength"], RestorerError, "write NAME=VALUE"),
        (["--set", "strength=abc"], RestorerError, "strength takes a number"),
        (["--set", "strength=true"], RestorerError, "strength takes a number"),
        (["--set", "strength=[1"], RestorerError, "strength takes a number"),
        (["--set", "strength=.nan"], RestorerError, "give a finite number"),
        (
            ["--set", "strength=1.5"],
            RestorerError,
            r"strength is 1\.5: CompactRestorerPipeline takes a number in 0\.\.1",
        ),
        (["--set", "upscale=2.0"], RestorerError, "upscale takes a whole number"),
        (["--set", "tile=-1"], RestorerError, "tile is -1"),
        (["--quality", "0.9"], RestorerError, "has no quality prior"),
        (["--set", "image=x"], RestorerError, "has no argument 'image'"),
        (["--device", "banana"], RestorerError, "--device banana cannot be used here"),
        (["--device", "meta"], RestorerError, "--device meta cannot be used here"),
        (["--format", "gif"], ImageError, "--format gif: there are png, jpg"),
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_one_line(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RestorerError, match=r"--device cuda cannot be used here .*: try ") as caught:
        arguments = ["restore", str(photos), "-o", str(tmp_path / "out"), "--device", "cuda"]
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "\n" not in str(caught.value)


def test_numbers_as_people_write_them(model: Path, photos: Path, tmp_path: Path) -> None:
    ggt_hub("restore", photos / "a.png", "-o", tmp_path / "out", "--model", model, "--set", "strength=1e-3")
    assert json.loads((tmp_path / "out/.ggt-hub/a.png.json").read_text())["settings"]["strength"] == 0.001


def test_nothing_to_read_is_not_done_and_costs_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    arguments = (
        "restore",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "--model",
        tmp_path / "no model is loaded",
    )
    assert "there is no picture to read" in ggt_hub(*arguments, code=1).stderr
    (tmp_path / "in/a.HEIC").write_bytes(b"x")
    assert "a HEIC photograph: convert it" in ggt_hub(*arguments, code=1).stderr
    assert json.loads(ggt_hub(*arguments, "--json", code=1).stdout)[0]["status"] == "failed"
    (tmp_path / "in/a.HEIC").unlink()
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(photograph(32)).save(tmp_path / folder / "a.png")
    assert "was not made by ggt-hub" in ggt_hub(*arguments, code=1).stderr


def test_max_pixels_refuses_larger_pictures(photos: Path, tmp_path: Path) -> None:
    arguments = ("degrade", photos, "-o", tmp_path / "out", "--task", "noise", "--max-pixels", 1700)
    assert "48x48" in ggt_hub(*arguments, code=1).stderr
    assert {"a.png", "deep.png"} <= contents(tmp_path / "out").keys()


def test_what_a_format_cannot_hold_is_refused_before_the_work(model: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((1, 9000, 3), np.uint8)).save(tmp_path / "wide.png")
    arguments = ("restore", tmp_path / "wide.png", "-o", tmp_path / "out", "--model", model)
    result = ggt_hub(*arguments, "--upscale", 2, "--format", "webp", "--set", "tile=0", code=1)
    assert "18000x2 pixels do not fit into WebP" in result.stderr


def test_a_file_of_several_pictures_needs_a_choice(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((32, 32, 3), level, np.uint8)) for level in (40, 200)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    arguments = ("degrade", tmp_path / "scan.tif", "-o", tmp_path / "out", "--task", "noise", "--severity", 0)
    assert "holds 2 pages; choose one with --page 1..2" in ggt_hub(*arguments, code=1).stderr
    assert not (tmp_path / "out").exists()
    for page, level in ((1, 40), (2, 200)):
        ggt_hub(*arguments, "--page", page)
        assert abs(read_image(tmp_path / "out/scan.tif.png").pixels.mean() - level) < 5


def test_salvage_takes_what_is_there(tmp_path: Path) -> None:
    Image.fromarray(photograph(256)).save(tmp_path / "a.jpg", quality=95)
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    arguments = ("degrade", tmp_path / "a.jpg", "-o", tmp_path / "out", "--task", "noise")
    assert "--salvage" in ggt_hub(*arguments, code=1).stderr
    ggt_hub(*arguments, "--salvage")
    assert Image.open(tmp_path / "out/a.jpg.png").size == (256, 256)


def test_strip_takes_positions_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    Image.fromarray(photograph(32)).save(tmp_path / "a.jpg", exif=exif)
    for what, found in ((None, ("Maker", True)), ("gps", ("Maker", False)), ("all", (None, False))):
        options = ("--strip", what) if what else ()
        ggt_hub(
            "degrade",
            tmp_path / "a.jpg",
            "-o",
            tmp_path / "out",
            "--task",
            "noise",
            "--format",
            "jpg",
            *options,
        )
        there = Image.open(tmp_path / "out/a.jpg").getexif()
        assert (there.get(0x010F), bool(there.get_ifd(0x8825))) == found


def test_an_interrupted_run_says_what_is_done(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ggt_hub import degradations

    damage, calls = degradations.degrade, []

    def interrupted(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return damage(*arguments, **options)

    monkeypatch.setattr(degradations, "degrade", interrupted)
    result = ggt_hub("degrade", photos, "-o", tmp_path / "out", "--task", "noise", "--json", code=130)
    assert [outcome["status"] for outcome in json.loads(result.stdout)] == ["done"]
    assert "1 done, 0 finished before, 0 failed, of 3" in result.stderr


def test_what_is_lost_stands_in_the_json(model: Path, tmp_path: Path) -> None:
    Image.fromarray(np.dstack([photograph(32), photograph(32)[..., 0]])).save(tmp_path / "a.png")
    arguments = (
        "restore",
        tmp_path / "a.png",
        "-o",
        tmp_path / "out",
        "--model",
        model,
        "--format",
        "jpg",
        "--json",
    )
    for status in ("done", "skipped"):
        (outcome,) = json.loads(ggt_hub(*arguments).stdout)
        assert outcome["status"] == status
        assert any("transparency" in line for line in outcome["warnings"] + outcome["left_behind"])


@pytest.mark.parametrize(
    ("encoding", "reader"), [("utf-8", "head -c 1"), ("cp1252", "cat"), ("utf-8", "cat")]
)
def test_the_work_goes_on_whatever_becomes_of_the_words(tmp_path: Path, encoding: str, reader: str) -> None:
    """A reader that leaves (`| head`), a terminal that lacks a character, a name that is no UTF-8."""
    names = [f"{n}写真.png".encode() for n in range(3)] + [b"caf\xe9.png"]
    (tmp_path / "in").mkdir()
    for name in names:
        Image.fromarray(photograph(32)).save(tmp_path / "x.png")
        (tmp_path / "x.png").rename(tmp_path / "in" / os.fsdecode(name))
    command = f"{sys.executable} -m ggt_hub degrade in -o out --task noise --json 2>err | {reader}"
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True)
    made = sorted(os.fsencode(path.name) for path in (tmp_path / "out").glob("*.png"))
    assert made == sorted(names)
    assert "Traceback" not in (tmp_path / "err").read_text(errors="replace")
    assert "4 done" in (tmp_path / "err").read_text(errors="replace")


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tif", "bmp"])
def test_the_record_gives_the_pixels_of_the_file(photos: Path, tmp_path: Path, format: str) -> None:
    """The encoding belongs to it: JPEG and WebP change pixels by levels, BMP rounds 16 bits."""
    ggt_hub("degrade", photos, "-o", tmp_path / "out", "--preset", "mixture", "--seed", 4, "--format", format)
    for path in (tmp_path / "out").glob(f"*.{format}"):
        source = photos / path.name.removesuffix(f".{format}")
        record = json.loads(path.with_name(f"{path.name}.json").read_text())
        again = replay(source if source.exists() else photos / path.name, record)
        assert np.array_equal(np.asarray(again), np.asarray(read_image(path)))


def test_what_lies_beside_a_result_is_written_again_or_is_the_users(photos: Path, tmp_path: Path) -> None:
    arguments = ("degrade", photos / "a.png", "-o", tmp_path / "out", "--task", "noise")
    record = tmp_path / "out/a.png.json"
    ggt_hub(*arguments)
    written = record.read_bytes()
    record.unlink()
    ggt_hub(*arguments)
    assert record.read_bytes() == written
    record.write_text("mine")
    ggt_hub(*arguments)  # finished: nothing is written
    assert "was changed since" in ggt_hub(*arguments, "--seed", 1, code=1).stderr
    assert record.read_text() == "mine"
    (tmp_path / "new").mkdir()
    (tmp_path / "new/a.png.json").write_text("of another program")
    arguments = ("degrade", photos / "a.png", "-o", tmp_path / "new", "--task", "noise")
    assert "a.png.json was not made by ggt-hub" in ggt_hub(*arguments, code=1).stderr
    assert not (tmp_path / "new/a.png").exists()


def test_degraded_and_clean_pictures_are_scored_and_paired_by_name(photos: Path, tmp_path: Path) -> None:
    for name in ("b.jpg", "b.jpg.png"):  # results that would meet
        Image.fromarray(photograph(48)).save(photos / name)
    photos.rename(tmp_path / "gt")
    ggt_hub("degrade", tmp_path / "gt", "-o", tmp_path / "lq", "--task", "noise")
    assert "5 of 5 pictures" in ggt_hub("score", tmp_path / "lq", tmp_path / "gt").stdout
    members = [
        Member(path, path, File(path, 0, path))
        for path in (
            f"{f.relative_to(tmp_path)}"
            for side in ("lq", "gt")
            for f in (tmp_path / side).rglob("*.[pj][np]g")
        )
        if ".ggt-hub" not in path
    ]
    pairs = {pair.lq.path: pair.gt.path for pair in pair_up(members).pairs if pair.gt}
    assert pairs == {
        "lq/a.png": "gt/a.png",
        "lq/deep.png": "gt/deep.png",
        "lq/b.jpg.png": "gt/b.jpg",
        "lq/b.jpg.png.png": "gt/b.jpg.png",
        "lq/trip/a.jpg.png": "gt/trip/a.jpg",
    }


def test_degrade_writes_the_record_that_gives_the_bytes(photos: Path, tmp_path: Path) -> None:
    ggt_hub("degrade", photos, "-o", tmp_path / "out", "--preset", "mixture", "--seed", 4)
    names = {"a.png", "deep.png", "trip/a.jpg.png"}
    assert set(contents(tmp_path / "out")) == names | {f"{name}.json" for name in names}
    record = json.loads((tmp_path / "out/a.png.json").read_text())
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), replay(photograph(40), record))
    ggt_hub("degrade", photos / "a.png", "-o", tmp_path / "one", "--preset", "mixture", "--seed", 4)
    assert contents(tmp_path / "one")["a.png"] == contents(tmp_path / "out")["a.png"]


def test_a_preset_file_that_was_changed_is_not_finished_work(photos: Path, tmp_path: Path) -> None:
    preset = tmp_path / "my.yaml"
    arguments = ("degrade", photos / "a.png", "-o", tmp_path / "out", "--preset", preset, "--severity", 0.5)
    for sigma, said in ((4, "1 done, 0 finished"), (4, "0 done, 1 finished"), (8, "1 done, 0 finished")):
        preset.write_text(f"task: noise\nsteps: [{{family: noise, sigma: [0, {sigma}]}}]\n")
        assert said in ggt_hub(*arguments).stderr
        record = json.loads((tmp_path / "out/a.png.json").read_text())
        assert (record["preset"], record["severity"]) == ("my", 0.5)
        assert record["steps"][0]["sigma"] == sigma / 2


def test_what_0_1_wrote_may_be_replaced_by_what_is_made_of_the_same_picture(
    photos: Path, tmp_path: Path
) -> None:
    """Its receipts named a `strength` and held a `recipe`, without the hash of the file beside the picture."""
    arguments = ("degrade", photos / "a.png", "-o", tmp_path / "out", "--preset", "mixture")
    ggt_hub(*arguments)
    receipt = tmp_path / "out/.ggt-hub/a.png.json"
    content = json.loads(receipt.read_text())
    old = content | {
        "settings": {"preset": "mixture", "strength": None, "seed": 0},
        "details": {"recipe": content["details"]["record"]},
        "side_files": {},
    }
    receipt.write_text(json.dumps(old))
    before = (tmp_path / "out/a.png").read_bytes()
    assert "1 done" in ggt_hub(*arguments).stderr
    assert (tmp_path / "out/a.png").read_bytes() == before


def test_degrade_wants_one_known_name(photos: Path, tmp_path: Path) -> None:
    for options in ([], ["--preset", "fog"], ["--task", "fog"]):
        arguments = ["degrade", str(photos), "-o", str(tmp_path / "out"), *options]
        with pytest.raises(DegradationError, match="blur, noise, compression"):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
    arguments = ["degrade", str(photos), "-o", str(tmp_path / "out"), "--task", "noise", "--preset", "web"]
    with pytest.raises(TaskError, match="'noise': preset 'web' knows compression"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_preset_for_several_tasks_makes_a_folder_for_each(tmp_path: Path) -> None:
    Image.fromarray(photograph(48)).save(tmp_path / "a.png")
    (tmp_path / "two.yaml").write_text("tasks: {noise: [{family: noise}], blur: [{family: blur}]}")
    command = ["degrade", str(tmp_path / "a.png"), "--preset", str(tmp_path / "two.yaml"), "--json"]
    done = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert [Path(found["output"]).parent.name for found in json.loads(done.stdout)] == ["noise", "blur"]
    for task in ("noise", "blur"):
        record = json.loads((tmp_path / f"out/{task}/a.png.json").read_text())
        assert (record["task"], [step["family"] for step in record["steps"]]) == (task, [task])
    done = CliRunner().invoke(app, [*command, "--task", "blur", "-o", str(tmp_path / "one")])
    assert (tmp_path / "one/a.png").read_bytes() == (tmp_path / "out/blur/a.png").read_bytes()


def test_the_nine_tasks_of_realrestorer_and_one_of_them(tmp_path: Path) -> None:
    Image.fromarray(photograph(48)).save(tmp_path / "a.png")
    command = ["degrade", str(tmp_path / "a.png"), "--preset", "realrestorer", "--seed", "3", "--json"]
    done = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "all")])
    assert [Path(found["output"]).parent.name for found in json.loads(done.stdout)] == list(TASKS[:9])
    done = CliRunner().invoke(app, [*command, "--task", "haze", "-o", str(tmp_path / "haze")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "haze/a.png").read_bytes() == (tmp_path / "all/haze/a.png").read_bytes()
    record = json.loads((tmp_path / "haze/a.png.json").read_text())
    assert [step["family"] for step in record["steps"]] == ["haze"]


def test_what_was_found_is_told_in_words_and_as_numbers(model: Path, photos: Path, tmp_path: Path) -> None:
    arguments = ("restore", photos / "a.png", "-o", tmp_path / "out", "--model", model)
    assert "a.png   (found: " in ggt_hub(*arguments).stdout
    skipped = ggt_hub(*arguments, "--json").stdout
    (outcome,) = json.loads(skipped)
    findings = outcome["details"]["findings"]
    assert [set(finding) for finding in findings] == [{"name", "value", "unit", "words"}] * 4
    assert [finding["name"] for finding in findings] == [
        "noise_sigma",
        "jpeg_quality",
        "blur_sigma",
        "enlarged_by",
    ]
    assert "a.png   (found: " in ggt_hub(*arguments).stdout  # now from the receipt


def test_the_precision_reaches_the_networks_and_is_part_of_what_was_done(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    arguments = ("restore", photos / "a.png", "-o", tmp_path / "out", "--model", model)
    assert "done" in ggt_hub(*arguments).stdout
    assert "done" in ggt_hub(*arguments, "--dtype", "bfloat16").stdout
    assert "skipped" in ggt_hub(*arguments, "--dtype", "bfloat16").stdout
    expected = RestorerPipeline.from_pretrained(model, dtype=torch.bfloat16)(photos / "a.png").images[0]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), np.asarray(expected))
    refused = ["restore", str(photos), "-o", str(tmp_path / "o"), "--model", "identity", "--dtype", "float16"]
    with pytest.raises(RestorerError, match=r"identity cannot work in float16: it computes in float32$"):
        CliRunner().invoke(app, refused, catch_exceptions=False)


def test_degrade_draws_a_sheet_of_the_picture_that_it_is_given(photos: Path, tmp_path: Path) -> None:
    result = ggt_hub(
        "degrade", "--sheet", tmp_path / "sheet.png", photos / "a.png", "--task", "snow", "--seed", 3
    )
    assert "sheet.png" in result.stdout
    expected = damage_sheet(photos / "a.png", ["snow"], seed=3)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sheet.png")), np.asarray(expected))
    ggt_hub("degrade", "--sheet", tmp_path / "sheet.png", "--task", "resize")  # its own file is replaced
    shipped = next(sample.clean for sample in load_samples() if sample.name == "china")
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "sheet.png")), np.asarray(damage_sheet(shipped, ["resize"]))
    )
    (tmp_path / "mine.png").write_bytes(b"mine")
    with pytest.raises(WriteError, match=r"mine\.png is not a result of ggt-hub"):
        refused("degrade", "--sheet", tmp_path / "mine.png", "--task", "resize")
    with pytest.raises(DegradationError, match="--sheet shows one picture, not 2: name one"):
        refused("degrade", "--sheet", tmp_path / "sheet.png", photos / "a.png", photos / "deep.png")


def test_degrade_uses_the_assets_that_it_is_given(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "assets/pictures").mkdir(parents=True)
    Image.fromarray(photograph(32)).save(tmp_path / "assets/pictures/b.png")
    arguments = ("degrade", photos / "a.png", "--task", "reflection", "--severity", 0.8)
    assets = ("--assets", tmp_path / "assets")
    ggt_hub(*arguments, "-o", tmp_path / "out", *assets)
    record = json.loads((tmp_path / "out/a.png.json").read_text())
    assert record["steps"][0]["picture"]["name"] == "b.png"
    again = replay(photos / "a.png", record, assets=Assets.open(tmp_path / "assets"))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), np.asarray(again))
    assert "1 finished before" in ggt_hub(*arguments, "-o", tmp_path / "out", *assets).stderr
    Image.fromarray(photograph(30)).save(tmp_path / "assets/pictures/b.png")
    assert "1 done" in ggt_hub(*arguments, "-o", tmp_path / "out", *assets).stderr
    ggt_hub(*arguments, "-o", tmp_path / "pairs", "--pairs", *assets)
    table = pq.read_table(next((tmp_path / "pairs").rglob("*.parquet")))
    (meta,) = (json.loads(meta) for meta in table["meta"].to_pylist())
    assert meta["record"]["steps"][0]["picture"]["name"] == "b.png"


def test_degrade_wants_pictures_and_a_folder_for_them(photos: Path, tmp_path: Path) -> None:
    for arguments in (("-o", tmp_path / "out"), (photos,)):
        with pytest.raises(DegradationError, match="name the pictures, and the folder for the damaged ones"):
            refused("degrade", *arguments, "--task", "noise")
