"""Whole or not at all: full disks, odd file systems, long names, two runs at once, and what kills leave."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ggt_hub import commit
from ggt_hub.commit import locked
from ggt_hub.errors import BusyError, WriteError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("step", "code"), [("fsync", errno.ENOSPC), ("replace", errno.EROFS)])
def test_a_disk_that_refuses_is_one_line_and_the_old_file_stays(tmp_path, monkeypatch, step, code):
    commit.commit_text(tmp_path / "a", "old")

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(WriteError, match=f"cannot write .*a'.*{os.strerror(code)}") as caught:
        commit.commit_text(tmp_path / "a", "new")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_modes_and_flushing_are_best_effort(tmp_path, monkeypatch):
    """SMB, exFAT and FUSE refuse to set modes; some refuse fsync; Windows has no fchmod at all."""

    def refuse(*_, **__):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.delattr(os, "fchmod")
    for name in ("chmod", "fsync"):
        monkeypatch.setattr(os, name, refuse)
    commit.commit_bytes(tmp_path / "a", b"x")
    with commit.committed_folder(tmp_path / "f") as made:
        (made / "b").write_bytes(b"y")
    assert (tmp_path / "a").read_bytes() + (tmp_path / "f/b").read_bytes() == b"xy"


def test_files_of_a_folder_get_the_usual_mode(tmp_path):
    before = os.umask(0o027)
    try:
        with commit.committed_folder(tmp_path / "model") as made:
            (made / "weights").touch(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "model/weights").stat().st_mode & 0o777 == 0o640


def test_a_link_is_replaced_not_written_through(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "a").symlink_to("theirs")
    commit.commit_text(tmp_path / "a", "ours")
    assert ((tmp_path / "theirs").read_text(), (tmp_path / "a").read_text()) == ("theirs", "ours")


def test_a_link_to_a_result_of_ours_is_the_users(tmp_path):
    with commit.committed_result(tmp_path, "report") as made:
        made.write_text("ours")
    (tmp_path / "report").rename(tmp_path / "kept")
    (tmp_path / "report").symlink_to("kept")
    with pytest.raises(WriteError, match="is not a result of ggt-hub"):
        commit.check_results(tmp_path, ["report"])


def test_two_writers_of_one_file_do_not_share_a_temporary_name(tmp_path):
    with commit.committed_file(tmp_path / "a") as first:
        first.write_text("first")
        with commit.committed_file(tmp_path / "a") as second:
            second.write_text("second")
        assert (tmp_path / "a").read_text() == "second"
    assert (tmp_path / "a").read_text() == "first"


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "写" * 82 + ".jpg", "y" * 255])
def test_names_as_long_as_the_file_system_takes(tmp_path, name):
    commit.commit_text(tmp_path / name, "x")
    assert names(tmp_path) == [name]


def test_a_name_that_became_too_long_is_shortened_by_its_hash():
    a, b = (
        commit.fitting_name("写" * 83 + "a.jpg.png.json"),
        commit.fitting_name("写" * 83 + "b.jpg.png.json"),
    )
    assert a != b
    assert max(len(os.fsencode(name)) for name in (a, b)) <= 255
    assert a.endswith(".jpg.png.json")
    assert commit.fitting_name("a.png") == "a.png"


def test_the_previous_folder_is_there_until_the_new_one_is(tmp_path, monkeypatch):
    for content in ("1", "2"):
        (tmp_path / "new").mkdir()
        (tmp_path / "new/x").write_text(content)
        commit.swap_folder(tmp_path / "new", tmp_path / "state", keep=True)
    assert (tmp_path / "state/x").read_text() == "2"
    assert (commit.previous(tmp_path / "state") / "x").read_text() == "1"


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from ggt_hub.commit import committed_file\n"
        "with committed_file(Path(sys.argv[1], 'a')) as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], cwd=Path(__file__).parents[1], check=False)
    assert [name.startswith(".ggt-hub-") for name in names(tmp_path)] == [True]
    with commit.committed_file(tmp_path / "b") as mine:
        mine.write_text("b")
        commit._tidied.clear()  # as a second process would begin
        commit.commit_text(tmp_path / "c", "c")
        assert mine.exists()
    assert names(tmp_path) == ["b", "c"]


def test_json_takes_names_that_are_no_utf8(tmp_path):
    commit.commit_json(tmp_path / "deep/a.json", {"name": os.fsdecode(b"caf\xe9")})
    assert '"caf\\udce9"' in (tmp_path / "deep/a.json").read_text()


def test_a_lock_keeps_others_out_with_or_without_locks_of_the_file_system(tmp_path, monkeypatch):
    for has_locks in (True, False):
        if not has_locks:
            monkeypatch.setattr("filelock.FileLock.__enter__", _refuse)
        lock = tmp_path / "out/.ggt-hub/lock"
        with (
            locked(lock, waits=False),
            pytest.raises(BusyError, match=r"another process is writing into .*out: wait"),
        ):
            locked(lock, waits=False).__enter__()
        with locked(lock, waits=False):
            pass


def _refuse(self):
    raise NotImplementedError("FileSystem does not appear to support flock")


def test_lines_of_processes_that_write_at_once_are_all_there(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ggt_hub.commit import append_json\n"
        "for n in range(30): append_json(Path(sys.argv[2]), f'{sys.argv[1]}{n}')"
    )
    path = tmp_path / "lines.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", code, who, path]) for who in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sorted(path.read_text().split()) == sorted(f'"{who}{n}"' for who in "ab" for n in range(30))


def test_a_line_is_added_to_lines_of_ones_own_also_without_their_last_end(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"b": 2}')
    commit.append_json(path, {"c": 3})
    assert path.read_text() == '{"a": 1}\n{"b": 2}\n{"c": 3}\n'
    commit.keep_json_lines(path, lambda told: "b" not in told)
    assert path.read_text() == '{"a": 1}\n{"c": 3}\n'
