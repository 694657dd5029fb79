"""Real shells and the real ssh judge what hostile names become: each word comes back whole, nothing else runs."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import select
import shlex
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from broker.cli import snapshot
from broker.cli.remote_shell import word as rsync_word
from broker.cli.snapshot import Names
from broker.errors import UsageError
from broker.paths.openssh import ClientFiles, Guest, Origin, alias_command, proxy_command, ssh_argv
from broker.paths.ssh_blocks import Cluster, Layout, Machine, Pattern, flat_file, own_file
from tests.conftest import need
from tests.hostile.corpus import PIECES, TEXTS, word

GUEST: Final = Guest(host="web.shop.vm.lab-0011", kind="vm", name="web", namespace="shop", port=22, user="ops")
SHELLS: Final = ("sh", "bash", "zsh", "fish")
CONTEXT: Final = "it's $(touch canary)`touch canary`;touch canary\\'\"&*!x"
_ENDS: Final = ("\n", "\r", "\0", "\x1b", "\x7f", "\x9b")


def words(count: int) -> list[str]:
    """Hostile words that a file name or a context may be: what ssh_config cannot carry at all is refused elsewhere."""
    random_ = random.Random(7)
    found = [*PIECES, *(text[:500] for text in TEXTS.values()), CONTEXT, "\\", "\\\\", "'\\", "\\'$(touch canary)\" #"]
    found += [word(random_) for _ in range(count)]
    return [each for each in found if each and "\ud800" not in each and not _is_control(each)]


def _is_control(text: str) -> bool:
    return any(unicodedata.category(char) == "Cc" and char != "\t" for char in text)


def _shown(folder: Path) -> str:
    """A program that prints its arguments, NUL after each."""
    program = folder / "show"
    program.write_text('#!/bin/sh\nfor each in "$@"; do printf \'%s\\0\' "$each"; done\n')
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_gives_each_word_of_the_proxy_command_back_whole(shell: str, tmp_path: Path) -> None:
    program = need(shell, shell)
    each = words(400)
    origin = Origin(program=(_shown(tmp_path),), kubeconfigs=("/k",), context=CONTEXT, as_user=CONTEXT, as_groups=tuple(each))
    command = proxy_command(origin, GUEST).replace("%%", "%")
    done = subprocess.run(
        [program, "-c", f"exec {command}"], capture_output=True, cwd=tmp_path, check=False, env=_env(tmp_path)
    )
    assert done.stderr == b""
    seen = done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
    expected = ["--kubeconfig=/k", f"--context={CONTEXT}", f"--as={CONTEXT}", *(f"--as-group={one}" for one in each)]
    assert seen == [*expected, "proxy", "vm/web/shop", "22"]
    assert not (tmp_path / "canary").exists()


def _env(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb"}


@pytest.mark.parametrize("end", _ENDS)
def test_what_no_ssh_option_can_carry_is_refused(end: str) -> None:
    for origin in (Origin(program=("p",), context=f"a{end}b"), Origin(program=("p",), kubeconfigs=(f"/a{end}",))):
        with pytest.raises(UsageError):
            proxy_command(origin, GUEST)
        with pytest.raises(UsageError):
            alias_command(origin)
        with pytest.raises(UsageError):
            own_file(Layout(current=Cluster(label=None, origin=origin)))


def _settings(folder: Path, config: str, host: str) -> dict[str, str]:
    path = folder / "ssh_config"
    path.write_text(config, encoding="utf-8", errors="surrogateescape")
    words_ = [need("ssh", "openssh-client"), "-G", "-F", str(path), host]
    done = subprocess.run(words_, capture_output=True, check=False, cwd=folder, env=_env(folder))
    assert done.returncode == 0, (done.stderr, config)
    lines = done.stdout.decode("utf-8", "surrogateescape").split("\n")
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines if line}


_OURS: Final = frozenset(
    {"proxycommand", "proxyusefdpass", "serveraliveinterval", "canonicalizehostname", "controlpath", "hostkeyalias"}
)


def test_no_generated_file_sets_an_option_that_was_not_meant(tmp_path: Path) -> None:
    plain = {host: _settings(tmp_path, "", host) for host in ("web.shop.vm", "example.com", "db.shop.vm")}
    given = [each for each in words(40) if "${" not in each]
    for at, each in enumerate(given):
        origin = Origin(program=("/bin/vmbroker",), kubeconfigs=(f"/k/{each}",), context=each, as_user=each)
        cluster = Cluster(label=None, origin=origin, patterns=(Pattern(glob=each, user=each, port=22),))
        machine = Machine(name=each, namespace=each, user=each, port=22, host_key=each)
        good = Machine(name="db", namespace="shop", user=each, port=22, host_key="db.shop.vm.x")
        layout = Layout(current=cluster, machines=(machine, good), labels={each: "x"}, control_dir=f"/tmp/{each}"[:40])
        for make in (own_file,) if at % 4 else (own_file, flat_file):
            try:
                text = make(layout)
            except UsageError:
                continue
            assert _settings(tmp_path, text, "example.com") == plain["example.com"], each
            for host in ("web.shop.vm",) if at % 2 else ("db.shop.vm",):
                seen = _settings(tmp_path, text, host)
                changed = {name for name in seen if seen[name] != plain[host].get(name)} | (plain[host].keys() - seen.keys())
                assert changed <= _OURS | {"user", "proxyjump"}, (each, changed)
                assert seen["proxycommand"].endswith((" proxy '%n' %p", " proxy '%h' %p")), (each, seen["proxycommand"])
                assert seen["user"] == plain[host]["user"] or seen["user"] == each
                assert "\n" not in seen.get("hostkeyalias", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_ssh_itself_runs_nothing_but_the_program(shell: str, tmp_path: Path) -> None:
    ssh, record = need("ssh", "openssh-client"), tmp_path / "seen"
    program = tmp_path / "show"
    program.write_text(f'#!/bin/sh\nfor each in "$@"; do printf \'%s\\0\' "$each"; done > {record}\n')
    program.chmod(0o755)
    env = {**_env(tmp_path), "SHELL": need(shell, shell)}
    for each in (CONTEXT, "\\'$(touch canary)\" #", "100%h %% ${HOME} %d", "a\\\\", "é\u202e日本"):
        origin = Origin(program=(str(program),), context=each)
        config = tmp_path / "config"
        config.write_text(own_file(Layout(current=Cluster(label=None, origin=origin))))
        alias = [ssh, "-F", str(config), "web.shop.vm", "true"]
        direct = [ssh, "-F", "none", *ssh_argv("ssh", origin, GUEST, ClientFiles())[1:]]
        for argv, last in ((alias, ["proxy", "web.shop.vm", "22"]), (direct, ["proxy", "vm/web/shop", "22"])):
            record.unlink(missing_ok=True)
            subprocess.run(argv, capture_output=True, cwd=tmp_path, check=False, env=env, timeout=20)
            assert record.read_text().split("\0")[:-1] == [f"--context={each}", *last], (each, argv)
        assert not (tmp_path / "canary").exists()


def test_rsync_splits_its_word_into_the_same_words(tmp_path: Path) -> None:
    rsync, record = need("rsync", "rsync"), tmp_path / "seen"
    program = tmp_path / "show"
    program.write_text(f'#!/bin/sh\nfor each in "$@"; do printf \'%s\\0\' "$each"; done > {record}\nexit 1\n')
    program.chmod(0o755)
    given = [each for each in words(100) if len(each) < 200]
    for start in range(0, len(given), 40):
        part = given[start : start + 40]
        argv = [rsync, "-e", rsync_word((str(program), *part)), "a", "web.shop.vm:/x"]
        subprocess.run(argv, capture_output=True, cwd=tmp_path, check=False, env=_env(tmp_path), timeout=20)
        assert record.read_bytes().decode("utf-8", "surrogateescape").split("\0")[: len(part)] == part
    assert not (tmp_path / "canary").exists()


_STARTS: Final = {
    "bash": (["--norc", "--noprofile", "-i"], "source <(vmbroker completion bash)"),
    "zsh": (["-f", "-i"], 'autoload -Uz compinit && compinit -u -d "$HOME/.zc"; eval "$(vmbroker completion zsh)"'),
    "fish": (["--no-config", "-i"], "vmbroker completion fish | source"),
}


@pytest.mark.parametrize("shell", _STARTS)
def test_a_completed_context_is_one_word_and_runs_nothing(shell: str, tmp_path: Path) -> None:
    program = need(shell, shell)
    folder, record = tmp_path / "bin", tmp_path / "seen"
    folder.mkdir()
    (folder / "vmbroker").write_text(
        f'#!/bin/sh\ncase $1 in __complete|completion) exec {shlex.quote(sys.executable)} -P -m broker.main "$@";; esac\n'
        f'for each in "$@"; do printf \'%s\\0\' "$each"; done > {record}.new; mv {record}.new {record}\n'
    )
    (folder / "vmbroker").chmod(0o755)
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text("apiVersion: v1\nkind: Config\n")
    env = {
        **_env(tmp_path),
        "PATH": f"{folder}:{os.environ['PATH']}",
        "KUBECONFIG": str(kubeconfig),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TERM": "xterm",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    context = "it" + CONTEXT
    place = snapshot.place(env, kubeconfig=None, words=())
    snapshot.write(place, Names(contexts=(context,)))
    arguments, setup = _STARTS[shell]
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(program, [program, *arguments], env)
    try:
        _type(master, f"{setup}; echo re''ady\n", "ready")
        _type(master, "vmbroker --context it\t", "touch")
        os.write(master, b"\r")
        assert _until(master, record.exists), "nothing was run"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(master)
    assert record.read_text().split("\0")[:-1] == ["--context", context]
    assert not (tmp_path / "canary").exists()


def _type(master: int, keys: str, awaited: str) -> None:
    os.write(master, keys.encode())
    seen = bytearray()
    assert _until(master, lambda: awaited.encode() in seen, seen), bytes(seen)


def _until(master: int, holds: Callable[[], bool], seen: bytearray | None = None) -> bool:
    """Read what the shell writes until the condition holds, 20 s at most."""
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            return False
        ready, _, _ = select.select([master], [], [], 0.05)
        with contextlib.suppress(OSError):
            data = os.read(master, 65_536) if ready else b""
            if seen is not None:
                seen += data
            if b"\x1b[6n" in data:
                os.write(master, b"\x1b[1;1R")  # some shells ask where the cursor is
    return True
