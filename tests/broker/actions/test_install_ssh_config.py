"""Installing and removing our Include on real files, judged by the real ssh."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.actions.install_ssh_config import Installed, put_in, take_out
from broker.actions.locate_ssh_config import locate
from broker.errors import Failed, Refused, SettingsError
from broker.paths.openssh import Origin, alias_command
from broker.paths.ssh_blocks import Cluster, Layout
from tests.conftest import need

ORIGIN = Origin(program=("/opt/vmbroker",), kubeconfigs=("/k",), context="prod")
LAYOUT = Layout(
    current=Cluster(label=None, origin=ORIGIN), contexts=(Cluster(label="prod", origin=ORIGIN),), labels={"prod": "prod"}
)
COMPANY = b"# mine\nHost *\n\tProxyJump bastion\n\tHostName %h.corp\n\nHost git*.example.com\n  Port 29418"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    need("ssh", "openssh-client")
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    return folder


def install(file: Path, layout: Layout = LAYOUT, program: str = "ssh") -> Installed:
    return put_in(layout, locate(file), program=program)


def shot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Names, modes and bytes of a folder; of a link, where it leads."""
    return {
        path.name: (path.lstat().st_mode, os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes())
        for path in folder.iterdir()
        if not path.is_dir()
    }


def says(file: Path, host: str) -> str:
    return subprocess.run(["ssh", "-G", "-F", str(file), "--", host], capture_output=True, text=True, check=True).stdout


