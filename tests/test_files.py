"""Finding inputs, naming outputs, resuming: the promises that batch users care about."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ggt_hub.errors import ImageError
from ggt_hub.files import Batch, Inputs, Job, Outcome, find_jobs, fingerprint, output_name, process, seed_of
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
    folder: Path, work: Halve, settings: dict[str, Any] | None = None, overwrite: bool = False
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
