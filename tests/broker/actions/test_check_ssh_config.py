"""What is found on a machine, by the files and by the real ssh; nothing is changed by looking."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.actions.check_ssh_config import SshConfigCheck, findings
from broker.actions.install_ssh_config import put_in
from broker.actions.locate_ssh_config import locate
from broker.paths.openssh import Origin
from broker.paths.ssh_blocks import Cluster, Layout
from tests.conftest import need


@pytest.fixture
def home(tmp_path: Path) -> Path:
    need("ssh", "openssh-client")
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    return folder


def install(file: Path) -> None:
    kubeconfig = file.parent.parent / "kubeconfig"
    kubeconfig.touch()
    origin = Origin(program=("/bin/true",), kubeconfigs=(str(kubeconfig),), context="prod")
    layout = Layout(
        current=Cluster(label=None, origin=origin), contexts=(Cluster(label="prod", origin=origin),), labels={"prod": "prod"}
    )
    put_in(layout, locate(file), program="ssh")


def codes(check: SshConfigCheck) -> dict[str, str]:
    return {finding.code: str(finding.place) for finding in check.findings if finding.severity != "note"}


def test_a_fresh_installation_has_no_finding(home: Path) -> None:
    file = home / "config"
    file.write_text("Host *\n  ProxyJump bastion\n  User me\n")
    install(file)
    check = findings(file, labels={"prod": "prod"})
    assert (check.is_installed, check.is_good, check.findings, check.unknown) == (True, True, (), ())


def test_without_an_installation_that_is_a_note(home: Path) -> None:
    check = findings(home / "config")
    assert (check.is_installed, check.is_good) == (False, True)
    assert [finding.code for finding in check.findings] == ["not-installed"]


def test_case_c011_names_the_line_that_wins(home: Path) -> None:
    file = home / "config"
    install(file)
    ours = file.read_text()
    file.write_text("Host *\n  ProxyJump bastion\n" + ours)
    check = findings(file)
    assert codes(check)["earlier-proxy"] == f"{file}:2"
    assert not check.is_good


def test_the_winner_is_found_inside_what_the_user_includes(home: Path) -> None:
    file = home / "config"
    install(file)
    (home / "conf.d").mkdir()
    (home / "conf.d" / "company").write_text("\nHost *.vm\n  ProxyCommand nc %h %p\n")
    file.write_text(f"Include {home}/conf.d/*\n{file.read_text()}")
    assert codes(findings(file))["earlier-proxy"] == f"{home}/conf.d/company:3"


def test_case_c012_an_included_file_that_ends_in_a_block_leaks_nothing(home: Path) -> None:
    file = home / "config"
    install(file)
    (home / "inc1").write_text("Host nomatch\n  User nobody\n")
    file.write_text(f"Include {home}/inc1\n{file.read_text()}")
    assert codes(findings(file)) == {}


def test_an_include_inside_a_block_is_named(home: Path) -> None:
    file = home / "config"
    install(file)
    file.write_text("Host foo\n" + file.read_text())
    assert codes(findings(file))["include-conditional"] == f"{file}:3"


def test_a_condition_that_holds_by_a_command_is_decided_by_ssh(home: Path) -> None:
    file = home / "config"
    install(file)
    ours = file.read_text()
    file.write_text('Match exec "false"\n  ProxyJump bastion\nMatch all\n' + ours)
    assert codes(findings(file)) == {}
    file.write_text('Match exec "true"\n  ProxyJump bastion\nMatch all\n' + ours)
    assert codes(findings(file))["earlier-proxy"] == f"{file}:2"


def test_case_c013_the_longest_alias_is_measured(home: Path) -> None:
    file = home / "config"
    file.write_text("Host *\n  ControlPath ~/.ssh/cm/%r@%h:%p\n")
    assert codes(findings(file)) == {"controlpath-long": f"{file}:2"}
    install(file)
    assert codes(findings(file)) == {}


def test_our_own_file_is_looked_at(home: Path) -> None:
    file, own = home / "config", home / "vmbroker.conf"
    install(file)
    text = own.read_text()
    own.write_text(text.replace("ServerAliveInterval 30", "ServerAliveInterval 31"))
    assert [finding.code for finding in findings(file).findings] == ["own-edited"]
    own.write_text(text)
    assert list(codes(findings(file, labels={"prod": "prod", "new/one": "new-one"}))) == ["own-outdated"]
    (home.parent / "kubeconfig").unlink()
    assert list(codes(findings(file))) == ["kubeconfig-gone"]
    own.write_text(text.replace("/bin/true", "/gone/vmbroker"))
    assert "program-missing" in codes(findings(file))
    own.write_text("Host *.vm\n  ProxyCommand /bin/true\n")
    assert "own-foreign" in codes(findings(file))
    own.unlink()
    assert codes(findings(file)) == {"own-missing": str(own)}


def test_modes_that_ssh_refuses_are_named(home: Path) -> None:
    file = home / "config"
    install(file)
    file.chmod(0o664)
    home.chmod(0o770)
    found = codes(findings(file))
    assert (found["writable-by-others"], found["unsafe-folder"]) == (str(file), str(home))


def test_a_file_that_ssh_refuses_is_unknown_with_sshs_words(home: Path) -> None:
    file = home / "config"
    file.write_text("Host a\n  Prot 22\n")
    (line,) = findings(file).unknown
    assert "line 2" in line
    assert "prot" in line


def test_an_ssh_that_hangs_is_unknown_in_time(home: Path) -> None:
    file = home / "config"
    file.write_text('Match exec "sleep 60"\n  User x\n')
    check = findings(file, limit_s=0.3)
    assert any("no answer in time" in line for line in check.unknown)


def test_a_missing_ssh_is_unknown(home: Path) -> None:
    assert any("cannot be run" in line for line in findings(home / "config", program="/nonexistent/ssh").unknown)


@pytest.mark.parametrize("data", [b"\x00\xff\xfe", b"Host \x1b[2J\n", b'Host "', b"Include\n", b"Include /dev/zero\n"])
def test_odd_files_raise_nothing(home: Path, data: bytes) -> None:
    file = home / "config"
    file.write_bytes(data)
    check = findings(file)
    assert all(char.isprintable() for line in check.unknown for char in line)


def test_an_include_of_itself_ends(home: Path) -> None:
    file = home / "config"
    file.write_text(f"Include {file}\n" * 3)
    assert any("1000 files" in line for line in findings(file).unknown)


def test_looking_changes_neither_bytes_nor_times(home: Path) -> None:
    file = home / "config"
    file.write_text("Host *\n  ProxyJump bastion\n  StrictHostKeyChecking no\n")
    install(file)

    def shot() -> list[tuple[str, int, bytes]]:
        return [(path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(home.iterdir()) if path.is_file()]

    before, folder = shot(), os.stat(home).st_mtime_ns
    findings(file)
    assert (shot(), os.stat(home).st_mtime_ns) == (before, folder)
