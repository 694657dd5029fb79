"""The argv of OpenSSH, judged by the real ssh."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from broker.errors import UsageError
from broker.paths.openssh import ClientFiles, Guest, Origin, copy_argv, proxy_command, remote_operand, ssh_argv
from tests.conftest import need

GUEST = Guest(host="web.shop.vm.lab-0011", kind="vm", name="web", namespace="shop", port=2222, user="ops")
NASTY = [
    "plain",
    "with space",
    "quote'quote",
    'double"double',
    "dollar$HOME",
    "back\\slash",
    "100%h",
    "semi;id",
    "(paren)",
    "é",
    "`id`",
]


def origin(**kwargs: object) -> Origin:
    values: dict[str, object] = {"program": ("/usr/bin/vmbroker",), "kubeconfigs": ("/home/me/.kube/config",), "context": "dev"}
    return Origin(**{**values, **kwargs})  # type: ignore[arg-type]


def settings_of(argv: list[str]) -> dict[str, str]:
    """What the real ssh understands of an argv (`ssh -G`)."""
    program = need("ssh", "openssh-client")
    done = subprocess.run([program, "-F", "none", "-G", *argv[1:]], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_ssh_reads_the_host_word_the_alias_and_the_user() -> None:
    seen = settings_of(ssh_argv("ssh", origin(), GUEST, ClientFiles()))
    assert seen["host"] == "web.shop.vm.lab-0011"
    assert seen["hostkeyalias"] == "web.shop.vm.lab-0011"
    assert seen["user"] == "ops"
    assert seen["stricthostkeychecking"] in ("ask", "true")
    assert "proxyjump" not in seen


@pytest.mark.parametrize("word", NASTY)
def test_the_shell_gives_each_word_back_whole(word: str, tmp_path: Path) -> None:
    show = tmp_path / "show"
    show.write_text('#!/bin/sh\nfor a in "$@"; do printf "%s\\n" "$a"; done\n')
    show.chmod(0o755)
    command = proxy_command(origin(program=(str(show),), kubeconfigs=(f"/k/{word}",), context=word, as_user=word), GUEST)
    seen = settings_of(["ssh", "-o", f"ProxyCommand={command}", "x"])["proxycommand"].replace("%%", "%")
    done = subprocess.run(["/bin/sh", "-c", seen], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"--kubeconfig=/k/{word}",
        f"--context={word}",
        f"--as={word}",
        "proxy",
        "vm/web/shop",
        "2222",
    ]


def test_several_kubeconfigs_travel_in_the_environment() -> None:
    words = shlex.split(proxy_command(origin(kubeconfigs=("/a b", "/c")), GUEST))
    assert words[:2] == ["env", "KUBECONFIG=/a b:/c"]


def test_a_line_end_in_a_context_is_refused() -> None:
    with pytest.raises(UsageError):
        proxy_command(origin(context="a\nb"), GUEST)


def test_words_of_the_user_stand_where_ssh_reads_them() -> None:
    argv = ssh_argv("ssh", origin(), GUEST, ClientFiles(), options=["-v"], command=["uname", "-a"])
    assert argv[1] == "-v"
    assert argv[argv.index("--") :] == ["--", GUEST.host, "uname", "-a"]


def test_copies_name_the_guest_in_the_operand() -> None:
    argv = copy_argv("scp", origin(), GUEST, ClientFiles(), options=["-r"], operands=["a", remote_operand(GUEST, "/tmp/b")])
    assert argv[-3:] == ["--", "a", "ops@web.shop.vm.lab-0011:/tmp/b"]
    assert remote_operand(GUEST, None) == "ops@web.shop.vm.lab-0011"


def test_files_of_the_lab_are_quoted_for_ssh() -> None:
    files = ClientFiles(identity='/a b/c"d%e', known_hosts="/k n/h")
    seen = settings_of(ssh_argv("ssh", origin(), GUEST, files))
    assert seen["identityfile"] == '/a b/c"d%e' or seen["identityfile"] == '/a b/c"d%%e'
    assert seen["userknownhostsfile"].strip('"') == "/k n/h"
    assert seen["stricthostkeychecking"] == "accept-new"
