"""How a running lab is told of faults: a private unix socket in its state directory, one JSON line each way.

Asked: `{"set": [WORD, …]}`, `{"clear": [NAME, …]}` ([] for all) or `{}`; answered: `{"active": [WORD, …], "cleared": N,
"lab": …}` (the lab's description, see broker.lab.running) or `{"error": TEXT}`. The socket is its owner's alone: 0600, and the
peer's user is looked at. The Kubernetes API has no part in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.errors import Failed, UsageError
from broker.lab.faults import Event, Faults

__all__ = ["Told", "ask", "serving"]

_NAME = "control.sock"
_LINE_BYTES = 64 * 1024
_ANSWER_WITHIN_S = 5.0
_BACK_WITHIN_S = 2.0
"""How long an answer waits for an API whose fault was just taken back, so that it does not tell of that fault."""
_PATH_BYTES = 100
"""A unix socket's path holds 104 bytes on macOS, 108 on Linux."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a running lab answered: the faults in force as words, how many a `clear` took back, its own description."""

    active: tuple[str, ...]
    cleared: int = 0
    lab: Mapping[str, object] = field(default_factory=dict)


@asynccontextmanager
async def serving(state_dir: Path, faults: Faults, description: Mapping[str, object]) -> AsyncIterator[None]:
    """Listen while the block runs; OSError where the socket cannot be made."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not _is_ours(writer.get_extra_info("socket")):
                return
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                told = _done(await reader.readline(), faults)
                if "error" not in told:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_BACK_WITHIN_S):
                            await faults.until_back()
                    told = {**told, "active": list(faults.active())}
                writer.write(json.dumps({**told, "lab": description}).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass
        finally:
            writer.close()

    with _reachable(state_dir) as path:
        listener = _bound(path)
    try:
        server = await asyncio.start_unix_server(answer, sock=listener, limit=_LINE_BYTES)
    except BaseException:
        listener.close()
        raise
    try:
        yield
    finally:
        server.close()
        (state_dir / _NAME).unlink(missing_ok=True)


def ask(state_dir: Path, *, set_words: Sequence[str] = (), clear: Sequence[str] | None = None) -> Told:
    """Tell the lab of a state directory and return what it says; UsageError for a refused word, Failed without an answer."""
    wanted: dict[str, object] = {"set": list(set_words)} if set_words else {} if clear is None else {"clear": list(clear)}
    try:
        with _reachable(state_dir) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_ANSWER_WITHIN_S)
            link.connect(path)
            link.sendall(json.dumps(wanted).encode() + b"\n")
            with link.makefile("rb") as stream:
                told = json.loads(stream.readline(16 * _LINE_BYTES))
        if "error" in told:
            raise UsageError(f"vmbroker lab fault: {told['error']}", next_step="see `vmbroker lab fault --help`")
        active = tuple(str(word) for word in told["active"])
        return Told(active=active, cleared=int(told.get("cleared", 0)), lab=told.get("lab") or {})
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Failed("the running lab does not answer", code="lab-control", cause=str(exc)[:200] or type(exc).__name__) from exc


def _bound(path: str) -> socket.socket:
    """A unix socket of that path that only its owner may use, in place of one that a dead lab left."""
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _done(line: bytes, faults: Faults) -> Mapping[str, Any]:
    """Do what one line asks; a list of words is set as a whole or not at all."""
    try:
        asked = json.loads(line)
        words = [str(word) for word in asked.get("set", ())]
        trial = Faults(happen=_nothing, knows=faults.knows)
        for word in words:
            trial.set(word)
        for word in words:
            faults.set(word)
        cleared = faults.clear(*_names(asked["clear"])) if "clear" in asked else 0
    except (ValueError, AttributeError, TypeError) as exc:
        return {"error": str(exc)[:1000]}
    return {"cleared": cleared}


def _names(asked: object) -> list[str]:
    if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
        raise ValueError("clear takes a list of names")
    return asked


def _nothing(event: Event) -> None:
    """What happens on trial."""


def _is_ours(link: socket.socket) -> bool:
    """Whether the other end is this user's or root's, where the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, uid, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return uid in (0, os.geteuid())


@contextmanager
def _reachable(state_dir: Path) -> Iterator[str]:
    """The socket's path, by way of an open directory where it would be too long for an address (Linux)."""
    whole = str(state_dir / _NAME)
    if len(os.fsencode(whole)) < _PATH_BYTES or not Path("/proc/self/fd").exists():
        yield whole
        return
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{_NAME}"
    finally:
        os.close(folder)
