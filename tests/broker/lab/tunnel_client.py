"""A websocket client for tests that sees every frame as it was on the wire, and reads only when it is told to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from broker.lab.cluster import Cluster

SUBRESOURCES = "/apis/subresources.kubevirt.io/v1"
LIMIT_S = 20.0
PING = b"\x89\x0akeep alive"
PONG = 0x8A
CLOSE = 0x88
UPGRADE: Mapping[str, str] = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(b"sixteen byte key").decode(),
    "Sec-WebSocket-Protocol": "plain.kubevirt.io",
}


@dataclass(slots=True)
class Link:
    """One HTTP exchange and the stream behind it; `raw` is everything of the stream that was read so far."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytearray = field(default_factory=bytearray)

    async def head(self) -> None:
        """Read status line and headers (names in lower case)."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}

    async def body(self) -> bytes:
        """Read the body of an answer that was no upgrade."""
        return await self.reader.readexactly(int(self.headers["content-length"]))

    async def take(self, count: int) -> bool:
        """Read `count` more bytes of the stream; False where it ended before."""
        try:
            self.raw += await self.reader.readexactly(count)
        except asyncio.IncompleteReadError as exc:
            self.raw += exc.partial
            return False
        except ConnectionError:
            return False
        return True

    async def take_all(self, *, is_answering: bool = True) -> None:
        """Read to the end of the stream, answering each ping unless told otherwise."""
        while True:
            try:
                data = await self.reader.read(1 << 20)
            except ConnectionError:
                return
            if not data:
                return
            at = max(0, len(self.raw) - len(PING) + 1)
            self.raw += data
            if is_answering and self.raw.find(PING, at) >= 0:
                self.send(PONG, b"keep alive")

    async def until_payload(self, wanted: bytes) -> None:
        """Read until the guest's bytes end with `wanted`."""
        async with asyncio.timeout(LIMIT_S):
            while not payload_of(self.raw).endswith(wanted):
                data = await self.reader.read(1 << 16)
                assert data, "the stream ended"
                self.raw += data

    def send(self, first: int, payload: bytes) -> None:
        """Send one masked frame; silently nothing once the connection is gone."""
        if not self.writer.is_closing():
            self.writer.write(masked(first, payload))


def masked(first: int, payload: bytes) -> bytes:
    """One frame of a client, of at most 64 KiB."""
    mask = os.urandom(4)
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes((first,)) + length + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def frames_of(raw: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    """Yield (first byte, payload) of each whole frame of a server."""
    at = 0
    while at + 2 <= len(raw):
        first, size, head = raw[at], raw[at + 1], 2
        if size == 126:
            size, head = int.from_bytes(raw[at + 2 : at + 4], "big"), 4
        elif size == 127:
            size, head = int.from_bytes(raw[at + 2 : at + 10], "big"), 10
        if at + head + size > len(raw):
            return
        yield first, bytes(raw[at + head : at + head + size])
        at += head + size


def payload_of(raw: bytes | bytearray) -> bytes:
    """The guest's bytes in a server's frames."""
    return b"".join(payload for first, payload in frames_of(raw) if first & 0x0F in (0, 2))


def digest_of(data: bytes) -> str:
    """A short name for many bytes."""
    return hashlib.sha256(data).hexdigest()


@asynccontextmanager
async def asked(
    cluster: Cluster, path: str, headers: Mapping[str, str] | None = None, *, user: str = "admin"
) -> AsyncIterator[Link]:
    """Send a GET with a user's credentials and yield the link once the head of the answer is there."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(cluster.url.rsplit(":", 1)[1]), ssl=trust(cluster), server_hostname="127.0.0.1", limit=1 << 16
    )
    link = Link(reader, writer)
    try:
        writer.write(head_of(cluster, path, headers, user=user))
        async with asyncio.timeout(LIMIT_S):
            await link.head()
        yield link
    finally:
        writer.transport.abort()


def head_of(cluster: Cluster, path: str, headers: Mapping[str, str] | None = None, *, user: str = "admin") -> bytes:
    """The head of a GET with a user's credentials; by default of a websocket handshake."""
    lines = [f"GET {path} HTTP/1.1", "Host: kube.lab.example", f"Authorization: Bearer {token(cluster.kubeconfig(user))}"]
    lines += [f"{name}: {value}" for name, value in (UPGRADE if headers is None else headers).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def trust(cluster: Cluster) -> ssl.SSLContext:
    """A TLS context that knows the lab's own authority."""
    return ssl.create_default_context(cadata=cluster.authority.certificate_pem.decode())


def token(kubeconfig: Path) -> str:
    """The token in one of the lab's kubeconfigs."""
    (user,) = yaml.safe_load(kubeconfig.read_text())["users"]
    return str(user["user"]["token"])


def forward(name: str, port: int | str, *, kind: str = "virtualmachineinstances", protocol: str = "tcp") -> str:
    """Path of the portforward subresource in the namespace `n`."""
    return f"{SUBRESOURCES}/namespaces/n/{kind}/{name}/portforward/{port}/{protocol}"


def instance(name: str, *addresses: str, conditions: tuple[str, ...] = (), owner: str | None = None) -> dict[str, Any]:
    """A VMI in the namespace `n` with one interface per address."""
    metadata: dict[str, Any] = {"name": name, "namespace": "n"}
    if owner is not None:
        metadata["ownerReferences"] = [{"kind": "VirtualMachine", "name": name, "uid": owner}]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": metadata,
        "spec": {},
        "status": {
            "phase": "Running",
            "interfaces": [{"name": f"nic{i}", "ipAddress": address} for i, address in enumerate(addresses)],
            "conditions": [{"type": kind, "status": "True"} for kind in conditions],
        },
    }


def machine(name: str, *, created: bool = True, uid: str = "u-1") -> dict[str, Any]:
    """A VM in the namespace `n`."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": "n", "uid": uid},
        "spec": {"runStrategy": "Always", "template": {"spec": {}}},
        "status": {"created": True} if created else {},
    }
