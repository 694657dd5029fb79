"""The portforward subresource, in virt-api's order: look, validate, dial the guest, and only then upgrade.

Shapes and texts: KubeVirt pkg/virt-api/rest/{portforward,dialers,streamer}.go and the captures `portforward-*`.
A dialled address outside the loopback network is never contacted: to the lab it is a network that virt-api has no way to.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web
from websockets.utils import accept_key

from broker.lab.faults import Faults
from broker.lab.tunnel import DatagramGuest, Pace, StreamGuest, Tunnel
from broker.lab.virtapi import KINDS, Denial, conflict, internal_error, not_found, status_answer

__all__ = ["Machines", "PortForward"]

SUBPROTOCOL = "plain.kubevirt.io"
_NOT_WEBSOCKET = "websocket: the client is not using the websocket protocol: "


class Machines(Protocol):
    """Where objects are looked up: the part of `broker.lab.objects.Objects` that is needed here."""

    def get(self, resource: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """Return one object or None."""


class PortForward:
    """Serves portforward requests; `unrouted_s` is how long a dial to an unreachable network hangs before it fails.

    `translate` turns an address and port of the cluster into the ones this machine listens on (macOS has one
    loopback address only), or returns None for an address that is no guest's.
    """

    def __init__(
        self,
        machines: Machines,
        *,
        pace: Pace,
        faults: Faults,
        unrouted_s: float = 127.0,
        translate: Callable[[str, int], tuple[str, int]] | None = None,
    ) -> None:
        self._machines = machines
        self._pace = pace
        self._faults = faults
        self._unrouted_s = unrouted_s
        self._translate = translate or (lambda address, port: (address, port))
        self._tunnels: set[Tunnel] = set()

    @property
    def active(self) -> int:
        """How many tunnels relay, as kubevirt_portforward_active_tunnels counts them."""
        return sum(not tunnel.reason for tunnel in self._tunnels)

    async def serve(
        self, request: web.Request, resource: str, namespace: str, name: str, rest: tuple[str, ...]
    ) -> web.StreamResponse:
        """Answer one request; returns when the tunnel has ended. Raises Denial with the error answer."""
        vmi = self._find(resource, namespace, name)
        protocol = rest[1] if len(rest) > 1 else "tcp"
        guest = await self._dial(protocol, _dialled_address(vmi), rest[0], namespace, name)
        try:
            refusal = self._handshake_refusal(request)
            if refusal is not None:
                # The real virt-api forgets the guest's socket here until garbage collection; the lab closes it.
                raise Denial(refusal)
            tunnel = Tunnel(guest, self._pace)
            self._tunnels.add(tunnel)
            try:
                await self._upgrade(request, tunnel)
            finally:
                self._tunnels.discard(tunnel)
        finally:
            guest.abort()
        return _Hijacked()

    def abort(self) -> None:
        """End every tunnel at once (the lab stops)."""
        for tunnel in tuple(self._tunnels):
            tunnel.abort()

    def _find(self, resource: str, namespace: str, name: str) -> Mapping[str, Any]:
        kind = KINDS[resource]
        uid = None
        if resource == "virtualmachines":
            vm = self._machines.get("virtualmachines.kubevirt.io", namespace, name)
            if vm is None:
                raise Denial(not_found(kind, name))
            if not vm.get("status", {}).get("created"):
                raise Denial(conflict(kind, name, "VMI is not started"))
            uid = vm["metadata"]["uid"]
        vmi = self._machines.get("virtualmachineinstances.kubevirt.io", namespace, name)
        if vmi is None:
            raise Denial(not_found("virtualmachineinstance", name))
        if uid is not None and uid not in [o.get("uid") for o in vmi["metadata"].get("ownerReferences", [])]:
            raise Denial(internal_error(f"unable to retrieve vmi [{name}] for vm: <nil>"))
        conditions = vmi.get("status", {}).get("conditions", [])
        if any(c.get("type") == "Paused" and c.get("status") == "True" for c in conditions):
            raise Denial(conflict("virtualmachineinstance", name, "VMI is paused"))
        return vmi

    def _handshake_refusal(self, request: web.Request) -> web.Response | None:
        """The answer of gorilla's Upgrader to a request that is no websocket handshake (server.go), or None."""
        headers = request.headers
        stripped = self._faults.strip_upgrade
        if stripped:
            self._faults.met("strip-upgrade")
        why = None
        if stripped or not _has_token(headers.getall("Connection", []), "upgrade"):
            why = _NOT_WEBSOCKET + "'upgrade' token not found in 'Connection' header"
        elif not _has_token(headers.getall("Upgrade", []), "websocket"):
            why = _NOT_WEBSOCKET + "'websocket' token not found in 'Upgrade' header"
        elif not _has_token(headers.getall("Sec-WebSocket-Version", []), "13"):
            why = "websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' header"
        elif not headers.get("Sec-WebSocket-Key"):
            why = "websocket: not a websocket handshake: 'Sec-WebSocket-Key' header is missing or blank"
        if why is None:
            return None
        status = status_answer(400, "BadRequest", why)
        body = b"Bad Request\n" + bytes(status.body) if isinstance(status.body, bytes) else b"Bad Request\n"
        return web.Response(status=400, body=body, content_type="text/plain", charset="utf-8")

    async def _upgrade(self, request: web.Request, tunnel: Tunnel) -> None:
        http = request.protocol
        transport = request.transport
        if transport is None:
            return
        head = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept_key(request.headers['Sec-WebSocket-Key'])}",
        ]
        if _has_token(request.headers.getall("Sec-WebSocket-Protocol", []), SUBPROTOCOL, folded=False):
            head.append(f"Sec-WebSocket-Protocol: {SUBPROTOCOL}")
        tunnel.take_over(transport, http)
        transport.write(("\r\n".join(head) + "\r\n\r\n").encode())
        tunnel.start()
        try:
            await tunnel.ended()
        finally:
            tunnel.abort()

    async def _dial(self, protocol: str, address: str, port: str, namespace: str, name: str) -> StreamGuest | DatagramGuest:
        network = protocol.rstrip("46") if protocol[:3] in ("tcp", "udp") else protocol
        if network not in ("tcp", "udp"):
            raise _dial_error(f"dial {protocol}: unknown network {protocol}")
        number = _port_number(protocol, port)
        target = f"{_bracketed(address)}:{number}"
        if not address:
            # virt-api dials itself then; nothing of it listens there.
            raise _dial_error(f"dial {protocol} {target}: connect: connection refused")
        try:
            # A datagram is sent unanswered whatever becomes of it.
            state = "open" if network == "udp" else self._faults.guest_port(namespace, name, number)
            if state == "closed":
                raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            if state == "rejected":
                raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
            if state == "filtered" or not ipaddress.ip_address(address).is_loopback:
                await asyncio.sleep(self._unrouted_s)
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            host, number = self._translate(address, number)
            return await (DatagramGuest if network == "udp" else StreamGuest).dial(host, number)
        except (OSError, ValueError) as exc:
            raise _dial_error(f"dial {protocol} {target}: connect: {_go_text(exc)}") from exc


