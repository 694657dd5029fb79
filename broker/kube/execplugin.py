"""Credentials from a program: client-go's exec plugins (client.authentication.k8s.io/v1 and v1beta1), run as kubectl runs them.

The program never gets our stdin unless it may ask a person at a terminal; in a ProxyCommand stdin is the SSH stream.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from broker.clean import clean, clean_lines
from broker.errors import BrokerError, CredentialError
from broker.kube.kubeconfig import ExecPlugin

_log = logging.getLogger("broker.kube")

LIMIT_S: Final = 30.0
"""Seconds a plugin may take when no person is asked."""
INTERACTIVE_LIMIT_S: Final = 300.0
"""Seconds a plugin may take that talks with a person at our terminal."""
_OUTPUT_LIMIT_BYTES: Final = 1024 * 1024
_WORDS_LIMIT_BYTES: Final = 8 * 1024
_running: Final[set[subprocess.Popen[bytes]]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginCredential:
    """What a plugin gave; `expires_at` is seconds since 1970, None for never; texts are "" where not given."""

    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    expires_at: float | None = None


def run_plugin(
    plugin: ExecPlugin,
    *,
    user: str,
    cluster_info: Mapping[str, object] | None,
    environ: Mapping[str, str],
    stdin_is_ours: bool,
    limit_s: float = LIMIT_S,
) -> PluginCredential:
    """Run the plugin once and read its ExecCredential; CredentialError has program, user, its words, installHint."""
    is_interactive = _is_interactive(plugin, user, stdin_is_ours)
    path = _find(plugin, user, environ)
    env = {**environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": _exec_info(plugin, is_interactive, cluster_info)}
    try:
        # In a group of its own it can be ended with its children; at a terminal it must stay in ours to read from it.
        _log.debug("running the exec plugin %s", clean(plugin.command))
        process = subprocess.Popen(
            [path, *plugin.args],
            executable=path,
            env=env,
            stdin=None if is_interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if is_interactive else subprocess.PIPE,
            process_group=None if is_interactive else 0,
        )
    except (OSError, ValueError) as exc:
        raise _failed(
            plugin, user, f"it cannot be started: {clean(getattr(exc, 'strerror', None) or 'bad argument')}", hint=True
        ) from exc
    limit_s = max(limit_s, INTERACTIVE_LIMIT_S) if is_interactive else limit_s
    if not is_interactive:
        _running.add(process)
    try:
        output, words = _collect(process, limit_s)
        status = process.poll()
    finally:
        _end(process, is_interactive)
        _running.discard(process)
    if status is None:
        raise _failed(plugin, user, _with_words(f"it did not end within {limit_s:g} s", words), code="plugin-timeout")
    if status != 0:
        raise _failed(plugin, user, _with_words(f"it ended with status {status}", words), hint=True)
    return _read(output, plugin, user)


@atexit.register
def _end_left() -> None:
    """End what a thread that nobody waits for still runs: a group of its own gets no signal of the terminal."""
    for process in tuple(_running):
        if process.poll() is None:
            with suppress(OSError):
                os.killpg(process.pid, 9)


def _is_interactive(plugin: ExecPlugin, user: str, stdin_is_ours: bool) -> bool:
    if plugin.interactive_mode == "Never":
        return False
    try:
        at_terminal = stdin_is_ours and sys.stdin is not None and os.isatty(0)
    except (OSError, ValueError):
        at_terminal = False
    if plugin.interactive_mode == "Always" and not at_terminal:
        raise _failed(
            plugin,
            user,
            "it wants to ask (interactiveMode: Always), and our standard input is no terminal",
            code="plugin-interactive",
        )
    return at_terminal


def _find(plugin: ExecPlugin, user: str, environ: Mapping[str, str]) -> str:
    if os.path.sep in plugin.command:
        return plugin.command
    found = shutil.which(plugin.command, path=environ.get("PATH", ""))
    if found is None or not os.path.isabs(found):  # noqa: PTH117
        raise _failed(plugin, user, "there is no such program on PATH", code="plugin-missing", hint=True)
    return found


def _exec_info(plugin: ExecPlugin, is_interactive: bool, cluster_info: Mapping[str, object] | None) -> str:
    spec: dict[str, object] = {"interactive": is_interactive}
    if plugin.provides_cluster_info and cluster_info is not None:
        spec = {"cluster": cluster_info, **spec}
    return json.dumps({"kind": "ExecCredential", "apiVersion": plugin.api_version, "spec": spec}, separators=(",", ":"))


def _collect(process: subprocess.Popen[bytes], limit_s: float) -> tuple[bytes, bytes]:
    """Read both pipes until stdout ends and the program with it; a child that keeps stderr open is not waited for."""
    end = time.monotonic() + limit_s
    output, words = bytearray(), bytearray()
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, output)
        if process.stderr is not None:
            selector.register(process.stderr, selectors.EVENT_READ, words)
        open_files = {process.stdout.fileno()}
        while open_files and (left_s := end - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                part = os.read(key.fd, 65536)
                if not part:
                    selector.unregister(key.fileobj)
                    open_files.discard(key.fd)
                elif len(key.data) < _OUTPUT_LIMIT_BYTES:
                    key.data.extend(part)
        try:
            process.wait(max(end - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            pass
        for key, _ in selector.select(0):
            words.extend(os.read(key.fd, 65536))
    return bytes(output), bytes(words[:_WORDS_LIMIT_BYTES])


def _end(process: subprocess.Popen[bytes], is_interactive: bool) -> None:
    if process.poll() is None:
        try:
            process.kill() if is_interactive else os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _read(output: bytes, plugin: ExecPlugin, user: str) -> PluginCredential:
    try:
        document = json.loads(output)
    except (ValueError, RecursionError):
        raise _failed(plugin, user, "it printed no ExecCredential in JSON") from None
    if not isinstance(document, dict) or document.get("kind") != "ExecCredential":
        raise _failed(plugin, user, "it printed no ExecCredential")
    if document.get("apiVersion") != plugin.api_version:
        raise _failed(
            plugin, user, f"it answered in apiVersion {clean(document.get('apiVersion'))!r}, asked was {plugin.api_version}"
        )
    status = document.get("status")
    if not isinstance(status, dict):
        raise _failed(plugin, user, "its ExecCredential has no status")
    token, certificate, key = (_text(status, name) for name in ("token", "clientCertificateData", "clientKeyData"))
    if not (token or certificate or key):
        raise _failed(plugin, user, "its ExecCredential has neither token nor certificate")
    if bool(certificate) != bool(key):
        raise _failed(plugin, user, "its ExecCredential has only one of certificate and key")
    return PluginCredential(token=token, certificate=certificate, key=key, expires_at=_expiry(status, plugin, user))


def _text(status: Mapping[str, object], name: str) -> str:
    value = status.get(name)
    return value if isinstance(value, str) else ""


def _expiry(status: Mapping[str, object], plugin: ExecPlugin, user: str) -> float | None:
    value = status.get("expirationTimestamp")
    if value is None or value == "":
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise _failed(plugin, user, f"its expirationTimestamp {clean(value)!r} is no RFC 3339 time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _with_words(why: str, words: bytes) -> str:
    said = " / ".join(clean_lines(words.decode("utf-8", "replace"), lines=4))
    return f"{why}; it said: {clean(said, 500)}" if said else why


def _failed(plugin: ExecPlugin, user: str, why: str, *, code: str = "plugin-failed", hint: bool = False) -> BrokerError:
    install = " / ".join(clean_lines(plugin.install_hint, lines=6)) if hint else ""
    return CredentialError(
        f"the credential plugin {clean(plugin.command)} of user {clean(user)!r} gave no credential",
        code=code,
        cause=why,
        next_step=str(clean(install, 600)) or "run it by hand, or log in again as you do for kubectl",
    )
