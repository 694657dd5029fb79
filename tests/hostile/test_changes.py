"""Texts that come late: while a command waits, to the client of a forward, from ssh itself, and in the lab's own commands."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Final

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


def _title(path: str) -> str:
    """The namespace in a path, which names a text."""
    return path.partition("/namespaces/")[2].partition("/")[0]


def _turning(asked: Asked) -> bytes | None:
    """A VM that is plain when it is listed; the watch turns every string of it into the text that its namespace names."""
    title = _title(asked.path)
    listed = json.loads(tiny_objects(asked.path).partition(b"\r\n\r\n")[2])
    for each in listed.get("items", ()):
        each["metadata"].update(namespace=title, resourceVersion="1")
        each["status"].update(phase="Pending", printableStatus="Starting", interfaces=[])
    if "watch=" not in asked.path:
        return reply(200, json.dumps(listed).encode())
    changed = twisted(listed["items"][0], TEXTS[title][:4000], keeps=_KEPT)
    changed["metadata"]["resourceVersion"] = "2"
    changed["status"]["interfaces"] = [dict.fromkeys(("name", "ipAddress", "mac", "infoSource"), TEXTS[title][:4000])]
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
        assert seen.status in (0, 6), (words, seen.said)  # 0: the text stands where an address does
        told += MARK in (seen.stdout + seen.stderr).decode()
    assert told > len(TEXTS) / 2, told
    assert sum("watch=" in each for each in lying.asked) >= len(TEXTS)


def _client(port: int, stop: threading.Event) -> None:
    """Connect as soon as somebody listens, and read until one closes it."""
    while not stop.wait(0.01):
        try:
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        except OSError:
            continue
        with sock, contextlib.suppress(OSError):  # it is reset
            sock.recv(1)
        return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _refusing(asked: Asked) -> bytes:
    """A VM that runs, and no way to its port, in the words that the namespace names."""
    if asked.path.endswith("/selfsubjectaccessreviews"):
        return reply(201, b'{"status": {"allowed": true}}')
    if not asked.path.endswith("/portforward/22/tcp"):
        return tiny_objects(asked.path)
    title = _title(asked.path)
    text = INVALID_UTF8 if title == "invalid" else TEXTS[title][:50_000].encode()
    forms = (
        reply(500, b"dialing VM: dial tcp 10.0.0.1:22: connect: " + text, "text/plain"),
        reply(403, refusal(403, text.decode("utf-8", "replace"))),
        reply(500, b"Internal error occurred: " + text, "text/plain"),
    )
    return forms[len(title) % 3]


def test_the_reason_of_a_failed_client_is_clean(lying: Liar, desk: Desk, crew: Crew) -> None:
    lying.script = _refusing
    env, stop = {**desk.env, "KUBECONFIG": str(lying.kubeconfig)}, threading.Event()
    runs, clients = list[tuple[list[str], dict[str, str]]](), list[threading.Thread]()
    for at, title in enumerate((*TEXTS, "invalid")):
        port = _free_port()
        clients.append(threading.Thread(target=_client, args=(port, stop), name=f"client of {title}"))
        form = ("table", "json")[at % 2]
        runs.append((["forward", f"vm/web/{title}", f"{port}:22", "--exit-when-idle", "0.3", "-o", form], env))
    for client in clients:
        client.start()
    try:
        runs_seen = crew.run_all(runs)
    finally:
        stop.set()
        for client in clients:
            client.join()
    told = 0
    for (words, _), seen in zip(runs, runs_seen, strict=True):
        judge(seen, words)
        assert seen.status == 0, seen.said
        assert b"1 connection, 1 failed" in seen.stderr or b'"failed": 1' in seen.stderr, seen.said
        told += MARK in seen.stderr.decode()
    assert told > len(TEXTS) * 2 / 3, told


def test_what_ssh_itself_says_is_clean(desk: Desk, crew: Crew) -> None:
    runs: list[tuple[list[str], dict[str, str]]] = []
    for at, (title, text) in enumerate({**TEXTS, "invalid": ""}.items()):
        folder = desk.home / title
        (folder / ".ssh").mkdir(mode=0o700, parents=True)
        said = INVALID_UTF8 if title == "invalid" else text[:50_000].encode()
        (folder / "said").write_bytes(b"OpenSSH_9.9p1 " + said + b"\nproxycommand " + said + b"\ncontrolpath " + said + b"\n")
        for name in ("ssh", "ssh-add"):
            (folder / name).write_text(
                f'#!/bin/sh\ncat "${{0%/*}}/said"\ncat "${{0%/*}}/said" >&2\nexit {(0, 255)[at // 2 % 2]}\n'
            )
            (folder / name).chmod(0o755)
        config = folder / ".ssh" / "config"
        config.write_text("Host *\n  ForwardAgent no\n")
        env = {**desk.env, "PATH": f"{folder}:/usr/bin:/bin"}
        file = ["--file", str(config)]
        runs.append((["ssh-config", "check", *file], env))
        runs.append(((["doctor", "--budget", "2"], ["ssh-config", "install", *file])[at % 2], env))
    for (words, _), seen in zip(runs, crew.run_all(runs), strict=True):
        judge(seen, words)
        assert seen.status in (0, 1, 2, 5, 7), (words, seen.said)


def test_a_lab_takes_no_folder_of_a_hostile_name(desk: Desk, crew: Crew) -> None:
    commands = (["up"], ["run"], ["status"], ["fault", "list"], ["kubeconfig", "--path"], ["down", "-o", "json"])
    texts = {title: text for title, text in TEXTS.items() if not text[:60].isprintable()}
    runs: list[tuple[list[str], dict[str, str]]] = []
    for at, text in enumerate(texts.values()):
        name = "".join(char for char in text[:60] if char not in "\0/" and not "\ud800" <= char <= "\udfff")
        runs.append((["lab", *commands[at % len(commands)], "--state-dir", str(desk.home / name)], desk.env))
    for name in ("~nobody-of-that-name", f"{desk.home}/{'x' * 300}", "x/" * 3000):
        runs += [(["lab", each, "--state-dir", name], desk.env) for each in ("up", "status", "down")]
        runs += [(["lab", "up", flag, name], desk.env) for flag in ("--crds", "--openapi")]
    runs.append((["--lab", "vms"], {**desk.env, "XDG_STATE_HOME": f"{desk.home}/\x1b[2J"}))
    for (words, _), seen in zip(runs, crew.run_all(runs), strict=True):
        judge(seen, words)
        assert seen.status == (1 if words[0] == "--lab" else 2), (words, seen.said)
    assert len(runs) > 12
    assert {path.name for path in desk.home.iterdir()} <= {"bin", ".cache", "cache", "xdg", "\x1b[2J"}  # the last by --lab


def test_a_running_lab_says_clean_words_of_hostile_ones(desk: Desk, runner: Zygote) -> None:
    where, folder = ["--state-dir", str(desk.home / "lab")], desk.home / "crds"
    folder.mkdir()
    for title in ("csi", "bidi", "osc-52", "c1-csi", "lines"):
        name = TEXTS[title].replace("/", "").replace("\0", "")
        (folder / f"{name}.yaml").write_text(
            json.dumps({"kind": "CustomResourceDefinition", "metadata": {"name": TEXTS[title]}})
        )
    commands = [["up", "--crds", str(folder)], ["up", "--openapi", str(folder)], ["up", "--guests", "asyncssh"], ["up"]]
    commands += [[*each, TEXTS["csi"]] for each in (["fault", "set"], ["fault", "clear"], ["kubeconfig", "--user"])]
    commands += [["fault", "set", f"latency=0.001,path=/{TEXTS['bidi']}"], ["fault", "set", "latency=0.001"]]
    commands += [["fault", "list"], ["status"], ["status", "-o", "json"], ["kubeconfig"], ["kubeconfig", "--path"]]
    statuses = list[int]()
    try:
        for each in commands:
            words = ["lab", *each, *where]
            seen = runner.run(words, desk.env)
            judge(seen, words)
            statuses.append(seen.status)
    finally:
        seen = runner.run(["lab", "down", *where], desk.env)
    judge(seen, ["lab", "down"])
    assert seen.status == 0, seen.said
    assert statuses == [2, 2, 0, 0, 2, 2, 3, 2, 0, 0, 0, 0, 0, 0], list(zip(commands, statuses, strict=True))
