"""Replacing files: whole, with owner and mode, and never where another user could bend the path."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from broker.actions.write_ssh_files import check_parents, open_folder
from broker.errors import Failed, Refused


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
