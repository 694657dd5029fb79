"""Completion in real shells, from a snapshot on disk."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from broker.cli import snapshot
from broker.cli.snapshot import Names
from tests.conftest import need, vmbroker

NAMES = Names(namespace="shop", contexts=("prod",), vms=(("shop", "web", "vm"), ("team", "db", "vm")))


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a fresh snapshot, a vmbroker on PATH, and no cluster."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "vmbroker"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m broker.main "$@"\n')
    program.chmod(0o755)
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text("apiVersion: v1\nkind: Config\n")
    env = {
        **os.environ,
        "HOME": str(tmp_path),
        "KUBECONFIG": str(kubeconfig),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "PATH": f"{folder}:{os.environ['PATH']}",
        "TERM": "dumb",
    }
    snapshot.write(snapshot.place(env, kubeconfig=None, words=()), NAMES)
    return env


def _output(words: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    assert done.stderr == ""
    return done.stdout


def test_bash_completes_commands_targets_and_users(home: dict[str, str]) -> None:
    bash = need("bash", "bash")
    script = """
        source <(vmbroker completion bash)
        compopt() { :; }
        ask() {
            COMP_LINE=$1; COMP_POINT=${#1}; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
            _vmbroker
            echo "$1 -> ${COMPREPLY[*]}"
        }
        ask "vmbroker v"
        ask "vmbroker ssh w"
        ask "vmbroker ssh fedora@w"
        ask "vmbroker scp x db.t"
        complete -p vmbroker
    """
    assert _output([bash, "--norc", "-c", script], home).splitlines() == [
        "vmbroker v -> version vms",
        "vmbroker ssh w -> web",
        "vmbroker ssh fedora@w -> web",
        "vmbroker scp x db.t -> db.team.vm:",
        "complete -o default -F _vmbroker vmbroker",
    ]


def test_fish_completes_commands_and_targets(home: dict[str, str]) -> None:
    fish = need("fish", "fish")
    script = """
        vmbroker completion fish | source
        complete -C 'vmbroker ve'
        complete -C 'vmbroker ssh w'
        complete -C 'vmbroker show db'
    """
    assert _output([fish, "--no-config", "-c", script], home).split() == ["version", "web", "db.team.vm"]


def test_zsh_completes_commands_and_targets(home: dict[str, str]) -> None:
    zsh = need("zsh", "zsh")
    # zsh completes in its line editor only: compadd is caught to see what the real function offers.
    script = """
        autoload -Uz compinit && compinit -u -d $HOME/.zcompdump
        eval "$(vmbroker completion zsh)"
        print -- "registered: ${_comps[vmbroker]}"
        compadd() { print -rl -- "offer: $*"; }
        _files() { print -- "files"; }
        words=(vmbroker ssh w); CURRENT=3; _vmbroker
        words=(vmbroker ssh fedora@w); CURRENT=3; _vmbroker
        words=(vmbroker scp ''); CURRENT=3; _vmbroker
        words=(vmbroker --set output.c); CURRENT=3; _vmbroker
    """
    assert _output([zsh, "-f", "-c", script], home).splitlines() == [
        "registered: _vmbroker",
        "offer: -- web",
        "offer: -- fedora@web",
        "files",
        "offer: -S  -- output.color=",
    ]


def test_whatever_is_wrong_completion_is_silent(home: dict[str, str]) -> None:
    path = snapshot.place(home, kubeconfig=None, words=())
    for body in (b"", b"[]", b"{", b'{"vms": [["a"]], "contexts": [], "namespace": "x"}', b"\xff"):
        path.write_bytes(body)
        snapshot.claim(path)  # nobody renews meanwhile
        for words in (["bash", "vmbroker ssh w"], ["zsh", "ssh", "w"], [], ["bash"]):
            done = vmbroker("__complete", *words, env=home)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_names_of_a_snapshot_that_are_no_names_are_dropped(home: dict[str, str]) -> None:
    path = snapshot.place(home, kubeconfig=None, words=())
    path.write_text('{"namespace": "$(id)", "contexts": ["a\\nb"], "vms": [["shop", "$(id)", "vm"], ["shop", "ok", "vm"]]}')
    held = snapshot.read(path)
    assert held.names == Names(namespace="default", contexts=(), vms=(("shop", "ok", "vm"),))


def test_snapshots_are_private_and_claimed_by_one(home: dict[str, str]) -> None:
    path = snapshot.place(home, kubeconfig=None, words=())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert snapshot.claim(path)
    assert not snapshot.claim(path)
    snapshot.release(path)
    assert snapshot.claim(path)


def test_another_person_or_cluster_has_another_snapshot(home: dict[str, str], tmp_path: Path) -> None:
    here = snapshot.place(home, kubeconfig=None, words=())
    assert here != snapshot.place(home, kubeconfig=None, words=("--as=eve",))
    (tmp_path / "config").write_text("apiVersion: v1\nkind: Config\ncurrent-context: other\n")
    assert here != snapshot.place(home, kubeconfig=None, words=())


def test_an_unknown_shell_is_a_usage_error() -> None:
    done = vmbroker("completion", "tcsh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "say bash, zsh or fish" in done.stderr