def test_a_missing_file_is_made_and_goes_again(tmp_path: Path) -> None:
    need("ssh", "openssh-client")
    file = tmp_path / ".ssh" / "config"
    install(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert alias_command(ORIGIN) in says(file, "web.shop.vm")
    take_out(locate(file))
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
@pytest.mark.parametrize("data", [b"", COMPANY, COMPANY.replace(b"\n", b"\r\n"), b"# only a comment"])
def test_bytes_and_mode_come_back(home: Path, data: bytes, mode: int) -> None:
    file = home / "config"
    file.write_bytes(data)
    file.chmod(mode)
    before = shot(home)
    done = install(file)
    assert done.is_changed
    assert file.read_bytes().endswith(data)
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert stat.S_IMODE((home / "vmbroker.conf").stat().st_mode) == 0o600
    take_out(locate(file))
    assert shot(home) == before


def test_aliases_are_ours_and_other_hosts_are_as_before(home: Path) -> None:
    file = home / "config"
    file.write_bytes(COMPANY)
    before = {host: says(file, host) for host in ("example.com", "git1.example.com", "vm.example.com")}
    done = install(file)
    assert "gitx.example.com" in done.compared
    assert {host: says(file, host) for host in before} == before
    assert f"proxycommand {alias_command(ORIGIN)}\n" in says(file, "web.shop.vm")
    assert "hostname web.shop.vm\n" in says(file, "web.shop.vm")
    assert "proxyjump" not in says(file, "web.shop.vm")


def test_the_second_time_writes_the_same_bytes(home: Path) -> None:
    file = home / "config"
    file.write_bytes(COMPANY)
    install(file)
    before, state = shot(home), file.stat()
    done = install(file)
    assert not done.is_changed
    assert shot(home) == before
    assert file.stat().st_mtime_ns == state.st_mtime_ns


def test_later_edits_of_the_user_stay_and_the_copy_of_the_first_day_too(home: Path) -> None:
    file = home / "config"
    file.write_bytes(COMPANY)
    install(file)
    file.write_bytes(b"# above\n" + file.read_bytes() + b"\nHost new\n")
    done = take_out(locate(file))
    assert file.read_bytes() == b"# above\n" + COMPANY + b"\nHost new\n"
    assert (home / "config.before-vmbroker").read_bytes() == COMPANY
    assert any("before us" in reason for reason in done.kept)


def test_a_link_of_the_users_is_followed_and_stays_a_link(home: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles"
    real.mkdir(mode=0o755)
    (real / "ssh_config").write_bytes(COMPANY)
    file = home / "config"
    file.symlink_to("../dotfiles/ssh_config")
    before = shot(home)
    install(file)
    assert file.is_symlink()
    assert (real / "ssh_config").read_bytes().endswith(COMPANY)
    assert (home / "vmbroker.conf").exists()
    assert alias_command(ORIGIN) in says(file, "web.shop.vm")
    take_out(locate(file))
    assert shot(home) == before
    assert (real / "ssh_config").read_bytes() == COMPANY


def refused(file: Path) -> Refused:
    before = shot(file.parent) if file.parent.is_dir() else {}
    with pytest.raises(Refused) as caught:
        install(file)
    assert (shot(file.parent) if file.parent.is_dir() else {}) == before
    return caught.value


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


def test_a_file_of_our_name_that_is_not_ours_is_refused(home: Path) -> None:
    (home / "vmbroker.conf").write_bytes(b"Host a\n")
    assert refused(home / "config").code == "ssh-config-foreign"


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


def test_a_file_that_ssh_itself_refuses_is_named_with_its_line(home: Path) -> None:
    file = home / "config"
    file.write_bytes(b"Host a\n  Prot 22\n")
    before = shot(home)
    with pytest.raises(SettingsError) as caught:
        install(file)
    assert "line 2" in str(caught.value.cause)
    assert "prot" in str(caught.value.cause)
    assert shot(home) == before


def test_a_proof_that_fails_puts_every_byte_back_and_names_the_winner(home: Path, tmp_path: Path) -> None:
    """An ssh that brings its own configuration: what a wrapper script of a company does."""
    file = home / "config"
    file.write_bytes(COMPANY)
    wrapper = tmp_path / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {need("ssh", "openssh-client")} -o ProxyCommand=company "$@"\n')
    wrapper.chmod(0o755)
    before = shot(home)
    with pytest.raises(Failed) as caught:
        install(file, program=str(wrapper))
    assert caught.value.code == "ssh-config-proof"
    assert "company" in str(caught.value.cause)
    assert shot(home) == before


def test_a_failed_proof_leaves_an_older_installation_as_it_was(home: Path) -> None:
    file = home / "config"
    file.write_bytes(COMPANY)
    install(file)
    before = shot(home)
    other = Layout(current=Cluster(label=None, origin=Origin(program=("/other",))))
    with pytest.raises(Failed):
        install(file, layout=other, program="/nonexistent/ssh")
    assert shot(home) == before


def test_an_edit_of_another_program_meanwhile_is_noticed_and_kept(home: Path, tmp_path: Path) -> None:
    """An ssh that writes into the file while we prove ours: the editor that saves at the wrong moment."""
    file = home / "config"
    file.write_bytes(COMPANY)
    wrapper = tmp_path / "ssh"
    wrapper.write_text(f"#!/bin/sh\necho '# edited' >> {file}\nexec {need('ssh', 'openssh-client')} \"$@\"\n")
    wrapper.chmod(0o755)
    with pytest.raises(Failed) as caught:
        install(file, program=str(wrapper))
    assert caught.value.code == "ssh-config-changed"
    assert file.read_bytes().startswith(COMPANY + b"# edited\n")
    assert [path.name for path in home.iterdir()] == ["config"]


def test_two_installations_at_once_leave_one_line(home: Path) -> None:
    file = home / "config"
    file.write_bytes(COMPANY)
    threads = [threading.Thread(target=install, args=(file,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert file.read_bytes().count(b"Include") == 1
    take_out(locate(file))
    assert file.read_bytes() == COMPANY


def test_an_edited_file_of_ours_is_kept_beside(home: Path) -> None:
    file = home / "config"
    install(file)
    own = home / "vmbroker.conf"
    edited = own.read_bytes().replace(b"ServerAliveInterval 30", b"ServerAliveInterval 5")
    own.write_bytes(edited)
    done = install(file)
    assert done.saved_edit == home / "vmbroker.conf.edited"
    assert done.saved_edit.read_bytes() == edited


@contextmanager
def powerless(folder: Path) -> Iterator[None]:
    """Nobody who may write here: as root by another effective user, else by the folder's mode."""
    folder.chmod(0o555)
    if os.geteuid() != 0:
        yield
        return
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


@pytest.mark.parametrize("name", ["a b", "100%c", "a[b]*", 'q"q', "back\\slash", "~tilde", "d$x", "ümlaut"])
def test_odd_folders_are_written_so_that_ssh_finds_our_file(tmp_path: Path, name: str) -> None:
    need("ssh", "openssh-client")
    folder = tmp_path / name
    folder.mkdir(mode=0o700)
    layout = Layout(current=Cluster(label=None, origin=ORIGIN), control_dir=str(folder / "c"))
    install(folder / "config", layout=layout)
    assert alias_command(ORIGIN) in says(folder / "config", "web.shop.vm")
    assert not install(folder / "config", layout=layout).is_changed
    take_out(locate(folder / "config"))
    assert not (folder / "config").exists()


def test_a_folder_that_no_include_can_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "${HOME}"
    folder.mkdir(mode=0o700)
    assert refused(folder / "config").code == "ssh-config-path"


BLOCKS = st.sampled_from(
    [
        "Host *\n  ProxyJump bastion\n",
        "Host=a.example\n\tPort=2200\n",
        'HOST "b.example" c.example\n  User "x y"\n',
        "Host *.example !b.example\n  HostName %h.corp\n",
        "Match originalhost b.example\n  Port 23\n",
        "Match exec true\n  Compression yes\n",
        "Match final all\n  ForwardAgent yes\n",
        "CanonicalizeHostname yes\nCanonicalDomains invalid\nCanonicalizeFallbackLocal yes\n",
        "Include /nonexistent/*\n",
        "IdentityFile ~/.ssh/%u-%h\n",
        "# comment\n\n",
        "Host a.example\n  HostKeyAlias %n\n  ControlPath ~/.ssh/%r@%h:%p\n",
    ]
)


@given(blocks=st.lists(BLOCKS, max_size=5), crlf=st.booleans(), last=st.booleans())
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_odd_files_keep_their_meaning_and_get_their_bytes_back(home: Path, blocks: list[str], crlf: bool, last: bool) -> None:
    file = home / "config"
    text = "".join(blocks).replace("\n", "\r\n" if crlf else "\n")
    data = (text if last else text.rstrip("\r\n")).encode()
    file.write_bytes(data)
    before = {host: says(file, host) for host in ("a.example", "b.example", "x.test")}
    install(file)
    assert {host: says(file, host) for host in before} == before
    assert f"proxycommand {alias_command(ORIGIN)}\n" in says(file, "web.shop.vm")
    take_out(locate(file))
    assert file.read_bytes() == data
