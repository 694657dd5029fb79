"""ssh, scp and sftp: the argv that the user's own programs get, and what is said before they run."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.broker.cli.api_server import TOKEN, serving
from tests.conftest import vmbroker

CONTEXT = "it's 100% prod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A machine with recording ssh, scp and sftp on PATH and a cluster that knows two VMs."""

    kubeconfig: Path
    env: dict[str, str]
    record: Path

    def run(self, *words: str) -> tuple[list[str], str]:
        """Run vmbroker; the recorded argv of the program that took its place, and stderr."""
        self.record.unlink(missing_ok=True)
        done = vmbroker("--kubeconfig", str(self.kubeconfig), *words, env=self.env)
        assert done.returncode == 42, done.stderr
        argv: list[str] = json.loads(self.record.read_text())
        return argv, done.stderr


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    record = tmp_path / "argv.json"
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("ssh", "scp", "sftp"):
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            f"json.dump([os.path.basename(sys.argv[0]), *sys.argv[1:]], open({str(record)!r}, 'w'))\nsys.exit(42)\n"
        )
        program.chmod(0o755)
    env = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    with serving(tmp_path, CONTEXT) as kubeconfig:
        yield Desk(kubeconfig=kubeconfig, env=env, record=record)


def _option(argv: list[str], name: str) -> str:
    (value,) = [word.partition("=")[2] for word in argv if word.startswith(f"{name}=")]
    return value


def _proxy_words(argv: list[str]) -> list[str]:
    """The words that /bin/sh gives to the ProxyCommand, after ssh has undone its `%%`."""
    return shlex.split(_option(argv, "ProxyCommand").replace("%%", "%"))


def test_ssh_becomes_the_users_ssh_with_the_vms_user(desk: Desk) -> None:
    argv, said = desk.run("ssh", "web", "--", "-v", "uptime", "-p")
    assert said == ""
    assert argv[:2] == ["ssh", "-v"]
    host = _option(argv, "HostKeyAlias")
    assert host.startswith("web.shop.vm.it-s-100-prod-")
    assert argv[-6:] == ["-l", "fedora", "--", host, "uptime", "-p"]
    assert not any("StrictHostKeyChecking" in word or "UserKnownHosts" in word for word in argv)


def test_the_proxy_command_carries_cluster_and_person(desk: Desk) -> None:
    argv, _ = desk.run("ssh", "web", "--as", "eve o'x", "--as-group", "g 1", "--set", "stream.handshake_s=5")
    words = _proxy_words(argv)
    assert words[-3:] == ["proxy", "vm/web/shop", "22"]
    for word in (f"--kubeconfig={desk.kubeconfig}", f"--context={CONTEXT}", "--as=eve o'x", "--as-group=g 1"):
        assert word in words
    assert words[words.index("--set") + 1] == "stream.handshake_s=5"
    assert "--output=json" not in words
    assert "--output=json" in _proxy_words(desk.run("-o", "json", "ssh", "web")[0])
    assert "-P" in words


def test_ssh_own_default_user_is_said_once(desk: Desk) -> None:
    argv, said = desk.run("ssh", "vm/db")
    assert "-l" not in argv
    assert said.count("ssh takes its own default") == 1
    assert _proxy_words(argv)[-1] == "2222"


@pytest.mark.parametrize(
    "words",
    [("ssh", "eve@db"), ("ssh", "db", "-l", "eve"), ("ssh", "db", "--", "-l", "eve"), ("ssh-for-rsync", "-l", "eve", "db")],
)
def test_a_user_may_be_given_in_every_way(desk: Desk, words: tuple[str, ...]) -> None:
    argv, said = desk.run(*words)
    assert said == ""
    assert argv[argv.index("-l") + 1] == "eve"
    assert argv.count("-l") == 1


def test_a_port_given_to_ssh_reaches_the_proxy(desk: Desk) -> None:
    for words in (("ssh", "web", "-p", "2200"), ("ssh", "web", "--", "-p", "2200"), ("ssh-for-rsync", "-p2200", "web")):
        argv, _ = desk.run(*words)
        assert _proxy_words(argv)[-1] == "2200"


