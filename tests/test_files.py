"""Finding inputs, naming outputs, resuming: the promises that batch users care about."""

import importlib
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ggt_hub.errors import ImageError
from ggt_hub.files import (
    Batch,
    Inputs,
    Job,
    Outcome,
    Work,
    check_output,
    find_jobs,
    fingerprint,
    is_junk,
    match_names,
    output_name,
    process,
    seed_of,
)
from ggt_hub.images import Picture


def save(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)
    return path


def relatives(inputs: Inputs) -> list[str]:
    return [job.relative.as_posix() for job in inputs.jobs]


def test_folders_are_searched_to_the_bottom_and_paths_kept(tmp_path: Path) -> None:
    for name in ("a.png", "deep/er/b.JPG", ".hidden.png", ".git/c.png", "notes.txt", "out/z.png"):
        save(tmp_path / name) if name.lower().endswith(("png", "jpg")) else (tmp_path / name).write_text("x")
    assert relatives(find_jobs([tmp_path], tmp_path / "out")) == ["a.png", "deep/er/b.JPG"]


def test_files_and_patterns(tmp_path: Path) -> None:
    for name in ("x/a.png", "x/y/b.png", "x/y/c.txt.png"):
        save(tmp_path / name)
    assert relatives(find_jobs([tmp_path / "x/y/b.png"], tmp_path / "out")) == ["b.png"]
    assert relatives(find_jobs([str(tmp_path / "x/**/*.png")], tmp_path / "out")) == [
        "a.png",
        "y/b.png",
        "y/c.txt.png",
    ]
    with pytest.raises(ImageError, match="no such file or folder, and no file matches"):
        find_jobs([tmp_path / "nothing*.png"], tmp_path / "out")


def test_a_file_named_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    save(tmp_path / "a[1].png")
    assert relatives(find_jobs([tmp_path / "a[1].png"], tmp_path / "out")) == ["a[1].png"]


def test_the_same_file_twice_is_one_job_and_equal_names_stay_apart(tmp_path: Path) -> None:
    first, second = save(tmp_path / "one/a.png"), save(tmp_path / "two/a.png", 7)
    assert relatives(find_jobs([first, tmp_path / "one", first], tmp_path / "out")) == ["a.png"]
    assert relatives(find_jobs([first, second], tmp_path / "out")) == ["a.png", "two/a.png"]


def test_outputs_of_different_inputs_never_meet() -> None:
    names = ["a.jpg", "a.png", "a.jpeg", "a.PNG", "a.tif", "a.gif"]
    for suffix in (None, "png", ".jpg", "webp"):
        outputs = [output_name(Path(name), suffix).as_posix() for name in names]
        assert len(set(outputs)) == len(names), outputs
    assert output_name(Path("d/a.jpg"), None) == Path("d/a.jpg")
    assert output_name(Path("d/a.gif"), None) == Path("d/a.gif.png")
    assert output_name(Path("a.jpg"), "png") == Path("a.jpg.png")


def test_seeds_depend_on_the_name_alone() -> None:
    seeds = {seed_of(name, run) for name in ("a", "b", "a/b") for run in range(3)}
    assert len(seeds) == 9
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of("a.png", 3) == 8781180844402307786  # as 0.1 drew it
    assert seed_of(unicodedata.normalize("NFD", "Café.png"), 1) == seed_of("Café.png", 1)


