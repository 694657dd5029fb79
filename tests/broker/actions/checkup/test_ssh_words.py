"""What ssh said, as checks."""

from __future__ import annotations

import pytest

from broker.actions.checkup.ssh_words import key_check, read_options, socket_check, version_check


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
