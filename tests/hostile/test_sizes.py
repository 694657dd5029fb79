"""Answers without end and far too large ones: bounded memory, bounded time, an error that says what it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import InvalidState

from broker.cli.commands import STATUSES
from tests.broker.kube.tunnelserver import Session, endpoint_of, running
from tests.hostile import endless
from tests.hostile.conftest import Desk
from tests.hostile.corpus import unclean
from tests.hostile.liar import Asked, Liar, liar, reply
from tests.hostile.terminal import Seen, Zygote

MIB: Final = 1024 * 1024
PEAK_BYTES: Final = 720 * MIB
"""The largest answer that is taken (256 MiB), what its pieces cost besides, and the program itself."""


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    """One lying server for the whole file; each test gives it its script."""
    with liar(tmp_path_factory.mktemp("liar"), lambda asked: b"") as server:
        yield server


@pytest.mark.parametrize(
    ("script", "words", "status", "said"),
    [
        (endless.header, ("vms",), 5, ""),
        (endless.header, ("proxy", "vm/web/shop"), 5, "a line of its answer's head is too long"),
        (endless.headers, ("vms",), 5, ""),
        (endless.headers, ("forward", "vm/web/shop", "0:22"), 5, "more than 100 headers"),
        (endless.interim, ("proxy", "vm/web/shop"), 6, "api-timeout"),
        (endless.body, ("proxy", "vm/web/shop"), 1, "larger than 16 MiB"),
        (endless.chunks, ("forward", "vm/web/shop", "0:22"), 1, "larger than 16 MiB"),
        (endless.small_chunks, ("proxy", "vm/web/shop"), 6, "api-timeout"),
        (endless.refusals, ("vms",), 1, "HTTP 500"),
        (endless.refusals, ("proxy", "vm/web/shop"), 1, "HTTP 500"),
        (endless.drip, ("vms",), 6, "no whole answer within 1 s"),
        (endless.drip_head, ("proxy", "vm/web/shop"), 6, "api-timeout"),
        (endless.bomb, ("vms",), 1, "larger than 256 MiB"),
        (endless.bomb, ("proxy", "vm/web/shop"), 1, "unreadable-answer"),
        (endless.large_status, ("vms",), 4, "[forbidden]"),
        (endless.large_status, ("proxy", "vm/web/shop"), 4, "[forbidden]"),
        (endless.deep, ("version", "--server"), 0, ""),
        (endless.deep, ("vms",), 1, "unreadable-answer"),
        (endless.large_objects, ("vms",), 0, ""),
        (endless.large_objects, ("doctor", "vm/web/shop", "--budget", "3"), 1, ""),
        (endless.large_objects, ("show", "vm/web/shop"), 0, ""),
    ],
    ids=lambda value: value.__name__ if callable(value) else value[0] if isinstance(value, tuple) else "",
)
def test_one_answer_holds_neither_memory_nor_time(
    script: Callable[[Asked], bytes | None],
    words: tuple[str, ...],
    status: int,
    said: str,
    lying: Liar,
    desk: Desk,
    runner: Zygote,
) -> None:
    lying.script = script
    is_slow = script in (endless.interim, endless.small_chunks, endless.drip, endless.drip_head)
    limit = ("--set", f"api.timeout_s={1 if is_slow else 20}")
    seen = runner.run([*limit, *words], {**desk.env, "KUBECONFIG": str(lying.kubeconfig)}, limit_s=25)
    _judge(seen)
    assert seen.status == status, seen.said
    assert said in seen.stderr.decode(), seen.said


def _judge(seen: Seen) -> None:
    assert [*unclean(seen.stdout), *unclean(seen.stderr, has_progress=True)] == [], seen.said
    assert seen.status in STATUSES, seen.said
    assert b"Traceback" not in seen.stderr and b"[defect]" not in seen.stderr, seen.said
    assert seen.peak_bytes < PEAK_BYTES, f"{seen.peak_bytes // MIB} MiB\n{seen.said}"


def test_bytes_that_are_dear_to_unpack_do_not_hold_the_doctor(lying: Liar, desk: Desk, runner: Zygote) -> None:
    def script(asked: Asked) -> bytes | None:
        if "selfsubjectaccessreviews" in asked.path:
            endless.records(asked)
            return None
        if "selfsubjectreviews" in asked.path:
            return reply(201, b'{"status":{"userInfo":{"username":"u"}}}')
        if asked.path == "/version":
            return reply(200, b'{"gitVersion":"v1.33.1"}')
        return endless.tiny_objects(asked.path)

    lying.script = script
    began_s = time.monotonic()
    words = ["doctor", "vm/web/shop", "--budget", "2"]
    seen = runner.run(words, {**desk.env, "KUBECONFIG": str(lying.kubeconfig)}, limit_s=15)
    _judge(seen)
    assert any("selfsubjectaccessreviews" in each for each in lying.asked)
    assert time.monotonic() - began_s < 3.3, seen.said


def test_a_watch_line_without_end_ends_with_the_time_of_the_wait(lying: Liar, desk: Desk, runner: Zygote) -> None:
    def script(asked: Asked) -> bytes | None:
        if "watch=" in asked.path:
            endless.pour(asked, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", endless.forever(b"x" * 262_144))
            return None
        return reply(200, b'{"metadata":{"resourceVersion":"1"},"items":[]}')

    lying.script = script
    words = ["wait", "vm/web/shop", "--for", "running", "--timeout", "2"]
    seen = runner.run(words, {**desk.env, "KUBECONFIG": str(lying.kubeconfig)}, limit_s=15)
    _judge(seen)
    assert seen.status in (3, 6), seen.said
    assert any("watch=" in each for each in lying.asked) or seen.status == 3


def test_a_banner_without_end_is_no_ssh_server(tmp_path: Path, desk: Desk, runner: Zygote) -> None:
    def pour(session: Session) -> None:
        with contextlib.suppress(OSError, InvalidState):
            while True:
                session.send(b"x" * 32_768)

    with running(tmp_path) as server:
        server.answer = lambda asked: endless.tiny_objects(asked.path)
        server.session = pour
        endpoint_of(server, tmp_path)
        env = {**desk.env, "KUBECONFIG": str(tmp_path / "kubeconfig")}
        for words in (["wait", "vm/web/shop", "--for", "ssh", "--timeout", "2"], ["doctor", "vm/web/shop", "--budget", "3"]):
            seen = runner.run(words, env, limit_s=15)
            _judge(seen)
            assert seen.status in (1, 5, 6), seen.said


def test_a_kubeconfig_without_end_is_refused(desk: Desk, runner: Zygote) -> None:
    for path in ("/dev/zero", "/dev/urandom"):
        seen = runner.run(["vms", "--kubeconfig", path], desk.env, limit_s=15)
        _judge(seen)
        assert seen.status == 2, seen.said


def test_a_plugin_that_never_stops_talking_is_cut_off(tmp_path: Path, lying: Liar, desk: Desk, runner: Zygote) -> None:
    lying.script = lambda asked: reply(200, b"{}")
    plugin = tmp_path / "plugin"
    plugin.write_text("#!/bin/sh\nhead -c 50000000 /dev/zero | tr '\\0' '\\033' >&2\nhead -c 50000000 /dev/zero\nexit 1\n")
    plugin.chmod(0o755)
    exec_ = f"{{apiVersion: client.authentication.k8s.io/v1, command: {plugin}, interactiveMode: Never}}"
    path = tmp_path / "kubeconfig"
    path.write_text(lying.kubeconfig.read_text().replace("token: t0ken", f"exec: {exec_}"))
    seen = runner.run(["proxy", "vm/web/shop", "--kubeconfig", str(path)], desk.env, limit_s=25)
    _judge(seen)
    assert seen.status == 4, seen.said
