"""Installing and removing our Include on real files, judged by the real ssh."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.actions.locate_ssh_config import locate
from broker.actions.remove_ssh_config import take_out
from broker.errors import Failed, Refused
from broker.paths.openssh import Origin, alias_command
from broker.paths.ssh_blocks import Cluster, Layout
from tests.broker.actions.ssh_home import COMPANY, LAYOUT, ORIGIN, company, install, refused, says, shot
from tests.conftest import need

SOCKETS = replace(LAYOUT, control_dir="/tmp/c")


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


def test_the_second_time_writes_the_same_bytes(home: Path) -> None:
    file = home / "config"
    file.write_bytes(COMPANY)
    install(file)
    before, state = shot(home), file.stat()
    done = install(file)
    assert not done.is_changed
    assert shot(home) == before
    assert file.stat().st_mtime_ns == state.st_mtime_ns


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


def test_a_file_of_our_name_that_is_not_ours_is_refused(home: Path) -> None:
    (home / "vmbroker.conf").write_bytes(b"Host a\n")
    assert refused(home / "config").code == "ssh-config-foreign"


def test_a_failed_proof_leaves_an_older_installation_as_it_was(home: Path) -> None:
    file = home / "config"
    file.write_bytes(COMPANY)
    install(file)
    before = shot(home)
    other = Layout(current=Cluster(label=None, origin=Origin(program=("/other",))))
    for program in ("/nonexistent/ssh", company(home.parent)):
        with pytest.raises(Failed):
            install(file, layout=other, program=program)
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


@pytest.mark.parametrize("kind", ["link", "open", "file"])
def test_a_bad_folder_for_sockets_is_refused_before_anything_is_written(home: Path, kind: str) -> None:
    (home / "config").write_bytes(COMPANY)
    control = home / ".vmbroker"
    if kind == "link":
        control.symlink_to(home)
    elif kind == "file":
        control.touch()
    else:
        control.mkdir()
        control.chmod(0o777)
    before, kinds = shot(home), sorted((path.name, path.lstat().st_mode) for path in home.iterdir())
    with pytest.raises(Refused) as caught:
        install(home / "config", layout=SOCKETS)
    assert (caught.value.code, str(control) in caught.value.message) == ("ssh-config-unsafe", True)
    assert (shot(home), sorted((path.name, path.lstat().st_mode) for path in home.iterdir())) == (before, kinds)


def test_two_files_in_one_folder_share_nothing(home: Path) -> None:
    for name in ("config", "work"):
        (home / name).write_bytes(COMPANY)
        install(home / name, layout=SOCKETS)
    assert {path.name for path in home.iterdir() if path.is_dir()} == {".vmbroker", ".work.vmbroker"}
    take_out(locate(home / "config"))
    assert (home / ".work.vmbroker").is_dir()
    assert alias_command(ORIGIN) in says(home / "work", "web.shop.vm")
    take_out(locate(home / "work"))
    assert sorted(path.name for path in home.iterdir()) == ["config", "work"]


def test_no_folder_is_made_for_sockets_whose_path_would_be_too_long(home: Path) -> None:
    install(home / "config", layout=replace(LAYOUT, control_dir="/" + "x" * 90))
    assert [path for path in home.iterdir() if path.is_dir()] == []


def test_a_failed_installation_leaves_no_folder_for_sockets(home: Path) -> None:
    with pytest.raises(Failed):
        install(home / "config", layout=SOCKETS, program="/nonexistent/ssh")
    assert list(home.iterdir()) == []


def test_files_that_a_glob_includes_as_well_change_nothing(home: Path) -> None:
    """`Include config.d/*` reads our own file twice, and neither the backup nor what was edited."""
    folder = home / "config.d"
    folder.mkdir(mode=0o700)
    (folder / "company").write_bytes(COMPANY)
    top = home / "config"
    top.write_text(f"Include {folder}/*\n")
    install(folder / "company")
    install(folder / "company", layout=replace(LAYOUT, follows_current=True))
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == ["company", "company.vmbroker.conf"]
    assert (folder / ".company.before-vmbroker").exists()
    assert says(top, "web.shop.vm") == says(folder / "company", "web.shop.vm")
    assert says(top, "example.com") == says(folder / "company", "example.com")


def test_what_a_killed_run_left_goes_with_the_next(home: Path) -> None:
    (home / "config").write_bytes(COMPANY)
    before = shot(home)
    left = [f".{name}.vmbroker-{'0' * 16}" for name in ("config", "vmbroker.conf")]
    for act in (lambda: install(home / "config"), lambda: take_out(locate(home / "config"))):
        for name in left:
            (home / name).write_bytes(b"half")
        act()
        assert not [name for name in left if (home / name).exists()]
    assert shot(home) == before
    other = home / f".other.vmbroker-{'0' * 16}"
    other.touch()
    install(home / "config")
    assert other.exists()


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