def test_scp_gets_one_host_and_its_own_options(desk: Desk) -> None:
    argv, _ = desk.run("scp", "-rP", "2200", "a b", "web:/tmp/x y", "--user", "eve")
    host = _option(argv, "HostKeyAlias")
    assert argv[:2] == ["scp", "-r"]
    assert argv[-3:] == ["--", "a b", f"eve@{host}:/tmp/x y"]
    assert _proxy_words(argv)[-1] == "2200"


def test_scp_between_two_vms_names_each_with_its_port(desk: Desk) -> None:
    argv, said = desk.run("scp", "web:/etc/a b", "eve@vm/db/shop:x")
    assert said == ""
    assert _proxy_words(argv)[-3:] == ["proxy", "%n", "%p"]
    assert argv[:2] == ["scp", "-3"]
    source, destination = argv[-2:]
    assert source.startswith("scp://fedora@web.shop.vm.it-s-100-prod-")
    assert source.endswith(":22//etc/a%20b")
    assert destination.startswith("scp://eve@db.shop.vm.it-s-100-prod-")
    assert destination.endswith(":2222/x")


def test_sftp_gets_its_one_host(desk: Desk) -> None:
    argv, _ = desk.run("sftp", "-b", "batch", "web.shop.vm:/tmp")
    assert argv[:3] == ["sftp", "-b", "batch"]
    assert argv[-1] == f"fedora@{_option(argv, 'HostKeyAlias')}:/tmp"


def test_settings_name_another_ssh_for_all_three(desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "bin" / "other-ssh"
    other.symlink_to(tmp_path / "bin" / "ssh")
    argv, _ = desk.run("ssh", "web", "--set", "ssh.program=other-ssh")
    assert argv[0] == "other-ssh"
    argv, _ = desk.run("scp", "a", "web:", "--set", "ssh.program=other-ssh")
    assert argv[:3] == ["scp", "-S", "other-ssh"]


def test_a_pattern_of_the_settings_names_the_user(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "xdg" / "vmbroker"
    folder.mkdir(parents=True)
    (folder / "vmbroker.toml").write_text('[ssh.vms."d*.shop"]\nuser = "postgres"\n')
    argv, said = desk.run("ssh", "db")
    assert argv[argv.index("-l") + 1] == "postgres"
    assert said == ""


def test_a_missing_ssh_is_told_with_its_package(desk: Desk, tmp_path: Path) -> None:
    done = vmbroker("--kubeconfig", str(desk.kubeconfig), "ssh", "web", env={**desk.env, "PATH": str(tmp_path)})
    assert done.returncode == 255
    assert "'ssh' is not on this machine [program-missing]" in done.stderr
    assert "openssh-client" in done.stderr


def test_a_vm_that_is_not_there_ends_with_255_and_the_code(desk: Desk) -> None:
    done = vmbroker("--kubeconfig", str(desk.kubeconfig), "ssh", "none", env=desk.env)
    assert done.returncode == 255
    assert "[vm-not-found]" in done.stderr


def test_our_own_host_word_leads_back_to_its_context(desk: Desk) -> None:
    argv, _ = desk.run("ssh", "web")
    host = _option(argv, "HostKeyAlias")
    again, _ = desk.run("ssh", host)
    assert _option(again, "HostKeyAlias") == host
    done = vmbroker("--kubeconfig", str(desk.kubeconfig), "proxy", host, "22", env=desk.env)
    assert (done.returncode, done.stdout) == (5, "")
    assert "[vm-starting]" in done.stderr


def test_no_secret_stands_in_argv_or_in_the_debug_log(desk: Desk) -> None:
    argv, said = desk.run("ssh", "web", "--debug")
    assert TOKEN not in said
    assert not any(TOKEN in word for word in argv)
    failed = vmbroker("--kubeconfig", str(desk.kubeconfig), "--debug", "show", "none", env=desk.env)
    assert failed.returncode == 3
    assert TOKEN not in failed.stderr + failed.stdout


def test_an_unknown_context_label_is_a_usage_error(desk: Desk) -> None:
    done = vmbroker("--kubeconfig", str(desk.kubeconfig), "proxy", "web.shop.vm.it-s-100-prd", env=desk.env)
    assert done.returncode == 2
    assert "did you mean 'it-s-100-prod'?" in done.stderr
