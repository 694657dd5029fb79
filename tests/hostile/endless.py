"""Answers without end, or far too large: what a script of `tests.hostile.liar` sends until the client hangs up."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from tests.hostile.corpus import MARK
from tests.hostile.liar import Asked, reply

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_LIMIT_S = 20.0
MIB = 1024 * 1024


def pour(asked: Asked, head: bytes, parts: Iterator[bytes], *, pause_s: float = 0.0) -> None:
    """Send a head and then parts until the client is gone, 20 s at most."""
    asked.sock.sendall(head)
    deadline = time.monotonic() + _LIMIT_S
    for part in parts:
        if time.monotonic() > deadline:
            return
        asked.sock.sendall(part)
        if pause_s:
            time.sleep(pause_s)


def forever(part: bytes) -> Iterator[bytes]:
    """Yield the same bytes for ever."""
    while True:
        yield part


def header(asked: Asked) -> None:
    """One header line that never ends."""
    pour(asked, _OK + b"X-Long: ", forever(b"x" * 65_536))


def headers(asked: Asked) -> None:
    """Header lines without number."""
    pour(asked, _OK, forever(b"X-Many: abcdefgh\r\n" * 4096))


def interim(asked: Asked) -> None:
    """Interim answers without end."""
    pour(asked, b"", forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 1024))


def body(asked: Asked) -> None:
    """A body that lasts as long as the connection."""
    pour(asked, _OK + b"Connection: close\r\n\r\n", forever(b'{"items":[' + b" " * 262_144))


def chunks(asked: Asked) -> None:
    """A chunked body without a last chunk."""
    pour(asked, _OK + b"Transfer-Encoding: chunked\r\n\r\n", forever(b"40000\r\n" + b" " * 262_144 + b"\r\n"))


def small_chunks(asked: Asked) -> None:
    """A chunked body in chunks of one byte, each with an extension."""
    pour(asked, _OK + b"Transfer-Encoding: chunked\r\n\r\n", forever((b"1;" + b"e" * 64 + b"\r\n \r\n") * 2048))


def refusals(asked: Asked) -> None:
    """A refusal whose text never ends."""
    head = b"HTTP/1.1 500 no\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    pour(asked, head, forever(b"40000\r\n" + b"x" * 262_144 + b"\r\n"))


def drip(asked: Asked) -> None:
    """A byte now and then, each soon enough to be no silence."""
    pour(asked, _OK + b"Connection: close\r\n\r\n", forever(b" "), pause_s=0.05)


def records(asked: Asked) -> None:
    """A body in TLS records of one byte, as fast as they are taken: dear to unpack."""
    pour(asked, _OK + b"Transfer-Encoding: chunked\r\n\r\n", forever(b"1\r\n \r\n"))


def drip_head(asked: Asked) -> None:
    """A head that comes byte by byte."""
    pour(asked, _OK + b"X-Slow: ", forever(b"x"), pause_s=0.05)


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    # After a full flush the packer starts anew: the piece of one MiB can be repeated as it stands.
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + piece * 1024


def bomb(asked: Asked) -> bytes:
    """A GiB of zeros in a MiB of gzip, whether asked for or not."""
    return reply(200, _bomb(), extra="Content-Encoding: gzip\r\n")


@lru_cache(maxsize=1)
def _large_status() -> bytes:
    message = f"{MARK}\x1b[2J" + "x" * (10 << 20)
    return reply(403, json.dumps({"kind": "Status", "apiVersion": "v1", "reason": "Forbidden", "message": message}).encode())


def large_status(asked: Asked) -> bytes:
    """A Status of 10 MiB."""
    return _large_status()


def deep(asked: Asked) -> bytes:
    """JSON nested a hundred thousand deep."""
    return reply(200, b'{"metadata":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


@lru_cache(maxsize=2)
def _large_object(kind: str, count: int) -> bytes:
    names = [f"n{index}" for index in range(count)]
    spec = {
        "domain": {"devices": {"interfaces": [{"name": name, "bridge": {}} for name in names]}},
        "networks": [{"name": name, "multus": {"networkName": name}} for name in names],
        "volumes": [{"name": name} for name in names],
    }
    conditions = [{"type": f"{name}{MARK}", "status": "True", "message": "x" * 10} for name in names]
    interfaces = [{"name": name, "ipAddress": "10.0.0.1", "ipAddresses": ["10.0.0.1"] * 3, "mac": "x"} for name in names]
    metadata = {"name": "web", "namespace": "shop", "uid": "u", "labels": dict.fromkeys(names, "x")}
    whole: dict[str, Any] = {"apiVersion": "kubevirt.io/v1", "kind": kind, "metadata": metadata}
    if kind == "VirtualMachine":
        status = {"conditions": conditions, "created": True}
        return json.dumps({**whole, "spec": {"template": {"spec": spec}}, "status": status}).encode()
    owner = {"kind": "VirtualMachine", "name": "web", "uid": "u", "controller": True, "apiVersion": "kubevirt.io/v1"}
    whole["metadata"] = {**metadata, "ownerReferences": [owner], "uid": "v"}
    status = {"phase": "Running", "conditions": conditions, "interfaces": interfaces}
    return json.dumps({**whole, "spec": spec, "status": status}).encode()


def large_objects(asked: Asked) -> bytes:
    """A VM and its instance with 10,000 of everything."""
    kind = "VirtualMachineInstance" if "virtualmachineinstances" in asked.path else "VirtualMachine"
    is_list = asked.path.partition("?")[0].endswith(("virtualmachines", "virtualmachineinstances"))
    found = _large_object(kind, 10_000)
    return reply(200, b'{"metadata":{"resourceVersion":"1"},"items":[' + found + b"]}" if is_list else found)


def tiny_objects(path: str) -> bytes:
    """A VM and its instance that run, as plain as can be."""
    kind = "VirtualMachineInstance" if "virtualmachineinstances" in path else "VirtualMachine"
    found = _large_object(kind, 1)
    is_list = path.partition("?")[0].endswith(("virtualmachines", "virtualmachineinstances"))
    return reply(200, b'{"metadata":{"resourceVersion":"1"},"items":[' + found + b"]}" if is_list else found)
