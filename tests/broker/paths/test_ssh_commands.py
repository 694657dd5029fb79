"""ProxyCommands of other people: dotted virtctl targets, and shells that read a host word."""

from __future__ import annotations

import pytest

from broker.paths.ssh_commands import runs_host_in_shell, targets_dotted_virtctl

CUT = "virtctl port-forward --stdio=true vmi/$(echo %h | cut -d. -f1).$(echo %h | cut -d. -f2) %p"


@pytest.mark.parametrize(
    ("command", "patterns", "expected"),
    [
        (CUT, ["*.lab"], True),
        ("virtctl port-forward --stdio=true vm/web.shop 22", ["web"], True),
        ("/usr/local/bin/virtctl --context x port-forward --stdio=true vmi/web.shop 22", ["web"], True),
        ("kubectl virt port-forward --stdio=true vm/web.shop %p", ["web"], True),
        ("virtctl port-forward --stdio=true vm/%h %p", ["*.vms"], True),
        ("virtctl port-forward --stdio=true vm/`echo %h`.shop %p", ["*"], True),
        ("virtctl port-forward --stdio=true vm/web/shop %p", ["web"], False),
        ("virtctl port-forward --stdio=true vm/web.a/shop %p", ["web"], False),
        ("virtctl port-forward --stdio=true %h %p", ["vm/*"], False),
        ("virtctl port-forward --stdio=true vm/%h %p", ["web"], False),
        ("virtctl port-forward --stdio=true vm/%h/shop %p", ["*.lab"], False),
        ("nc vm/web.shop 22", ["web"], False),
        ("virtctl version vm/web.shop", ["web"], False),
    ],
)
def test_a_dotted_virtctl_target_is_seen(command: str, patterns: list[str], expected: bool) -> None:
    assert targets_dotted_virtctl(command, patterns) is expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (CUT, True),
        ("sh -c 'nc %h %p'", True),
        ("bash -ec 'nc $0 %p' %n", True),
        ("nc `dig +short %h` %p", True),
        ("nc %h %p", False),
        ("ssh -W %h:%p bastion", False),
        ("sh -c 'nc host 22'", False),
        ("virtctl port-forward --stdio=true vm/web/shop $(id -u)", False),
    ],
)
def test_a_shell_on_the_host_word_is_seen(command: str, expected: bool) -> None:
    assert runs_host_in_shell(command) is expected