class Halve:
    """Work that halves brightness and counts how often it was asked."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, picture: Picture, job: Job) -> tuple[Picture, dict[str, Any]]:
        self.names.append(job.relative.name)
        return picture.with_rgb(picture.rgb() / 2), {"seen": job.relative.name}


def run(
    folder: Path, work: Work, settings: dict[str, Any] | None = None, overwrite: bool = False
) -> list[Outcome]:
    inputs = find_jobs([folder / "in"], folder / "out")
    batch = Batch(folder / "out", lambda job: settings or {"seed": 0}, overwrite=overwrite)
    refused = [Outcome(path, "failed", error=reason) for path, reason in inputs.refused.items()]
    return refused + list(process(inputs.jobs, work, batch))


def test_finished_work_is_not_done_again_unless_something_changed(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        save(tmp_path / "in" / name)
    assert [outcome.status for outcome in run(tmp_path, Halve())] == ["done"] * 4
    before = (tmp_path / "out/a.png").read_bytes()
    assert np.asarray(Image.open(tmp_path / "out/a.png"))[0, 0, 0] == 50

    save(tmp_path / "in/b.png", 60)  # the input changed
    (tmp_path / "out/c.png").unlink()  # the output was lost
    again = Halve()
    assert [outcome.status for outcome in run(tmp_path, again)] == ["skipped", "done", "done", "skipped"]
    assert again.names == ["b.png", "c.png"]
    assert (tmp_path / "out/a.png").read_bytes() == before

    other = Halve()
    run(tmp_path, other, {"seed": 1})
    assert len(other.names) == 4


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"")
    (tmp_path / "in/c.png").write_bytes(save(tmp_path / "in/d.png").read_bytes()[:40])
    (tmp_path / "in/e.png").symlink_to(tmp_path / "nowhere.png")
    outcomes = run(tmp_path, Halve())
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "failed", "done", "failed"]
    for outcome in outcomes:
        if outcome.status == "failed":
            assert Path(outcome.input).name in (outcome.error or "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".ggt-hub", "a.png", "d.png"]


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    picture = save(tmp_path / "a.png")
    before = picture.read_bytes()
    (refused,) = find_jobs([picture], tmp_path).refused.values()
    assert "the result would overwrite the input" in refused
    assert picture.read_bytes() == before


def test_a_fingerprint_follows_content_and_names(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/w.bin").write_bytes(b"12")
    first = fingerprint(tmp_path / "m")
    assert fingerprint(tmp_path / "m") == first
    (tmp_path / "m/w.bin").write_bytes(b"13")
    second = fingerprint(tmp_path / "m")
    (tmp_path / "m/w.bin").rename(tmp_path / "m/v.bin")
    assert len({first, second, fingerprint(tmp_path / "m")}) == 3


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder but our records, through no link."""
    paths = (path for path in folder.rglob("*") if ".ggt-hub" not in path.parts)
    return {str(path): path.read_bytes() for path in paths if path.is_file() and not path.is_symlink()}


