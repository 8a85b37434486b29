"""Pairs made of clean photographs: the same bytes whatever the workers, each row with what replays it."""

import hashlib
import io
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ggt_hub import iter_pairs, load_dataset
from ggt_hub.cli import app
from ggt_hub.data.reading.clean import find_clean
from ggt_hub.data.reading.opening import open_parts, open_splits
from ggt_hub.data.work.export import check_sums
from ggt_hub.data.work.filters import choose, parse_filters
from ggt_hub.data.work.make import Making, Wanted, make_pairs, parse_format, want_for_tasks
from ggt_hub.data.work.verify import verify
from ggt_hub.degradations import load_preset, load_presets, replay
from ggt_hub.errors import DatasetError, DegradationError
from tests.data_sets.test_export import contents
from tests.photographs import photograph


@pytest.fixture
def clean(tmp_path):
    """Three photographs of several kinds."""
    (tmp_path / "clean/b").mkdir(parents=True)
    picture = photograph(64)
    Image.fromarray(picture).save(tmp_path / "clean/a.jpg", quality=90)
    Image.fromarray(picture[::-1]).save(tmp_path / "clean/b/a.png")
    alpha = np.dstack([picture, np.full((64, 64), 200, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "clean/b/c.webp", lossless=True)
    return tmp_path / "clean"


def wanted(folder, preset):
    """Each picture once."""
    loaded = load_preset(preset)
    return [Wanted(picture.name, picture, loaded) for picture in find_clean(folder)]


@pytest.mark.parametrize("kind", ["png", "webp", "jpg"])
def test_each_row_replays_to_its_low_quality_picture(kind, clean, tmp_path):
    assert make_pairs(wanted(clean, "mixture"), Making(seed=3, format=kind), tmp_path / "out") == {}
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    raw = rows.cast_column("lq", datasets.Image(decode=False)).cast_column("gt", datasets.Image(decode=False))
    assert sorted(row["gt"]["bytes"] for row in raw) == sorted(p.read_bytes() for p in clean.rglob("*.*"))
    for row in raw:
        damaged = replay(row["gt"]["bytes"], json.loads(row["meta"])["record"])
        lq = Image.open(io.BytesIO(row["lq"]["bytes"]))
        assert (np.asarray(lq)[..., :3] == damaged.pixels).all() or kind == "jpg"
        assert row["task"] == "general"
    parts, folder = open_parts(str(tmp_path / "out"))
    assert verify(parts["train"], tmp_path / "v").problems == [] and check_sums(folder) == []


def test_the_bytes_do_not_depend_on_workers_or_on_a_repeat(clean, tmp_path, monkeypatch):
    monkeypatch.setattr("ggt_hub.data.work.make.PAIRS_IN_A_SHARD", 2)
    for name, workers in (("one", 1), ("two", 2)):
        make_pairs(wanted(clean, "noise"), Making(), tmp_path / name, workers=workers)
    tables = {
        name: {path: data for path, data in contents(tmp_path / name).items() if path.endswith(".parquet")}
        for name in ("one", "two")
    }
    assert tables["one"] == tables["two"] and len(tables["one"]) == 2
    before = contents(tmp_path / "one")
    make_pairs(wanted(clean, "noise"), Making(), tmp_path / "one")
    assert contents(tmp_path / "one") == before
    make_pairs(wanted(clean, "noise"), Making(seed=1), tmp_path / "one")
    assert contents(tmp_path / "one") != before


def test_a_bad_picture_is_listed_and_the_others_are_made(clean, tmp_path):
    (clean / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    (clean / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    outcome = CliRunner().invoke(
        app,
        ["degrade", str(clean), "-o", str(tmp_path / "out"), "--task", "noise", "--pairs"],
        env={"COLUMNS": "200"},
    )
    assert outcome.exit_code == 1
    assert "left out: bad.png: " in outcome.output
    assert "photo.heic" in outcome.output
    assert "3 pairs, 1 pictures left out" in outcome.output
    assert len(list(iter_pairs(open_splits(str(tmp_path / "out"))["train"]))) == 3


def test_damage_that_touches_the_ground_truth_says_which_file_its_record_is_for(clean, tmp_path):
    """lq is a third as wide and high, so gt is cut to a multiple; a preset of one's own."""
    step = "{family: resize, enlarge: false, scale: [0.33, 0.33], down: [area]}"
    (tmp_path / "small.yaml").write_text(f"task: general\nsteps: [{step}]\n")
    small = tmp_path / "small.yaml"
    assert make_pairs(wanted(clean, small), Making(), tmp_path / "out") == {}
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    files = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in clean.rglob("*.*")}
    for row in rows:
        assert (row["lq"].size, row["gt"].size) == ((21, 21), (63, 63))
        meta = json.loads(row["meta"])
        source = files[meta["clean_sha256"]]
        np.testing.assert_array_equal(
            np.asarray(row["gt"])[..., :3], np.asarray(Image.open(source))[:63, :63, :3]
        )
        np.testing.assert_array_equal(
            np.asarray(row["lq"])[..., :3], replay(source.read_bytes(), meta["record"]).pixels
        )
    parts, folder = open_parts(str(tmp_path / "out"))
    assert verify(parts["train"], tmp_path / "v").problems == [] and check_sums(folder) == []


def test_a_preset_file_that_was_changed_makes_the_pairs_anew(clean, tmp_path):
    for sigma in (5, 5, 50):
        (tmp_path / "my.yaml").write_text(
            f"task: noise\nsteps: [{{family: noise, sigma: [{sigma}, {sigma}]}}]\n"
        )
        make_pairs(wanted(clean, tmp_path / "my.yaml"), Making(), tmp_path / "out")
        rows = iter_pairs(open_splits(str(tmp_path / "out"))["train"])
        records = [json.loads(row["meta"])["record"] for row in rows]
        assert [record["steps"][0]["sigma"] for record in records] == [sigma] * 3


def test_nothing_to_make_is_said_before_anything_is_written(clean, tmp_path):
    with pytest.raises(DegradationError, match="severity is 2"):
        make_pairs(wanted(clean, "noise"), Making(severity=2), tmp_path / "out")
    with pytest.raises(DatasetError, match="no pictures to make pairs of"):
        make_pairs([], Making(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


TWO_TASKS = """\
tasks:
  noise: [{family: noise, sigma: [20, 20], kinds: [gaussian]}]
  compression:
    - {family: blur, sigma: [1, 1], kinds: [gaussian]}
    - {family: compression, quality: [30, 30], kinds: [jpeg]}
"""


def test_each_task_has_its_number_of_pairs_and_more_are_the_same_and_more(clean, tmp_path):
    (tmp_path / "two.yaml").write_text(TWO_TASKS)
    presets, pictures = load_presets(tmp_path / "two.yaml"), find_clean(clean)
    few, many = (want_for_tasks(pictures, presets, count, seed=1) for count in (4, 7))
    assert [pair.id for pair in few[:4]] == [pair.id for pair in many[:4]]
    assert {pair.id for pair in few} <= {pair.id for pair in many}
    assert [pair.preset.task for pair in few] == ["noise"] * 4 + ["compression"] * 4
    names = [pair.clean.name for pair in few]
    assert sorted(names[:3]) == sorted(names[4:7]) == sorted(picture.name for picture in pictures)
    make_pairs(few, Making(), tmp_path / "out")
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["task"] for row in rows] == ["noise"] * 4 + ["compression"] * 4
    assert [row["tasks"] for row in rows] == [["noise"]] * 4 + [["blur", "compression"]] * 4
    assert {row["source"] for row in rows} == {"clean"}
    named = load_dataset("realrestorer", data_dir=str(tmp_path / "out"))
    assert named["train"]["id"] == rows["id"]
    card = (tmp_path / "out/README.md").read_text()
    assert "| noise | 4 |" in card and "![Some of the pairs" in card and "seed 0" in card
    assert Image.open(tmp_path / "out/pairs.png").size[0] > 4 * 64


def test_parts_made_beside_each_other_are_the_whole(clean, tmp_path, monkeypatch):
    monkeypatch.setattr("ggt_hub.data.work.make.PAIRS_IN_A_SHARD", 2)
    some = want_for_tasks(find_clean(clean), [load_preset("mixture")], 7, seed=5)
    make_pairs(some, Making(), tmp_path / "a/out", workers=2)
    for number in (2, 1):
        assert not (tmp_path / "b/out/README.md").exists()
        make_pairs(some, Making(), tmp_path / "b/out", part=(number, 2))
    whole, parts = (
        {name: data for name, data in contents(tmp_path / run).items() if "lock" not in name} for run in "ab"
    )
    assert parts == whole
    assert sum(name.endswith(".parquet") for name in whole) == 4


def test_the_ground_truth_of_a_data_set_is_clean_and_keeps_its_source(clean, tmp_path):
    """So pairs made of pictures that may not be shared cannot be pushed either."""
    make_pairs(wanted(clean, "noise"), Making(), tmp_path / "out")
    pictures = find_clean(tmp_path / "out")
    assert [picture.source for picture in pictures] == ["clean"] * 3
    assert sorted(picture.read() for picture in pictures) == sorted(
        p.read_bytes() for p in clean.rglob("*.*")
    )
    with pytest.raises(DatasetError, match="no clean pictures in nowhere: give a folder"):
        find_clean("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="it holds no photographs"):
        find_clean(tmp_path / "empty")


def test_a_name_that_is_no_unicode_is_spelt_out_and_a_link_to_nothing_is_a_picture_that_cannot_be_read(
    tmp_path,
):
    folder = tmp_path / os.fsdecode(b"photographs-\xff")
    folder.mkdir()
    (folder / os.fsdecode(b"a\xfe.png")).write_bytes(b"here")
    (folder / "b.png").symlink_to(tmp_path / "nowhere")
    there, gone = find_clean(folder)
    assert (there.name, there.source, there.read()) == ("a\\xfe.png", "photographs-\\xff", b"here")
    assert gone.version == f"{folder / 'b.png'} unreadable"
    with pytest.raises(FileNotFoundError):
        gone.read()


@pytest.mark.parametrize(
    ("text", "found"), [("png", ("png", 95)), ("webp", ("webp", 100)), ("jpeg:80", ("jpeg", 80))]
)
def test_formats(text, found):
    assert parse_format(text) == found


@pytest.mark.parametrize("text", ["gif", "jpg:0", "jpg:101", "jpg:x", ""])
def test_formats_that_are_none(text):
    with pytest.raises(DatasetError, match="--format"):
        parse_format(text)


def test_a_lossless_webp_replays_without_a_step_for_it(clean, tmp_path):
    make_pairs(wanted(clean, "noise"), Making(format="webp", quality=100), tmp_path / "out")
    for row in iter_pairs(open_splits(str(tmp_path / "out"))["train"]):
        record = json.loads(row["meta"])["record"]
        assert [step["family"] for step in record["steps"]] == ["noise"]
        np.testing.assert_array_equal(replay(row["gt"], record), row["lq"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--per-task", "2", "--shard", "3/2"], "write which part of how many"),
        ([], "say how many pairs to make, by --per-task or --count"),
        (["--count", "2"], "two.yaml has 2 tasks: give --per-task in place of --count"),
        (["--per-task", "2", "--filter", "too-smal"], "no filter 'too-smal': .*did you mean 'too-small'"),
        (["--per-task", "2", "--filter", "too-dark=x"], "the limit of too-dark must be a number"),
        (
            ["--per-task", "2", "--filter", "watermark"],
            "watermark asks a judge, and none is named: .*--judge",
        ),
        (["--per-task", "2", "--filter", "watermark=6"], "the limit of watermark is a rating above 1"),
        (["--per-task", "2", "--task", "haze"], "unknown task 'haze'.*noise, compression"),
    ],
)
def test_slips_are_told_before_anything_is_made(options, message, clean, tmp_path):
    (tmp_path / "two.yaml").write_text(TWO_TASKS)
    command = ["data", "make", str(tmp_path / "two.yaml"), "--clean", str(clean), "-o", str(tmp_path / "out")]
    outcome = CliRunner().invoke(app, [*command, *options], env={"COLUMNS": "200"})
    assert outcome.exit_code in (1, 2)
    said = f"{outcome.output} {outcome.exception}"
    assert re.search(message, " ".join(said.split()))
    assert not (tmp_path / "out").exists()


def test_filters_leave_out_and_say_why(tmp_path):
    (tmp_path / "clean").mkdir()
    good = photograph(256)
    for name, pixels in {
        "a-good": good,
        "b-again": np.clip(good.astype(int) + 3, 0, 255).astype(np.uint8),
        "c-dark": good // 16,
        "d-flat": np.full_like(good, 128),
        "e-small": good[:100],
    }.items():
        Image.fromarray(pixels).save(tmp_path / f"clean/{name}.png")
    (tmp_path / "clean/f-broken.png").write_bytes(b"no")
    limits = parse_filters(["too-small", "too-dark", "too-blurred=10", "near-duplicate"])
    left, reasons = choose(find_clean(tmp_path / "clean"), limits, tmp_path / "out")
    assert [picture.name for picture in left] == ["a-good.png"]
    assert reasons["b-again.png"] == "shows nearly what a-good.png shows"
    assert reasons["c-dark.png"].startswith("too-dark: mean brightness, in levels of 255")
    assert (
        reasons["d-flat.png"] == "too-blurred: variance of the Laplacian at a shorter side of 512 0, below 10"
    )
    assert reasons["e-small.png"] == "too-small: shorter side in pixels 100, below 256"
    assert "f-broken.png" in reasons["f-broken.png"]
    assert [p.name for p in choose(find_clean(tmp_path / "clean"), {}, tmp_path / "out")[0]][
        -1
    ] == "e-small.png"


def printed_parts() -> dict[str, list[str]]:
    """The commands of the page on many machines, for each of the four parts."""
    page = (Path(__file__).parents[2] / "docs/concepts/scale.md").read_text()
    array = re.search(r"sbatch --array=1-4 --wrap '(ggt-hub [^']*)'", page)[1]
    job = re.search(r'bash -c "pip install -q ggt-hub && cd /work && (ggt-hub [^"]*)"', page)[1]
    return {
        "slurm": [array.replace("$SLURM_ARRAY_TASK_ID", str(part)) for part in range(1, 5)],
        "jobs": [job.replace("$part", str(part)) for part in range(1, 5)],
    }


def test_the_printed_commands_for_many_machines_make_the_same_bytes(clean, tmp_path, monkeypatch):
    monkeypatch.setattr("ggt_hub.data.work.make.PAIRS_IN_A_SHARD", 2)
    whole = "ggt-hub data make mixture --clean photos --count 1000 --output made/"
    made = {}
    for name, commands in ({"one": [whole]} | printed_parts()).items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "photos").symlink_to(clean)
        monkeypatch.chdir(tmp_path / name)
        for command in commands:
            outcome = CliRunner().invoke(app, shlex.split(command.replace("1000", "9"))[1:])
            assert outcome.exit_code == 0, outcome.output
        files = contents(tmp_path / name / "made").items()
        made[name] = {file: data for file, data in files if "lock" not in file and ".ggt-hub" not in file}
    assert sum(file.endswith(".parquet") for file in made["one"]) == 5
    assert made["one"] == made["slurm"] == made["jobs"]


@pytest.mark.parametrize("tries", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_repeated_the_bytes_are_the_same(clean, tmp_path, tries):
    """A kill is the end at the n-th change of the file system, as in the tests of training."""
    program = [sys.executable, "-W", "ignore", "-c", KILLED, str(clean), str(tmp_path), str(tries)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    runs = [
        {file: data for file, data in contents(tmp_path / run / "out").items() if ".ggt-hub" not in file}
        for run in ("whole", "killed")
    ]
    assert runs[0] == runs[1] and len(runs[0]) == 8


KILLED = """
import os, random, shutil, signal, sys
from pathlib import Path
from ggt_hub.data.reading.clean import find_clean
from ggt_hub.data.work import make
from ggt_hub.degradations import load_preset

clean, root, tries = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
make.PAIRS_IN_A_SHARD = 2
wanted = make.want_for_tasks(find_clean(clean), [load_preset("noise")], 9, seed=0)

def child(output, kill_at):
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    changes = 0
    def counted(function):
        def call(*args, **kwargs):
            nonlocal changes
            changes += 1
            if changes == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call
    for name in ("rename", "replace", "unlink", "mkdir", "open"):
        setattr(os, name, counted(getattr(os, name)))
    make.make_pairs(wanted, make.Making(), output)
    (root / "changes").write_text(str(changes))
    os._exit(0)

assert child(root / "whole/out", None) == 0
changes, moments, kills = int((root / "changes").read_text()), random.Random(7), 0
assert changes > 20
while kills < tries:
    ended = child(root / "killed/out", moments.randint(1, changes // 2))
    if ended == signal.SIGKILL:
        kills += 1
    else:  # it was done before: once more from nothing
        assert ended == 0
        shutil.rmtree(root / "killed")
assert child(root / "killed/out", None) == 0
"""


WITH_WORKERS = """
import sys
from pathlib import Path
from ggt_hub.data.reading.clean import find_clean
from ggt_hub.data.work import make
from ggt_hub.degradations import load_presets

make.PAIRS_IN_A_SHARD = 2
if __name__ == "__main__":
    wanted = make.want_for_tasks(find_clean(sys.argv[1]), load_presets("realrestorer"), 2, seed=0)
    make.make_pairs(wanted, make.Making(), Path(sys.argv[2]), workers=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["alone", "with its workers"])
def test_killed_at_any_time_with_two_workers_and_repeated_the_bytes_are_the_same(kill, clean, tmp_path):
    """By the clock. Killed alone, it leaves workers behind that go on while the next call begins."""
    (tmp_path / "program.py").write_text(WITH_WORKERS)

    def start(run):
        command = [sys.executable, "-W", "ignore", tmp_path / "program.py", clean, tmp_path / run / "out"]
        here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.Popen(command, start_new_session=True, env=here)

    started = time.monotonic()
    assert start("whole").wait() == 0
    whole, moments, kills = time.monotonic() - started, random.Random(0), 0
    while kills < 20:
        process = start("killed")
        time.sleep(moments.uniform(whole / 3, whole))
        if process.poll() is None:
            kill(process.pid, signal.SIGKILL)
            kills += 1
        ended = process.wait()
        assert ended in (0, -signal.SIGKILL)
        if ended == 0:  # it was done before: once more from nothing
            shutil.rmtree(tmp_path / "killed")
    assert start("killed").wait() == 0
    runs = [
        {
            file: data
            for file, data in contents(tmp_path / run / "out").items()
            if ".ggt-hub" not in file and "lock" not in file
        }
        for run in ("whole", "killed")
    ]
    assert runs[0] == runs[1] and sum(name.endswith(".parquet") for name in runs[0]) == 9


def test_the_only_column_of_pictures_of_a_data_set_is_clean(clean, monkeypatch):
    files = sorted(clean.rglob("*.*"))
    columns = {"photo": [str(path) for path in files], "caption": ["a"] * 3}
    rows = datasets.Dataset.from_dict(columns).cast_column("photo", datasets.Image())

    def no_pairs(name):
        raise DatasetError("no columns of pairs")

    monkeypatch.setattr("ggt_hub.data.reading.clean.open_splits", no_pairs)
    monkeypatch.setattr("ggt_hub.data.reading.clean.load_dataset", lambda name: {"train": rows})
    pictures = find_clean("org/photos")
    assert [(picture.name, picture.source) for picture in pictures] == [
        (f"{number:06d}", "org/photos") for number in range(3)
    ]
    assert [picture.read() for picture in pictures] == [path.read_bytes() for path in files]
    two = rows.add_column("other", columns["photo"]).cast_column("other", datasets.Image())
    monkeypatch.setattr("ggt_hub.data.reading.clean.load_dataset", lambda name: {"train": two})
    with pytest.raises(DatasetError, match="no columns of pairs"):
        find_clean("org/photos")
