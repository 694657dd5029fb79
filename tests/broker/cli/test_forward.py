"""`vmbroker forward` as a program: what it prints, real programs through it, and how it ends."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.cli.forward import _seconds, _size
from broker.errors import UsageError
from broker.lab.guest_ports import UNPRIVILEGED_OFFSET
from tests.conftest import ROOT, RunningLab, need, vmbroker

LIMIT_S = 30.0
OFFSET = 0 if os.geteuid() == 0 or sys.platform == "darwin" else UNPRIVILEGED_OFFSET


@contextmanager
def running(lab: RunningLab, *words: str, lines: int = 1) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A forward and the first lines (all of a JSON document) of its stdout."""
    process = subprocess.Popen(
        [sys.executable, "-m", "broker.main", "--kubeconfig", str(lab.kubeconfig()), "forward", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        told: list[str] = []
        while line := process.stdout.readline():
            told.append(line.rstrip("\n"))
            if line.startswith("{") or ("json" not in words and len(told) == lines):
                break
        assert told, process.stderr.read()
        yield process, told
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def ended(process: subprocess.Popen[str], number: signal.Signals | None) -> tuple[int, str]:
    """Status and stderr after a signal."""
    if number is not None:
        process.send_signal(number)
    _, err = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in err
    return process.returncode, err


def port_of(line: str) -> int:
    found = re.match(r"\S+:(\d+) -> ", line)
    assert found, line
    return int(found[1])


def is_reset(port: int) -> bool:
    """Whether a client is reset without a byte; that may come before its own connect has returned."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as link:
            link.recv(1)
    except ConnectionResetError:
        return True
    return False


def test_each_forward_is_a_line_and_the_end_has_counts(lab: RunningLab) -> None:
    words = ("web", "-n", "shop", f"0:{19 + OFFSET}", f"udp/0:{7 + OFFSET}")
    with running(lab, *words, lines=2) as (process, lines):
        assert re.fullmatch(rf"127\.0\.0\.1:\d+ -> shop/web:{19 + OFFSET} \(tcp\)", lines[0])
        assert re.fullmatch(rf"127\.0\.0\.1:\d+ -> shop/web:{7 + OFFSET} \(udp\)", lines[1])
        with socket.create_connection(("127.0.0.1", port_of(lines[0])), timeout=LIMIT_S) as link:
            assert link.recv(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(LIMIT_S)
            peer.sendto(b"datagram", ("127.0.0.1", port_of(lines[1])))
            assert peer.recv(100) == b"datagram"
        status, err = ended(process, signal.SIGTERM)
    assert status == 0
    assert re.fullmatch(r"note: 2 connections, 0 failed, [\d.]+ [kM]?B down, 8 B up\n", err), err


def test_json_has_one_object_and_events_of_one_line(lab: RunningLab) -> None:
    with running(lab, "vm/web/shop", "0:1", "[::1]:0:22", "-o", "json") as (process, lines):
        document = json.loads("\n".join(lines))
        assert (document["apiVersion"], document["kind"]) == ("vmbroker/v1", "Forward")
        assert document["target"] == {"kind": "vm", "namespace": "shop", "name": "web"}
        first, second = document["forwards"]
        assert first == {"protocol": "tcp", "address": "127.0.0.1", "port": first["port"], "remotePort": 1}
        assert (second["address"], second["remotePort"]) == ("::1", 22)
        assert is_reset(first["port"])
        status, err = ended(process, signal.SIGINT)
    assert status == 130
    failed, end = (json.loads(line) for line in err.splitlines())
    assert (failed["kind"], failed["event"], failed["count"]) == ("ForwardEvent", "client-failed", 1)
    assert failed["code"] in ("port-closed", "nothing-listens")
    assert failed["forward"] == first
    assert failed["nextStep"]
    assert (end["event"], end["connections"], end["failed"]) == ("ended", 1, 1)


def test_an_idle_forward_ends_by_itself(lab: RunningLab) -> None:
    with running(lab, "web", "-n", "shop", "0:22", "--exit-when-idle", "0.2") as (process, _):
        status, err = ended(process, None)
    assert (status, err) == (0, "note: 0 connections, 0 failed, 0 B down, 0 B up\n")


def test_a_stopped_guest_is_a_warning_and_a_reason(lab: RunningLab) -> None:
    with running(lab, "vm/stopped/shop", "0:22") as (process, lines):
        assert is_reset(port_of(lines[0]))
        status, err = ended(process, signal.SIGTERM)
    assert status == 0
    warning, reason, end = err.splitlines()
    assert warning.startswith("warning: ")
    assert reason.startswith(f"{lines[0].split(' ')[0]}: ")
    assert warning.removeprefix("warning: ") == reason.partition(": ")[2]
    assert end == "note: 1 connection, 1 failed, 0 B down, 0 B up"


def test_a_second_interrupt_ends_it_at_once(lab: RunningLab) -> None:
    with running(lab, "web", "-n", "shop", f"0:{19 + OFFSET}") as (process, lines):
        with socket.create_connection(("127.0.0.1", port_of(lines[0])), timeout=LIMIT_S) as link:
            assert link.recv(1)
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
            status, _ = ended(process, None)
    assert status == 130


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("nobody", "-n", "shop", "0:22"), 3, "vm-not-found"),
        (("web", "-n", "shop", ":22"), 2, "bad-forward"),
        (("web", "-n", "shop", "0:22", "--exit-when-idle", "soon"), 2, "usage"),
        (("web", "-n", "shop", "0:22", "--address", "192.0.2.1"), 1, "address-absent"),
    ],
)
def test_what_is_wrong_is_an_error_before_anything_listens(
    lab: RunningLab, words: tuple[str, ...], status: int, code: str
) -> None:
    done = vmbroker("--kubeconfig", str(lab.kubeconfig()), "forward", *words, "-o", "json")
    assert (done.returncode, json.loads(done.stderr)["code"]) == (status, code), done.stderr
    assert done.stdout == ""


def test_a_reader_that_left_ends_it_without_words(lab: RunningLab) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "broker.main", "--kubeconfig", str(lab.kubeconfig()), "forward", "web", "-n", "shop", "0:22"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_ssh_and_scp_go_through_it(lab: RunningLab, tmp_path: Path) -> None:
    need("scp", "openssh-client")
    shown = vmbroker("--kubeconfig", str(lab.kubeconfig()), "show", "vm/web/shop", "-o", "json")
    user = json.loads(shown.stdout)["login"]["user"]
    options = [
        *("-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "LogLevel=ERROR", "-i", str(lab.state_dir / "ssh" / "id_ed25519")),
    ]
    data = os.urandom(3_000_000)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(data)
    with running(lab, "web", "-n", "shop", f"0:{22 if OFFSET == 0 else 2222}") as (process, lines):
        port = str(port_of(lines[0]))
        done = subprocess.run(
            ["ssh", *options, "-p", port, f"{user}@127.0.0.1", "echo", "through"], capture_output=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (0, b"through\n"), done.stderr
        for words in ((str(source), f"{user}@127.0.0.1:copied"), (f"{user}@127.0.0.1:copied", str(back))):
            done = subprocess.run(["scp", *options, "-P", port, *words], capture_output=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
        assert back.read_bytes() == data
        status, err = ended(process, signal.SIGTERM)
    assert status == 0
    assert err.startswith("note: 3 connections, 0 failed, 3."), err


def test_netcat_ends_its_input_and_still_gets_the_answer(lab: RunningLab) -> None:
    need("nc", "netcat-openbsd")
    with running(lab, "web", "-n", "shop", f"0:{7 + OFFSET}", "--set", "stream.grace_s=0.5") as (process, lines):
        done = subprocess.run(
            ["nc", "-N", "127.0.0.1", str(port_of(lines[0]))], input=b"x" * 50_000, capture_output=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (0, b"x" * 50_000), done.stderr
        assert ended(process, signal.SIGTERM)[0] == 0


def test_a_signal_while_the_guest_is_read_ends_it(tmp_path: Path) -> None:
    """An API server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = tmp_path / "kubeconfig"
        config.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
            f"clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{silent.getsockname()[1]}'}}}}]\n"
            "contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "broker.main", "--kubeconfig", str(config), "forward", "web", "0:22"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(LIMIT_S)
        link, _ = silent.accept()
        began = time.monotonic()
        with link:
            assert select.select([link], [], [], LIMIT_S)[0]
            status, err = ended(process, signal.SIGINT)
    assert status == 130
    assert time.monotonic() - began < 10
    assert "error" not in err


@pytest.mark.parametrize(("text", "seconds"), [("2", 2.0), ("0.5 s", 0.5), ("3m", 180.0), ("1h", 3600.0)])
def test_durations(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "", "1e9", "nan", "8d", "999999999"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        _seconds(text)


def test_sizes_are_decimal() -> None:
    assert [_size(count) for count in (0, 999, 4_500, 12_300_000, 2_000_000_000)] == [
        "0 B",
        "999 B",
        "4.5 kB",
        "12.3 MB",
        "2.0 GB",
    ]


def test_a_user_before_the_target_is_refused_with_the_target_as_it_was_typed() -> None:
    done = vmbroker("forward", "ops@web.shop.vm.lab", "0:22")
    assert done.returncode == 2
    assert "forward takes no user: 'ops@web.shop.vm.lab' [usage]" in done.stderr
    assert "vmbroker forward web.shop.vm.lab PORTS" in done.stderr