def failures(outcomes: list[Outcome]) -> list[str]:
    return [outcome.error or "" for outcome in outcomes if outcome.status == "failed"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_user_put_into_the_output_stays(tmp_path: Path, overwrite: bool) -> None:
    """Whatever it is: a file, a link, a linked folder, a folder, and none of it costs any work."""
    for name in ("a.png", "b.png", "c/c.png", "d.png", "free.png"):
        save(tmp_path / "in" / name)
    for place in (
        save(tmp_path / "out/a.png", 1),
        save(tmp_path / "theirs/b.png", 2),
        save(tmp_path / "theirs/c.png", 3),
    ):
        assert place.exists()
    (tmp_path / "out/b.png").symlink_to(tmp_path / "theirs/b.png")
    (tmp_path / "out/c").symlink_to(tmp_path / "theirs")
    save(tmp_path / "out/d.png/inside.png", 4)
    before, work = everything(tmp_path), Halve()
    outcomes = run(tmp_path, work, overwrite=overwrite)
    assert sorted(outcome.status for outcome in outcomes) == ["done"] + ["failed"] * 4
    assert work.names == ["free.png"]
    assert all("choose another --output" in error for error in failures(outcomes))
    after = everything(tmp_path)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {str(tmp_path / "out/free.png")}


def test_a_result_that_was_edited_belongs_to_the_user(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png")
    run(tmp_path, Halve())
    save(tmp_path / "out/a.png", 9)
    for overwrite in (False, True):
        (error,) = failures(run(tmp_path, Halve(), {"seed": 7}, overwrite=overwrite))
        assert "was changed since" in error
    assert np.asarray(Image.open(tmp_path / "out/a.png"))[0, 0, 0] == 9


def test_a_result_whose_record_is_lost_or_damaged_belongs_to_the_user(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png")
    run(tmp_path, Halve())
    record = next((tmp_path / "out/.ggt-hub").rglob("*.json"))
    for content in ("", "{", "[]", json.dumps({"settings": {}})):
        record.write_text(content)
        assert "was not made by ggt-hub, as far as its records tell" in failures(run(tmp_path, Halve()))[0]


def test_the_result_of_another_picture_is_replaced_only_if_asked(tmp_path: Path) -> None:
    first, second = save(tmp_path / "one/a.png", 10), save(tmp_path / "two/a.png", 20)
    copy = tmp_path / "three/a.png"
    copy.parent.mkdir()
    copy.write_bytes(first.read_bytes())

    def restore(source: Path, seed: int = 0, overwrite: bool = False) -> Outcome:
        batch = Batch(tmp_path / "out", lambda job: {"seed": seed}, overwrite=overwrite)
        return next(iter(process(find_jobs([source], tmp_path / "out").jobs, Halve(), batch)))

    assert restore(first).status == "done"
    outcome = restore(second)
    assert (outcome.status, "--overwrite" in (outcome.error or "")) == ("failed", True)
    assert str(first) in (outcome.error or "")
    assert np.asarray(Image.open(tmp_path / "out/a.png"))[0, 0, 0] == 5
    assert restore(copy).status == "skipped"  # the same bytes are the same picture
    assert restore(first, seed=1).status == "done"  # other settings
    assert restore(second, overwrite=True).status == "done"
    assert np.asarray(Image.open(tmp_path / "out/a.png"))[0, 0, 0] == 10
    assert restore(first).status == "failed"


def test_a_kill_between_receipt_and_result_leaves_the_result_ours(tmp_path: Path, monkeypatch: Any) -> None:
    save(tmp_path / "in/a.png")
    run(tmp_path, Halve())
    from ggt_hub.files import batch

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    def invert(picture: Picture, job: Job) -> tuple[Picture, dict[str, Any]]:
        return picture.with_rgb(1 - picture.rgb()), {}

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(batch, "committed_file", killed)
        run(tmp_path, invert, {"seed": 1})
    assert [outcome.status for outcome in run(tmp_path, invert, {"seed": 1})] == ["done"]
    assert [outcome.status for outcome in run(tmp_path, invert, {"seed": 1})] == ["skipped"]


def test_records_of_0_1_stay_valid(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png")
    run(tmp_path, Halve())
    record = tmp_path / "out/.ggt-hub/a.png.json"
    known = json.loads(record.read_text())
    old = {key: known[key] for key in ("input_sha256", "settings", "output_sha256", "details")}
    record.write_text(json.dumps(old))
    assert [outcome.status for outcome in run(tmp_path, Halve())] == ["skipped"]
    assert [outcome.status for outcome in run(tmp_path, Halve(), {"seed": 1})] == ["done"]
    save(tmp_path / "in/a.png", 77)
    record.write_text(json.dumps(old | {"output_sha256": json.loads(record.read_text())["output_sha256"]}))
    assert "is the result of another picture" in failures(run(tmp_path, Halve()))[0]


def test_the_date_of_a_picture_is_kept_and_its_side_files_are_told(tmp_path: Path) -> None:
    os.utime(save(tmp_path / "in/a.png"), (1_000_000_000, 1_000_000_000))
    (tmp_path / "in/a.png.xmp").write_text("<x/>")
    (tmp_path / "in/a.png.json").write_text("{}")
    (outcome,) = run(tmp_path, Halve())
    assert (tmp_path / "out/a.png").stat().st_mtime == 1_000_000_000
    assert outcome.left_behind == ["its side file a.png.xmp", "its side file a.png.json"]


def test_adding_an_input_never_renames_the_others(tmp_path: Path) -> None:
    a, b, c = (save(tmp_path / name, k) for k, name in enumerate(("x/a.png", "y/b.png", "w/a.png")))
    out = tmp_path / "out"
    first = {job.source: job for job in find_jobs([a, b], out).jobs}
    assert {job.source: job for job in find_jobs([a, b, c], out).jobs} == first | {
        c: Job(c, Path("w/a.png"), Path("w/a.png"))
    }
    batch = Batch(out, lambda job: {})
    list(process(first.values(), Halve(), batch))
    again = {job.source: job for job in find_jobs([c, a, b], out).jobs}  # named first, yet it came later
    assert again == first | {c: Job(c, Path("w/a.png"), Path("w/a.png"))}


def test_results_that_would_meet_get_one_more_suffix(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.jpg.png"):
        save(tmp_path / "in" / name)
    jobs = find_jobs([tmp_path / "in"], tmp_path / "out", "png").jobs
    assert [job.result.as_posix() for job in jobs] == ["a.jpg.png", "a.jpg.png.png"]


@pytest.mark.parametrize(
    ("results", "sources"),
    [
        ({"a.jpg.png": "a.jpg", "b.png": "b.png"}, []),
        ({"a.jpg.png": "a.jpg", "a.jpg.png.png": "a.jpg.png"}, []),
        ({"a.png": "a.png", "a.jpg.png": "a.jpg"}, ["c.png"]),
        ({"a.png": "a.png", "d/b.jpg": "d/b.tif"}, []),
        ({"a.png": "x/a.png", "y/a.png": "y/a.png", "b.png": "y/b.png"}, []),
        ({"a.jpg.png": "x/a.jpg", "b.jpg.png": "y/b.jpg"}, []),
        ({"a.gif.png": "a.gif", "a.jpg": "a.jpg"}, []),
    ],
)
def test_results_find_their_sources_by_name(results: dict[str, str], sources: list[str]) -> None:
    assert match_names(results, [*results.values(), *sources]) == results


def test_names_that_fit_several_sources_find_none() -> None:
    assert match_names(["a.png"], ["a.jpg", "a.tif"]) == {}
    assert match_names(["a.png"], ["x/a.png", "y/a.png"]) == {}


JUNK = [
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "._a.png",
    "@eaDir/a.png",
    "#recycle/a.png",
    "$RECYCLE.BIN/a.png",
]
JUNK += ["Catalog Previews.lrdata/a.png", ".ggt-hub/a.png", "__MACOSX/a.png", ".ggt-hub-1-2-3.part"]


def test_junk_is_never_an_input(tmp_path: Path) -> None:
    for name in ["a.png", *JUNK]:
        save(tmp_path / "in/x.png").rename(
            (tmp_path / "in" / name).parent.mkdir(exist_ok=True) or tmp_path / "in" / name
        )
        assert is_junk(name.partition("/")[0]) == (name != "a.png")
    for paths in ([tmp_path / "in"], [tmp_path / "in/**/*"], [*(tmp_path / "in").iterdir()]):
        assert relatives(find_jobs(paths, tmp_path / "out")) == ["a.png"]


def test_linked_folders_are_followed_once_and_never_upwards(tmp_path: Path) -> None:
    save(tmp_path / "in/z/a.png")
    save(tmp_path / "elsewhere/b.png")
    save(tmp_path / "outside.png")
    for link, target in (
        ("album", tmp_path / "elsewhere"),
        ("a", "z"),
        ("up", ".."),
        ("self", "."),
        ("z/x", "../z"),
    ):
        (tmp_path / "in" / link).symlink_to(target)
    for path in (tmp_path / "in", tmp_path / "in/**/*.png"):
        assert sorted(relatives(find_jobs([path], tmp_path / "out"))) == ["album/b.png", "z/a.png"]


def test_a_folder_that_cannot_be_searched_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    save(tmp_path / "in/a.png")
    save(tmp_path / "in/locked/b.png")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    inputs = find_jobs([tmp_path / "in"], tmp_path / "out")
    assert relatives(inputs) == ["a.png"]
    assert "Permission denied" in inputs.refused[str(tmp_path / "in/locked")]


def test_pictures_that_are_not_read_are_told_with_the_way_out(tmp_path: Path) -> None:
    for name in ("a.HEIC", "b.jxl", "c.dng", "d.NEF", "notes.txt", "e.mpo", "f.j2k", "g.pfm", "h.avif"):
        save(tmp_path / "x.png").rename((tmp_path / "in").mkdir(exist_ok=True) or tmp_path / "in" / name)
    inputs = find_jobs([tmp_path / "in"], tmp_path / "out")
    assert relatives(inputs) == ["e.mpo", "f.j2k", "g.pfm", "h.avif"]
    assert [Path(name).name for name in inputs.refused] == ["a.HEIC", "b.jxl", "c.dng", "d.NEF"]
    assert all("convert" in reason or "develop" in reason for reason in inputs.refused.values())
    assert inputs.notes == ["not pictures by their endings: 1 .txt"]
    assert relatives(find_jobs([tmp_path / "in/a.HEIC"], tmp_path / "out")) == [
        "a.HEIC"
    ]  # named: its bytes decide


def test_results_are_not_taken_for_inputs(tmp_path: Path) -> None:
    save(tmp_path / "p/a.png")
    for _ in range(3):
        for paths in ([tmp_path / "p"], [tmp_path / "p/**/*.png"], sorted((tmp_path / "p").iterdir())):
            for out in (tmp_path / "p/out", tmp_path / "p/second"):
                inputs = find_jobs(paths, out)
                assert relatives(inputs) == ["a.png"]
                list(process(inputs.jobs, Halve(), Batch(out, lambda job: {})))
    assert relatives(find_jobs([tmp_path / "p/out"], tmp_path / "r")) == [
        "a.png"
    ]  # named: a result is a picture


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for output in ("notes.txt", "notes.txt/deep", "gone", "restored.jpg", "restored.HEIC"):
        with pytest.raises(ImageError, match="--output"):
            check_output(tmp_path / output)
    (tmp_path / "folder.jpg").mkdir()
    check_output(tmp_path / "folder.jpg", "PNG")
    for format in ("gif", "png/../x", "", "heic"):
        with pytest.raises(ImageError, match="--format"):
            check_output(tmp_path / "out", format)
    assert not (tmp_path / "out").exists()


def test_names_of_any_bytes_and_length_are_finished_once(tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", ("写" * 83).encode() + b".png", b"x" * 247 + b".png"):
        save(tmp_path / "in/x.png").rename(tmp_path / "in" / os.fsdecode(name))
    assert [outcome.status for outcome in run(tmp_path, Halve())] == ["done"] * 3
    assert [outcome.status for outcome in run(tmp_path, Halve())] == ["skipped"] * 3


def test_brackets_in_an_existing_path_are_a_name(tmp_path: Path) -> None:
    save(tmp_path / "scans [2020]/a.png")
    save(tmp_path / "scans 2/b.png")
    assert relatives(find_jobs([tmp_path / "scans [2020]/*.png"], tmp_path / "out")) == ["a.png"]
    assert relatives(find_jobs([tmp_path / "scans*/*.png"], tmp_path / "out")) == [
        "scans 2/b.png",
        "scans [2020]/a.png",
    ]


def test_the_fingerprint_of_large_files_follows_their_bytes(tmp_path: Path, monkeypatch: Any) -> None:
    """Not their times, which Nix, Bazel and archives set to one value, and not their place."""
    module = importlib.import_module("ggt_hub.files.fingerprint")
    monkeypatch.setattr(module.constants, "HF_HOME", str(tmp_path / "home"))
    found = []
    for content, place in ((b"a", "m"), (b"b", "m"), (b"a", "elsewhere")):
        (tmp_path / place).mkdir(exist_ok=True)
        weights = tmp_path / place / "w.safetensors"
        weights.write_bytes(content * 2**24)
        os.utime(weights, (1, 1))
        found.append(fingerprint(tmp_path / place))
    assert found[0] == found[2] != found[1]
    monkeypatch.setattr(module, "file_sha256", lambda path: pytest.fail("it was hashed before"))
    assert fingerprint(tmp_path / "m") == found[1]
    monkeypatch.undo()
    monkeypatch.setattr(module.constants, "HF_HOME", "/dev/null/nowhere")
    assert fingerprint(tmp_path / "m") == found[1]


def test_baselines_have_fingerprints_of_their_own() -> None:
    assert fingerprint(Path("identity")) != fingerprint(Path("gain"))