class _Hijacked(web.StreamResponse):
    """What a handler returns after it has used up the connection itself: nothing is left to send."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send nothing: the head went out long ago."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send nothing."""


def _dialled_address(vmi: Mapping[str, Any]) -> str:
    interfaces = vmi.get("status", {}).get("interfaces") or []
    if not interfaces:
        raise Denial(status_answer(400, "BadRequest", "no network interfaces are present"))
    return str(interfaces[0].get("ipAddress") or "")


def _dial_error(why: str) -> Denial:
    return Denial(internal_error(f"dialing VM: {why}"))


def _port_number(protocol: str, port: str) -> int:
    """Return the port as Go's net.LookupPort does: a number in range or a service's name."""
    digits = port.removeprefix("-").removeprefix("+")
    if digits.isdigit() and digits.isascii():
        number = int(port) if len(digits) < 9 else -1
        if not 0 <= number <= 65535:
            raise _dial_error(f"dial {protocol}: address {port}: invalid port")
        return number
    try:
        return socket.getservbyname(port, protocol[:3])
    except OSError as exc:
        raise _dial_error(f"dial {protocol}: lookup {protocol}/{port}: unknown port") from exc


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _go_text(error: Exception) -> str:
    code = getattr(error, "errno", None)
    return os.strerror(code).lower() if isinstance(code, int) else "invalid argument"


def _has_token(values: list[str], token: str, *, folded: bool = True) -> bool:
    words = [word.strip() for value in values for word in value.split(",")]
    return token in ([word.lower() for word in words] if folded else words)
