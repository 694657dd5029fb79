"""Texts that come late: while a command waits, to the client of a forward, from ssh itself, and in the lab's own commands."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.hostile.conftest import Desk
from tests.hostile.corpus import INVALID_UTF8, MARK, TEXTS
from tests.hostile.endless import tiny_objects
from tests.hostile.liar import Asked, Liar, liar, refusal, reply, twisted
from tests.hostile.terminal import Crew, Zygote
from tests.hostile.test_terminal import judge

_KEPT: Final = frozenset({"kind", "apiVersion", "name", "namespace", "uid", "resourceVersion", "type", "status"})
_BEGUN: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    """One lying server for the whole file; each test gives it its script."""
    with liar(tmp_path_factory.mktemp("liar"), lambda asked: b"") as server:
        yield server


def _turning(asked: Asked) -> bytes | None:
    """A VM that is plain when it is listed; the watch turns every string of it into the text that its namespace names."""
    title = next((each for each in TEXTS if f"/namespaces/{each}/" in asked.path), "csi")
    listed = json.loads(tiny_objects(asked.path))
    for each in listed.get("items", ()):
        each["metadata"].update(namespace=title, resourceVersion="1")
        each["status"].update(phase="Pending", printableStatus="Starting")
    if "watch=" not in asked.path:
        return reply(200, json.dumps(listed).encode())
    changed = twisted(listed["items"][0], TEXTS[title][:4000], keeps=_KEPT)
    changed["metadata"]["resourceVersion"] = "2"
    changed["status"]["conditions"] = [
        {"type": kind, "status": "False", "reason": TEXTS[title][:4000], "message": TEXTS[title][:4000]}
        for kind in ("Ready", "Synchronized", "AgentConnected", "Paused")
    ]
    asked.sock.sendall(_BEGUN + json.dumps({"type": "MODIFIED", "object": changed}).encode() + b"\n")
    with contextlib.suppress(OSError):
        asked.sock.settimeout(10)
        asked.sock.recv(1)  # until the client hangs up
    return None


def test_what_changes_while_waiting_leaves_clean_bytes(lying: Liar, desk: Desk, crew: Crew) -> None:
    lying.script = _turning
    env, runs = {**desk.env, "KUBECONFIG": str(lying.kubeconfig)}, list[tuple[list[str], dict[str, str]]]()
    for at, title in enumerate(TEXTS):
        aim, form = ("running", "address", "agent", "ssh")[at % 4], ("table", "json")[at // 4 % 2]
        runs.append((["wait", f"vm/web/{title}", "--for", aim, "--timeout", "0.5", "-o", form], env))
    told = 0
    for (words, _), seen in zip(runs, crew.run_all(runs), strict=True):
        judge(seen, words)
        assert seen.status in (5, 6), (words, seen.said)
        told += MARK in (seen.stdout + seen.stderr).decode()
    assert told > len(TEXTS) / 2, told
    assert sum("watch=" in each for each in lying.asked) >= len(TEXTS)


def _client(port: int, stop: threading.Event) -> None:
    """Connect as soon as somebody listens, and read until one closes it."""
    while not stop.wait(0.01):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.recv(1)
            return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("title", [*TEXTS, "invalid"])
def test_the_reason_of_a_failed_client_is_clean(title: str, lying: Liar, desk: Desk, runner: Zygote) -> None:
    text = INVALID_UTF8 if title == "invalid" else TEXTS[title][:50_000].encode()
    at = [*TEXTS, "invalid"].index(title)
    forms = (
        reply(500, b"dialing VM: dial tcp 10.0.0.1:22: connect: " + text, "text/plain"),
        reply(403, refusal(403, text.decode("utf-8", "replace"))),
        reply(500, b"Internal error occurred: " + text, "text/plain"),
    )
    lying.script = lambda asked: forms[at % 3] if asked.path.endswith("/portforward/22/tcp") else tiny_objects(asked.path)
    port, stop = _free_port(), threading.Event()
    client = threading.Thread(target=_client, args=(port, stop), name="client")
    client.start()
    try:
        form = ("table", "json")[at // 3 % 2]
        words = ["forward", "vm/web/shop", f"{port}:22", "--exit-when-idle", "0.3", "-o", form]
        seen = runner.run(words, {**desk.env, "KUBECONFIG": str(lying.kubeconfig)})
    finally:
        stop.set()
        client.join()
    judge(seen, words)
    assert seen.status == 0, seen.said
    assert MARK in seen.stderr.decode(), seen.said


@pytest.mark.parametrize("status", [0, 255])
def test_what_ssh_itself_says_is_clean(status: int, desk: Desk, crew: Crew) -> None:
    runs: list[tuple[list[str], dict[str, str]]] = []
    for title, text in {**TEXTS, "invalid": ""}.items():
        folder = desk.home / title
        (folder / ".ssh").mkdir(mode=0o700, parents=True)
        said = INVALID_UTF8 if title == "invalid" else text[:50_000].encode()
        (folder / "said").write_bytes(b"OpenSSH_9.9p1 " + said + b"\nproxycommand " + said + b"\ncontrolpath " + said + b"\n")
        for name in ("ssh", "ssh-add"):
            (folder / name).write_text(f'#!/bin/sh\ncat "${{0%/*}}/said"\ncat "${{0%/*}}/said" >&2\nexit {status}\n')
            (folder / name).chmod(0o755)
        config = folder / ".ssh" / "config"
        config.write_text("Host *\n  ForwardAgent no\n")
        env = {**desk.env, "PATH": f"{folder}:/usr/bin:/bin"}
        file = ["--file", str(config)]
        runs.append((["ssh-config", "check", *file], env))
        at = len(runs) // 2
        runs.append(((["doctor", "--budget", "2"], ["ssh-config", "install", *file])[at % 2], env))
    for (words, _), seen in zip(runs, crew.run_all(runs), strict=True):
        judge(seen, words)
        assert seen.status in (0, 1, 2, 5, 7), (words, seen.said)


def test_a_lab_in_a_folder_of_a_hostile_name_writes_clean_bytes(desk: Desk, runner: Zygote) -> None:
    name = "".join(text[:24] for title, text in TEXTS.items() if title in ("csi", "bidi", "osc-52", "c1-csi", "formats"))
    folder = desk.home / name.replace("/", "").replace("\0", "")
    where = ["--state-dir", str(folder)]
    up = ["up", "--guests", "asyncssh", "--fault", "latency=0.001"]
    commands = (up, up, ["status"], ["status", "-o", "json"], ["fault", "list"], ["fault", "clear"], ["kubeconfig", "--path"])
    try:
        for each in commands:
            words = ["lab", *each, *where]
            seen = runner.run(words, desk.env)
            judge(seen, words, is_bounded=False)
            assert seen.status == 0, seen.said
    finally:
        seen = runner.run(["lab", "down", *where], desk.env)
    judge(seen, ["lab", "down"])
    assert seen.status == 0, seen.said
