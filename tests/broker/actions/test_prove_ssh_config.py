"""What the real ssh is asked before anything is written, and what is said where it does not agree."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from broker.actions.install_ssh_config import put_in
from broker.actions.locate_ssh_config import locate
from broker.errors import Failed, SettingsError
from broker.paths.openssh import alias_command
from tests.broker.actions.ssh_home import COMPANY, LAYOUT, ORIGIN, company, install, says, shot
from tests.conftest import ROOT


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
    before = shot(home)
    with pytest.raises(Failed) as caught:
        install(file, program=company(tmp_path))
    assert caught.value.code == "ssh-config-proof"
    assert "company" in str(caught.value.cause)
    assert shot(home) == before


@pytest.mark.parametrize("data", [b"Host a\n  Port 99999\n", b"\xef\xbb\xbfHost a\n", b'Host "a\n', b"Match\n"])
def test_every_error_of_ssh_in_the_users_file_is_told_as_such(home: Path, data: bytes) -> None:
    file = home / "config"
    file.write_bytes(data)
    with pytest.raises(SettingsError) as caught:
        install(file)
    assert (caught.value.code, str(file) in str(caught.value.cause)) == ("ssh-config-broken", True)
    assert shot(home) == {"config": (file.lstat().st_mode, data)}


def test_a_missing_ssh_is_told_as_such(home: Path) -> None:
    with pytest.raises(Failed) as caught:
        install(home / "config", program="/nonexistent/ssh")
    assert (caught.value.code, "/nonexistent/ssh" in str(caught.value.cause)) == ("program-missing", True)


def test_an_ssh_that_shows_no_proxy_is_said_to_show_none(home: Path, tmp_path: Path) -> None:
    wrapper = tmp_path / "ssh"
    wrapper.write_text("#!/bin/sh\necho user me\n")
    wrapper.chmod(0o755)
    with pytest.raises(Failed) as caught:
        install(home / "config", program=str(wrapper))
    assert caught.value.cause == "ssh -G shows none"


def test_a_command_that_hangs_ends_the_trial_at_its_one_limit(home: Path) -> None:
    file = home / "config"
    file.write_text('Match exec "sleep 61.25"\n  User x\n')
    before, began = shot(home), time.monotonic()
    with pytest.raises(Failed) as caught:
        put_in(LAYOUT, locate(file), program="ssh", limit_s=1.0)
    assert "Match exec" in str(caught.value.cause)
    assert time.monotonic() - began < 3
    assert shot(home) == before
    assert not [each for each in commands() if "61.25" in each]


def test_a_command_that_hangs_for_other_hosts_only_is_no_obstacle(home: Path) -> None:
    file = home / "config"
    file.write_text('Match !host *.vm,*.VM,*.vm.*,*.VM.*,vm/*,vmi/* exec "sleep 61.5"\n  User x\n')
    done = put_in(LAYOUT, locate(file), program="ssh", limit_s=2.0)
    assert (done.compared, done.uncompared) == ((), ("example.com",))


def commands() -> list[str]:
    """The command lines of everything that runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return found


@pytest.mark.parametrize(("mode", "status"), [(0o644, 0), (0o666, 2)])
def test_ssh_itself_judges_the_mode_of_its_own_file(tmp_path: Path, mode: int, status: int) -> None:
    """ssh looks at modes where it finds ~/.ssh/config by itself: a home of our own, in a mount namespace of our own."""
    ours = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*ours, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("unshare(1) of util-linux may not be used here")
    me = pwd.getpwuid(os.getuid())
    passwd = Path("/etc/passwd").read_text().replace(f":{me.pw_dir}:", f":{tmp_path}:")
    (tmp_path / "passwd").write_text(passwd)
    (tmp_path / "kubeconfig").write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\ncontexts: [{name: one, context: {cluster: c, user: u}}]\n"
        'clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]\nusers: [{name: u, user: {token: one}}]\n'
    )
    file = tmp_path / ".ssh" / "config"
    file.parent.mkdir(mode=0o700)
    file.write_bytes(COMPANY)
    file.chmod(mode)
    word = [sys.executable, "-m", "broker.main", "--kubeconfig", str(tmp_path / "kubeconfig"), "ssh-config"]
    script = f"mount --bind {tmp_path}/passwd /etc/passwd && exec {shlex.join(word)}"
    done = subprocess.run([*ours, f"{script} install"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, str(file) in done.stdout + done.stderr) == (status, True), done.stderr
    assert ("Bad owner or permissions" in done.stderr) is (status == 2)
    checked = subprocess.run([*ours, f"{script} check"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (checked.returncode, "ssh-refuses" in checked.stdout) == (bool(status), bool(status)), checked.stdout
