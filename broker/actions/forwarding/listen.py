"""Opens the local ports of a forward: all of them, or none."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from broker.actions.forwarding.reports import Listening
from broker.clean import clean, escaped
from broker.errors import BrokerError, Failed
from broker.kube.stream import in_thread
from broker.paths.forward_spec import Bound, ForwardSpec, endpoint, refuse_twins

LOOKUP_S: Final = 10.0
"""Seconds that the look-up of a local address's name may take."""
CONNECTIONS: Final = 1000
"""Clients, UDP peers included, that are served at once at most."""
_BACKLOG: Final = 512
_DATAGRAM_BUFFER_BYTES: Final = 1 << 20
_FREE_PORT_TRIES: Final = 16
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One open local port and its socket: non-blocking, listening where it is TCP."""

    socket: socket.socket
    listening: Listening


async def listen_all(specs: Sequence[ForwardSpec]) -> tuple[Listener, ...]:
    """Open every port of every address, or none; Failed names the word that could not be had, UsageError two that collide."""
    addresses = [await _lookup(spec) for spec in specs]
    refuse_twins(
        Bound(word=spec.word, protocol=spec.protocol, address=address, local_port=spec.local_port)
        for spec, found in zip(specs, addresses, strict=True)
        for address in found
    )
    listeners: list[Listener] = []
    with ExitStack() as undo:
        for spec, found in zip(specs, addresses, strict=True):
            for listener in _listen(spec, found):
                undo.callback(listener.socket.close)
                listeners.append(listener)
        undo.pop_all()
    return tuple(listeners)


def client_limit() -> int:
    """Raise the soft limit of open files as far as it needs and may, and return how many clients fit (at most CONNECTIONS)."""
    wanted = 2 * CONNECTIONS + 128
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        except (OSError, ValueError):
            pass
    return CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(CONNECTIONS, (soft - 64) // 2))


async def _lookup(spec: ForwardSpec) -> tuple[str, ...]:
    """Return the numeric addresses of a word, in the resolver's order."""
    try:
        async with asyncio.timeout(LOOKUP_S):
            found = await in_thread(lambda: socket.getaddrinfo(spec.address, 0, type=socket.SOCK_STREAM))
    except TimeoutError as exc:
        raise _unknown(spec, f"no answer within {LOOKUP_S:g} s") from exc
    except (OSError, UnicodeError) as exc:
        raise _unknown(spec, clean(getattr(exc, "strerror", None) or exc)) from exc
    numbers = (_numeric(entry[4]) for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6))
    return tuple(dict.fromkeys(numbers))


def _numeric(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    return socket.getnameinfo(
        (str(address[0]), 0, *address[2:]),
        socket.NI_NUMERICHOST | socket.NI_NUMERICSERV,
    )[0]


def _listen(spec: ForwardSpec, addresses: Sequence[str]) -> list[Listener]:
    """Open one word on all its addresses, with one port number; an address that this machine lacks is left out if any stays."""
    for last_try in (*[False] * (_FREE_PORT_TRIES - 1), True):
        with ExitStack() as undo:
            opened: list[Listener] = []
            absent: BrokerError | None = None
            for address in addresses:
                port = opened[0].listening.port if opened else spec.local_port
                try:
                    listener = _open(spec, address, port)
                except OSError as exc:
                    if exc.errno in _ABSENT:
                        absent = _refused(spec, address, port, exc)
                        continue
                    if opened and spec.local_port == 0 and exc.errno == errno.EADDRINUSE and not last_try:
                        break
                    raise _refused(spec, address, port, exc) from exc
                undo.callback(listener.socket.close)
                opened.append(listener)
            else:
                if not opened:
                    raise absent or _unknown(spec, "it has no address")
                undo.pop_all()
                return opened
    raise AssertionError("the last try returns or raises")


def _open(spec: ForwardSpec, address: str, port: int) -> Listener:
    is_tcp = spec.protocol == "tcp"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
    try:
        if is_tcp:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DATAGRAM_BUFFER_BYTES)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(socket.getaddrinfo(address, port, family, flags=socket.AI_NUMERICHOST)[0][4])
        if is_tcp:
            sock.listen(_BACKLOG)
        sock.setblocking(False)
        real = int(sock.getsockname()[1])
    except BaseException:
        sock.close()
        raise
    listening = Listening(word=spec.word, protocol=spec.protocol, address=address, port=real, remote_port=spec.remote_port)
    return Listener(socket=sock, listening=listening)


def _refused(spec: ForwardSpec, address: str, port: int, error: OSError) -> Failed:
    local = f"{spec.protocol.upper()} port {endpoint(address, port)} of {escaped(spec.word)}"
    if error.errno == errno.EADDRINUSE:
        return Failed(
            f"the local {local} is in use",
            code="port-in-use",
            cause="another program has it",
            next_step=f"write another LOCAL port, or 0:{spec.remote_port} for a free one",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failed(
            f"you may not listen on the local {local}",
            code="port-denied",
            cause="ports below 1024 are for root" if port < 1024 else clean(os.strerror(error.errno or 0)),
            next_step=f"write a LOCAL port of 1024 or more, or 0:{spec.remote_port} for a free one",
        )
    if error.errno in _ABSENT:
        return Failed(
            f"this machine has no address {clean(address, 64)}, which {escaped(spec.word)} names",
            code="address-absent",
            cause=clean(os.strerror(error.errno or 0)),
            next_step="give an address of this machine: 127.0.0.1, ::1, or one of its own",
        )
    return Failed(f"the local {local} cannot be opened", code="port-failed", cause=clean(error.strerror or error))


def _unknown(spec: ForwardSpec, cause: str) -> Failed:
    return Failed(
        f"the local address {escaped(spec.address)} of {escaped(spec.word)} is not known",
        code="address-unknown",
        cause=cause,
        next_step="give an address of this machine: 127.0.0.1, ::1 or localhost",
    )
