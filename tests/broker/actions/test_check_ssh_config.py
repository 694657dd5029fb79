"""What is found on a machine, by the files and by the real ssh; nothing is changed by looking."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import time
from pathlib import Path

import pytest

from broker.actions.check_ssh_config import SshConfigCheck, findings
from broker.actions.install_ssh_config import put_in
from broker.actions.locate_ssh_config import locate
from broker.errors import Refused
from broker.paths.openssh import Origin
from broker.paths.ssh_blocks import Cluster, Layout


def install(file: Path, *, control_dir: str | None = None, origin: Origin | None = None) -> None:
    kubeconfig = file.parent.parent / "kubeconfig"
    kubeconfig.touch()
    origin = origin or Origin(program=("/bin/true",), kubeconfigs=(str(kubeconfig),), context="prod")
    layout = Layout(
        current=Cluster(label=None, origin=origin),
        contexts=(Cluster(label="prod", origin=origin),),
        labels={"prod": "prod"},
        control_dir=control_dir,
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


def test_a_mode_that_others_may_use_is_a_danger_and_a_group_of_one_is_none(home: Path) -> None:
    file = home / "config"
    install(file)
    file.chmod(0o666)
    home.chmod(0o770)
    found = codes(findings(file))
    assert (found["writable-by-others"], found["unsafe-folder"]) == (str(file), str(home))
    home.chmod(0o700)
    file.chmod(0o664)
    alone = os.stat(file).st_gid == os.getgid() and not [n for n in grp.getgrgid(os.getgid()).gr_mem if n != who()]
    assert findings(file).is_good is alone


def who() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


BAD = {
    "a bad line": (b"Host a\n  Prot 22\n", 2, "prot"),
    "a bad value": (b"Host a\n\n  Port 99999\n", 3, "Bad port"),
    "a byte order mark": (b"\xef\xbb\xbfHost a\n", 1, "Bad configuration option"),
    "UTF-16": ("Host a\n".encode("utf-16"), 1, "no argument"),
    "an open quote": (b'Host "a\n', 1, "invalid quotes"),
}


@pytest.mark.parametrize("is_included", [False, True])
@pytest.mark.parametrize("case", BAD)
def test_what_ssh_refuses_defeats_with_its_file_and_line(home: Path, case: str, is_included: bool) -> None:
    data, line, said = BAD[case]
    file = home / "config"
    (home / "other").write_bytes(data)
    file.write_bytes(f"Include {home}/other\n".encode() if is_included else data)
    check = findings(file)
    (found,) = [each for each in check.findings if each.severity == "defeats"]
    assert (found.code, str(found.place)) == ("ssh-refuses", f"{home / 'other' if is_included else file}:{line}")
    assert said in found.what
    assert not check.is_good


def test_a_loop_of_includes_defeats_and_ends(home: Path) -> None:
    file = home / "config"
    file.write_text(f"Include {file}\n")
    assert codes(findings(file)) == {"ssh-refuses": str(file)}
    file.write_text(f"Include {file}\n" * 3)
    check = findings(file)
    assert any("1000 files" in each.what for each in check.findings)
    assert not check.is_good


@pytest.mark.parametrize("kind", ["pipe", "folder", "unreadable"])
def test_what_is_no_file_to_read_defeats_without_waiting(home: Path, kind: str) -> None:
    file = home / "config"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.write_bytes(b"\n" * (16 * 1024 * 1024 + 1))
    began = time.monotonic()
    check = findings(file)
    assert codes(check)["config-unread"] == str(file)
    assert (check.is_good, time.monotonic() - began < 2) == (False, True)


def test_a_folder_that_a_glob_takes_along_is_nothing(home: Path) -> None:
    file = home / "config"
    (home / "config.d" / "folder").mkdir(parents=True)
    file.write_text(f"Include {home}/config.d/*\n")
    assert findings(file).is_good


def test_a_command_that_hangs_defeats_in_time_and_is_named(home: Path) -> None:
    file = home / "config"
    file.write_text('Host a\nMatch exec "sleep 60"\n  User x\n')
    check = findings(file, limit_s=0.3)
    assert codes(check) == {"ssh-silent": f"{file}:2"}
    assert not check.is_good


def test_a_missing_ssh_defeats(home: Path) -> None:
    for made in (False, True):
        check = findings(home / "config", program="/nonexistent/ssh")
        assert (codes(check), check.is_good) == ({"ssh-unusable": str(home / "config")}, False)
        if not made:
            (home / "config").write_text("Host a\n")


def test_the_folder_of_our_sockets_is_looked_at(home: Path) -> None:
    file, control = home / "config", home / ".vmbroker"
    file.write_text("Host *\n  ControlMaster auto\n")
    install(file, control_dir=str(control) if len(str(control)) < 30 else "/tmp/c")
    assert findings(file).is_good
    control.chmod(0o777)
    assert codes(findings(file)) == {"control-folder-unsafe": str(control)}
    control.rmdir()
    (gone,) = findings(file).findings
    assert (gone.code, gone.severity) == ("control-folder-gone", "defeats")
    control.symlink_to(home)
    assert codes(findings(file)) == {"control-folder-unsafe": str(control)}


def test_a_merged_list_of_kubeconfigs_is_read_too(home: Path) -> None:
    file, one, two = home / "config", home / "one", home / "two"
    one.touch()
    two.touch()
    install(file, origin=Origin(program=("/bin/true",), kubeconfigs=(str(one), str(two)), context="prod"))
    assert findings(file).is_good
    for path, severity in ((two, "danger"), (one, "defeats")):
        path.unlink()
        (gone,) = findings(file).findings
        assert (gone.code, gone.severity) == ("kubeconfig-gone", severity)
    install(file, origin=Origin(program=("/gone/vmbroker",), kubeconfigs=(str(home / "a"), str(home / "b"))))
    assert {"program-missing", "kubeconfig-gone"} <= set(codes(findings(file)))


def test_a_file_of_our_name_that_install_refuses_is_told_so_by_check(home: Path) -> None:
    file, own = home / "config", home / "vmbroker.conf"
    install(file)
    own.write_text(own.read_text().partition("\n")[2])
    for data in (file.read_bytes(), b""):
        file.write_bytes(data)
        (found,) = [each for each in findings(file).findings if each.code == "own-foreign"]
        assert found.instead.startswith("move it away")
        with pytest.raises(Refused):
            install(file)


@pytest.mark.parametrize("data", [b"\x00\xff\xfe", b"Host \x1b[2J\n", b'Host "', b"Include\n", b"Include /dev/zero\n"])
def test_odd_files_raise_nothing(home: Path, data: bytes) -> None:
    file = home / "config"
    file.write_bytes(data)
    check = findings(file)
    assert all(char.isprintable() for line in check.unknown for char in line)


def test_looking_changes_neither_bytes_nor_times(home: Path) -> None:
    file = home / "config"
    file.write_text("Host *\n  ProxyJump bastion\n  StrictHostKeyChecking no\n")
    install(file)

    def shot() -> list[tuple[str, int, bytes]]:
        return [(path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(home.iterdir()) if path.is_file()]

    before, folder = shot(), os.stat(home).st_mtime_ns
    findings(file)
    assert (shot(), os.stat(home).st_mtime_ns) == (before, folder)


def test_case_c012_our_verdict_after_a_foreign_block_is_that_of_ssh(home: Path) -> None:
    file = home / "config"
    install(file)
    (home / "inc1").write_text("Host somewhere-else\n  User nobody\n  ProxyCommand nc %h %p\n")
    file.write_text(f"Include {home}/inc1\n{file.read_text()}")
    shown = subprocess.run(["ssh", "-G", "-F", file, "web.shop.vm"], capture_output=True, text=True, timeout=10, check=True)
    values = dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
    assert values["proxycommand"].startswith("/bin/true ")
    assert values["user"] != "nobody"
    assert codes(findings(file)) == {}
