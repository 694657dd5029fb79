"""What was found in an ssh configuration, as checks: each by its own facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.actions.check_ssh_config import SshConfigCheck, Way
from broker.actions.checkup.check import Check
from broker.actions.checkup.ssh_verdicts import settle_findings
from broker.actions.checkup.ssh_words import socket_check
from broker.clean import clean
from broker.paths.ssh_findings import Finding, Severity

NAMES = ("ssh-include", "ssh-alias", "ssh-jump", "ssh-control-path", "ssh-file")
ALIASES = ("sample.sample.vm", "web.shop.vm")
FITS = socket_check(ALIASES[0], {"controlpath": ("x",)}, "linux")
EXCEEDS = socket_check(ALIASES[0], {"controlpath": ("x" * 200,)}, "linux")
OURS = tuple(Way(alias=alias, is_ours=True, proxy=clean("proxycommand vmbroker proxy -- %n %p")) for alias in ALIASES)


def finding(code: str, what: str, severity: Severity = "defeats") -> Finding:
    return Finding(
        code=code,
        severity=severity,
        place=clean("/home/x/.ssh/config:7"),
        what=clean(what),
        why=clean("why it matters"),
        instead=clean("what to write"),
    )


def ways(is_ours: bool | None, proxy: str) -> tuple[Way, ...]:
    return tuple(Way(alias=alias, is_ours=is_ours, proxy=clean(proxy)) for alias in ALIASES)


def checks(
    *found: Finding,
    is_installed: bool = True,
    unknown: tuple[str, ...] = (),
    taken: tuple[Way, ...] = OURS,
    measured: Check | None = FITS,
) -> dict[str, Check]:
    check = SshConfigCheck(
        file=Path("/home/x/.ssh/config"),
        own=Path("/home/x/.ssh/vmbroker.conf"),
        is_installed=is_installed,
        findings=found,
        unknown=unknown,
        ways=taken,
    )
    told = list(settle_findings(check, measured))
    assert [each.code for each in told] == list(NAMES)
    return {each.code: each for each in told}


def failing(told: dict[str, Check]) -> set[str]:
    return {name for name in NAMES if told[name].state == "failed"}


def test_where_ssh_takes_our_command_all_is_well_and_each_says_what_it_saw() -> None:
    told = checks()
    assert {check.state for check in told.values()} == {"ok"}
    assert told["ssh-include"].says == "/home/x/.ssh/vmbroker.conf, before any Host or Match of /home/x/.ssh/config"
    assert told["ssh-alias"].says == "ssh -G gives our ProxyCommand for 2 sample aliases"
    assert told["ssh-file"].says == "nothing in it defeats or endangers an alias"


def test_an_earlier_jump_fails_the_include_the_alias_and_the_jump_and_none_of_them_claims_the_opposite() -> None:
    told = checks(
        finding("earlier-proxy", "`proxyjump bastion` wins for sample.sample.vm"),
        finding("include-not-first", "our Include is not the first directive", "note"),
        taken=ways(False, "proxyjump bastion"),
    )
    assert failing(told) == {"ssh-include", "ssh-alias", "ssh-jump"}
    alias = told["ssh-alias"]
    assert alias.says == "for sample.sample.vm ssh -G gives `proxyjump bastion`, not our ProxyCommand (and for 1 more)"
    assert alias.cause == "/home/x/.ssh/config:7: `proxyjump bastion` wins for sample.sample.vm"
    assert told["ssh-include"].says == "/home/x/.ssh/config:7: our Include is not the first directive"
    assert told["ssh-file"].says.startswith("nothing more than what is said at 'no ProxyJump before us'")


@pytest.mark.parametrize(
    ("proxy", "fails"),
    [
        ("proxycommand nc %h %p", {"ssh-alias"}),
        ("", {"ssh-alias"}),
        ("proxyjump bastion", {"ssh-alias", "ssh-jump"}),
    ],
)
def test_what_ssh_gives_decides_though_no_line_was_found(proxy: str, fails: set[str]) -> None:
    told = checks(taken=ways(False, proxy))
    assert failing(told) == fails
    assert (f"`{proxy}`" if proxy else "no proxy at all") in told["ssh-alias"].says


def test_an_include_inside_a_block_is_the_cause_of_an_alias_without_a_proxy() -> None:
    inside = finding("include-conditional", "our file is included inside `Host other` (line 1)")
    told = checks(inside, taken=ways(False, ""))
    assert failing(told) == {"ssh-include", "ssh-alias"}
    assert told["ssh-alias"].cause == f"{inside.place}: {inside.what}"
    assert checks(taken=ways(False, ""))["ssh-alias"].cause == "no block of ours is read for it"


def test_an_include_that_is_not_first_is_told_as_such_even_where_it_harms_nothing() -> None:
    told = checks(finding("include-not-first", "our Include is not the first directive", "note"))
    assert told["ssh-include"].state == "ok"
    assert "before any" not in told["ssh-include"].says
    assert "not the first directive: why it matters" in told["ssh-include"].says


def test_what_is_not_installed_is_no_failure_and_the_users_own_file_is_looked_at_all_the_same() -> None:
    dotted = finding("dotted-virtctl-target", "virtctl is given NAME.NAMESPACE", "danger")
    told = checks(dotted, is_installed=False, taken=ways(False, ""), measured=None)
    assert {told[code].state for code in NAMES[:4]} == {"unknown"}
    assert "vmbroker ssh-config install" in (told["ssh-include"].next_step or "")
    assert (told["ssh-file"].state, told["ssh-file"].error_code) == ("failed", "dotted-virtctl-target")
    assert told["ssh-file"].says == "/home/x/.ssh/config:7: virtctl is given NAME.NAMESPACE"


def test_a_file_that_cannot_be_read_is_not_called_without_our_include() -> None:
    told = checks(finding("config-unread", "no access"), is_installed=False, unknown=("what stands in /a",), taken=())
    assert (told["ssh-include"].state, told["ssh-include"].says) == ("unknown", "not known: what stands in /a")


@pytest.mark.parametrize(
    ("code", "what", "check"),
    [
        ("include-conditional", "our file is included inside a Host block", "ssh-include"),
        ("earlier-proxy", "`proxyjump bastion` wins for sample.sample.vm", "ssh-jump"),
        ("earlier-proxy", "`proxycommand nc %h %p` wins for sample.sample.vm", "ssh-alias"),
        ("controlpath-long", "`controlpath ~/.ssh/%h` grows with the VM's name", "ssh-control-path"),
        ("control-folder-gone", "the folder of our sockets is not there", "ssh-control-path"),
        ("host-keys-off", "`stricthostkeychecking no`: host keys are not checked", "ssh-file"),
    ],
)
def test_a_finding_fails_its_own_check(code: str, what: str, check: str) -> None:
    told = checks(finding(code, what, "danger"), finding(code, what), measured=EXCEEDS if "long" in code else FITS)
    assert failing(told) == {check}
    assert (told[check].error_code, told[check].cause, told[check].next_step) == (code, "why it matters", "what to write")
    assert "and 1 more" in told[check].says
    if check != "ssh-file":
        assert told["ssh-file"].says.startswith("nothing more than what is said at ")


def test_a_note_is_no_failure_and_is_counted() -> None:
    told = checks(finding("host-keys-off", "host keys are not checked for these hosts", "note"))
    assert failing(told) == set()
    assert told["ssh-file"].says.endswith("(1 note: vmbroker ssh-config check)")


def test_an_unanswered_question_is_unknown() -> None:
    told = checks(unknown=("what ssh makes of /a",), taken=ways(None, ""), measured=None)
    assert {name for name in NAMES if told[name].state == "unknown"} == {"ssh-alias", "ssh-jump", "ssh-control-path"}
    assert told["ssh-alias"].says == "not known: what ssh makes of /a"


def test_the_measurement_decides_and_a_finding_names_the_line() -> None:
    long = finding("controlpath-long", "`controlpath ~/.ssh/%h` grows with the VM's name", "danger")
    told = checks(long, measured=EXCEEDS)["ssh-control-path"]
    assert (told.state, told.says) == ("failed", f"{long.place}: {long.what}")
    assert checks(measured=EXCEEDS)["ssh-control-path"] == EXCEEDS


def test_a_path_that_fits_as_yet_is_still_a_danger_in_the_users_own_file() -> None:
    long = finding("controlpath-long", "`controlpath ~/.ssh/%h` grows with the VM's name", "danger")
    told = checks(long, measured=FITS)
    assert told["ssh-control-path"] == FITS
    assert (told["ssh-file"].state, told["ssh-file"].error_code) == ("failed", "controlpath-long")
