"""Which places are refused: what another user can bend, and what other users read."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.actions.guard_ssh_config import check_readers
from broker.actions.locate_ssh_config import locate
from broker.actions.remove_ssh_config import take_out
from broker.errors import Failed, Refused
from tests.broker.actions.ssh_home import COMPANY, install, refused, shot
from tests.conftest import need


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_folder_that_others_may_write_is_refused(home: Path, mode: int) -> None:
    home.chmod(mode)
    assert "may be written" in refused(home / "config").message


def test_a_parent_that_others_may_write_is_refused(tmp_path: Path) -> None:
    parent = tmp_path / "open"
    parent.mkdir()
    parent.chmod(0o777)
    (parent / ".ssh").mkdir(mode=0o700)
    assert str(parent) in refused(parent / ".ssh" / "config").message


def test_a_linked_folder_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(home)
    assert "symbolic link" in refused(tmp_path / "link" / "config").message


def test_our_own_name_as_a_link_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (home / "vmbroker.conf").symlink_to(tmp_path / "victim")
    assert "symbolic link" in refused(home / "config").message
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_hard_linked_file_is_refused(home: Path, tmp_path: Path) -> None:
    (home / "config").write_bytes(COMPANY)
    os.link(home / "config", tmp_path / "other")
    assert "hard links" in refused(home / "config").message


@pytest.mark.parametrize("kind", ["dangling", "loop", "folder", "pipe"])
def test_what_is_no_file_is_refused_without_waiting(home: Path, kind: str) -> None:
    file = home / "config"
    if kind == "dangling":
        file.symlink_to(home / "nowhere" / "config")
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "folder":
        file.mkdir()
    else:
        os.mkfifo(file)
    with pytest.raises(Refused):
        install(file)
    assert [path.name for path in home.iterdir()] == ["config"]


def test_a_file_that_others_read_is_refused_unless_their_way_to_it_is_closed(tmp_path: Path) -> None:
    need("ssh", "openssh-client")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "ssh_config"
        file.write_bytes(COMPANY)
        file.chmod(0o644)
        error = refused(file)
        assert (error.code, "other users" in error.message) == ("ssh-config-shared", True)
        file.chmod(0o600)
        assert install(file).is_changed
        take_out(locate(file))
        file.chmod(0o644)
        folder.chmod(0o700)
        assert install(file).is_changed


def test_what_is_below_the_home_of_its_owner_is_theirs_alone(tmp_path: Path) -> None:
    check_readers(Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh" / "config.that-is-not-there")
    assert not Path("/etc/ssh/ssh_config.d/vmbroker-test.conf").exists()
    with pytest.raises(Refused):
        check_readers(Path("/etc/ssh/ssh_config.d/vmbroker-test.conf"))


@contextmanager
def powerless(folder: Path) -> Iterator[None]:
    """Nobody who may write here: as root by another effective user, else by the folder's mode."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        return
    for path in (folder, *folder.iterdir()):
        os.chown(path, 65534, 65534)
    folder.chmod(0o500)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_home_that_cannot_be_written_is_an_error_and_stays_as_it_is() -> None:
    need("ssh", "openssh-client")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config").write_bytes(COMPANY)
        before = shot(folder)
        with powerless(folder), pytest.raises(Failed) as caught:
            install(folder / "config")
        assert caught.value.code == "ssh-config-file"
        assert "ermission" in str(caught.value.cause)
        assert shot(folder) == before
