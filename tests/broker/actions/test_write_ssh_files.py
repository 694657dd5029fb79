"""Replacing files: whole, with owner and mode, and never where another user could bend the path."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from broker.actions.guard_ssh_config import check_parents, unusable
from broker.actions.write_ssh_files import open_folder
from broker.errors import Failed, Refused
from tests.conftest import ROOT


def test_a_file_is_replaced_with_its_mode_and_no_other_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o640)
    with open_folder(tmp_path) as folder:
        folder.replace("a", b"new", folder.read("a"))
    assert [(path.name, path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()] == [
        ("a", b"new", 0o640)
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_keeps_the_owner_of_the_file_and_gives_new_ones_to_the_folders(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 1234, 1235)
    (home / "a").write_bytes(b"old")
    os.chown(home / "a", 1234, 1236)
    with open_folder(home) as folder:
        folder.replace("a", b"new", folder.read("a"))
        folder.save_once("b", b"")
    states = [(home / name).stat() for name in ("a", "b")]
    assert [(each.st_uid, each.st_gid) for each in states] == [(1234, 1236), (1234, 1235)]


def test_attributes_come_along_where_the_file_system_has_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    try:
        os.setxattr(tmp_path / "a", "user.note", b"mine")
    except (OSError, AttributeError):
        return
    with open_folder(tmp_path) as folder:
        folder.replace("a", b"new", folder.read("a"))
    assert os.getxattr(tmp_path / "a", "user.note") == b"mine"


@pytest.mark.parametrize("change", ["write", "replace", "remove"])
def test_a_change_since_the_reading_stops_the_write(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with open_folder(tmp_path) as folder:
        before = folder.read("a")
        if change == "remove":
            path.unlink()
        elif change == "replace":
            (tmp_path / "b").write_bytes(b"old")
            (tmp_path / "b").rename(path)
        else:
            path.write_bytes(b"their")
        left = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
        with pytest.raises(Failed):
            folder.replace("a", b"new", before)
        with pytest.raises(Failed):
            folder.delete("a", before)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == left


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        before = folder.read("a")
        (tmp_path / "a").write_bytes(b"their")
        with pytest.raises(Failed):
            folder.replace("a", b"new", before)
        assert not folder.save_once("a", b"new")
    assert (tmp_path / "a").read_bytes() == b"their"


def test_one_vmbroker_at_a_time_is_in_a_folder(tmp_path: Path) -> None:
    entered: list[str] = []

    def second() -> None:
        with open_folder(tmp_path):
            entered.append("second")

    thread = threading.Thread(target=second)
    with open_folder(tmp_path):
        thread.start()
        thread.join(0.2)
        entered.append("first")
    thread.join(30)
    assert entered == ["first", "second"]


def test_a_sticky_folder_above_is_no_danger_and_an_open_one_is(tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "below").mkdir(parents=True)
    above.chmod(0o1777)
    check_parents(above / "below")
    above.chmod(0o777)
    with pytest.raises(Refused):
        check_parents(above / "below")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give links away")
def test_a_link_above_passes_only_where_it_is_roots(tmp_path: Path) -> None:
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    check_parents(tmp_path / "link" / "below")
    os.lchown(tmp_path / "link", 1234, 1234)
    with pytest.raises(Refused):
        check_parents(tmp_path / "link" / "below")


def test_half_written_copies_of_the_named_files_are_swept(tmp_path: Path) -> None:
    kept = ["a", ".a.vmbroker-0123", f".b.vmbroker-{'0' * 16}", f"a.vmbroker-{'0' * 16}"]
    for name in (*kept, f".a.vmbroker-{'0' * 15}f"):
        (tmp_path / name).touch()
    with open_folder(tmp_path) as folder:
        folder.sweep(("a",))
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_gives_a_new_folder_to_the_owner_of_its_place(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 1234, 1235)
    with open_folder(home / ".ssh", makes=True) as folder:
        assert folder.make_folder(".vmbroker")
        assert not folder.make_folder(".vmbroker")
    for path in (home / ".ssh", home / ".ssh" / ".vmbroker"):
        state = path.stat()
        assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (1234, 1235, 0o700)


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "read-only"),
        (errno.ENOENT, "mkdir -p"),
        (errno.EACCES, "give yourself the right"),
    ],
)
def test_each_trouble_has_a_step_that_fits(number: int, step: str) -> None:
    error = unusable(Path("/x"), "write", OSError(number, os.strerror(number)))
    assert step in str(error.next_step)


def test_a_full_disk_is_told_as_one_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: write(2) fails in the middle of it."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from broker.actions.write_ssh_files import open_folder\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "with open_folder(Path(sys.argv[1])) as folder: folder.save_once('a', b'x' * 100)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "Failed: cannot write" in done.stderr
    assert list(tmp_path.iterdir()) == []
