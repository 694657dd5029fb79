"""What ssh said, and what was found in its configuration, as checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.actions.check_ssh_config import SshConfigCheck
from broker.actions.checkup.check import Check
from broker.actions.checkup.ssh_words import key_check, read_options, settle_findings, socket_check, version_check
from broker.clean import clean
from broker.paths.ssh_findings import Finding, Severity

NAMES = ("ssh-include", "ssh-alias", "ssh-jump", "ssh-control-path", "ssh-file")


def finding(code: str, what: str, severity: Severity = "defeats") -> Finding:
    return Finding(
        code=code,
        severity=severity,
        place=clean("/home/x/.ssh/config:7"),
        what=clean(what),
        why=clean("why it matters"),
        instead=clean("what to write"),
    )


def checks(*found: Finding, is_installed: bool = True, unknown: tuple[str, ...] = ()) -> dict[str, Check]:
    check = SshConfigCheck(
        file=Path("/home/x/.ssh/config"),
        own=Path("/home/x/.ssh/vmbroker.conf"),
        is_installed=is_installed,
        findings=found,
        unknown=unknown,
    )
    told = list(settle_findings(check))
    assert [each.code for each in told] == list(NAMES)
    return {each.code: each for each in told}


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n", "ok"),
        ("OpenSSH_for_Windows_9.5p1, LibreSSL 3.8.2", "ok"),
        ("OpenSSH_10.0p2, OpenSSL", "ok"),
        ("OpenSSH_7.4p1, OpenSSL 1.0.2k-fips", "failed"),
        ("Dropbear v2022.83", "failed"),
        ("", "failed"),
    ],
)
def test_only_an_openssh_that_can_read_our_file_is_well(words: str, state: str) -> None:
    assert version_check(0, words).state == state


def test_options_keep_every_value_in_order() -> None:
    told = read_options("user root\nidentityfile ~/.ssh/a\nidentityfile ~/.ssh/b c\nproxycommand x %n\n\n")
    assert told["identityfile"] == ("~/.ssh/a", "~/.ssh/b c")
    assert told["proxycommand"] == ("x %n",)


def test_a_key_file_or_a_key_in_the_agent_is_enough() -> None:
    assert key_check(["~/.ssh/id"], None, tried=3).says == "~/.ssh/id"
    assert key_check(["a", "b"], 2, tried=3).says == "a and 1 more, 2 in the agent"
    assert key_check([], 1, tried=3).state == "ok"
    empty, none = key_check([], 0, tried=3), key_check([], None, tried=3)
    assert empty.state == none.state == "failed"
    assert "the agent is empty" in (empty.cause or "")
    assert "there is no agent" in (none.cause or "")


def test_what_is_not_installed_is_no_failure_and_the_users_own_file_is_looked_at_all_the_same() -> None:
    told = checks(finding("dotted-virtctl-target", "virtctl is given NAME.NAMESPACE", "danger"), is_installed=False)
    assert {told[code].state for code in NAMES[:4]} == {"unknown"}
    assert "vmbroker ssh-config install" in (told["ssh-include"].next_step or "")
    assert (told["ssh-file"].state, told["ssh-file"].error_code) == ("failed", "dotted-virtctl-target")
    assert told["ssh-file"].says == "/home/x/.ssh/config:7: virtctl is given NAME.NAMESPACE"


@pytest.mark.parametrize(
    ("code", "what", "check"),
    [
        ("include-conditional", "our file is included inside a Host block", "ssh-include"),
        ("earlier-proxy", "`proxyjump bastion` wins for sample.sample.vm", "ssh-jump"),
        ("earlier-proxy", "`proxycommand nc %h %p` wins for sample.sample.vm", "ssh-alias"),
        ("controlpath-long", "`controlpath ~/.ssh/%h` grows with the VM's name", "ssh-control-path"),
        ("host-keys-off", "`stricthostkeychecking no`: host keys are not checked", "ssh-file"),
    ],
)
def test_a_finding_fails_its_own_check(code: str, what: str, check: str) -> None:
    told = checks(finding(code, what, "danger"), finding(code, what))
    assert {name for name in NAMES if told[name].state == "failed"} == {check}
    assert (told[check].error_code, told[check].cause, told[check].next_step) == (code, "why it matters", "what to write")
    assert "and 1 more" in told[check].says


def test_a_note_is_no_failure_and_an_unanswered_question_is_unknown() -> None:
    assert {each.state for each in checks(finding("include-not-first", "it is not the first", "note")).values()} == {"ok"}
    told = checks(unknown=("ssh -G had no answer in time",))
    assert {name for name in NAMES if told[name].state == "unknown"} == {"ssh-alias", "ssh-jump", "ssh-control-path"}


@pytest.mark.parametrize(
    ("size", "master", "system", "state"),
    [
        (90, "auto", "linux", "ok"),
        (91, "auto", "linux", "failed"),
        (107, "false", "linux", "ok"),
        (108, "false", "linux", "failed"),
        (87, "auto", "darwin", "failed"),
        (104, "false", "freebsd13", "failed"),
    ],
)
def test_a_control_path_must_leave_room_for_what_ssh_puts_behind_it(size: int, master: str, system: str, state: str) -> None:
    check = socket_check("n.s.vm", {"controlpath": ("x" * size,), "controlmaster": (master,)}, system)
    assert check.state == state
    assert socket_check("n.s.vm", {"controlpath": ("none",)}, system).state == socket_check("n.s.vm", {}, system).state == "ok"


def test_the_measurement_decides_and_a_finding_names_the_line() -> None:
    long = finding("controlpath-long", "`controlpath ~/.ssh/%h` grows with the VM's name", "danger")
    check = SshConfigCheck(file=Path("a"), own=Path("b"), is_installed=False, findings=(long,))
    fits = socket_check("n.s.vm", {"controlpath": ("x",)}, "linux")
    exceeds = socket_check("n.s.vm", {"controlpath": ("x" * 200,)}, "linux")
    assert next(each for each in settle_findings(check, fits) if each.code == "ssh-control-path") == fits
    told = next(each for each in settle_findings(check, exceeds) if each.code == "ssh-control-path")
    assert (told.state, told.says) == ("failed", f"{long.place}: {long.what}")
