"""The opening handshake of a portforward websocket, without input or output: request bytes out, answer bytes in.

Ours instead of the library's, since the whole Status of a refused upgrade has to be read from whatever HTTP/1.x answers
(RFC 9112; kubevirt.md A2, A3 and M: `Accept: */*`, no Origin, no extensions).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from broker.clean import clean
from broker.errors import BrokerError, CredentialError, Unreachable
from broker.kube.status import READ_BYTES, Call, error_from_response
from broker.kube.tunnel import FRAME_LIMIT_BYTES, StallPolicy, Tunnel

SUBPROTOCOL: Final = "plain.kubevirt.io"
HEAD_LIMIT_BYTES: Final = 65_536
"""Bytes of a status line and its headers at most."""

USER_AGENT: Final = "vmbroker"
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |$)")


class Handshake:
    """One upgrade: send `request`, then `feed` until it gives a Tunnel or raises the refusal.

    `path` as sent (prefix kept); `headers` are pairs with credentials, values sent as UTF-8. Raises ValueError on a header that
    holds a line end.
    """

    def __init__(
        self,
        *,
        path: str,
        host_header: str,
        headers: Iterable[tuple[str, str]],
        call: Call,
        policy: StallPolicy,
        keeps_messages: bool = False,
    ) -> None:
        self._call = call
        self._policy = policy
        self._keeps_messages = keeps_messages
        self._protocol = ClientProtocol(
            WebSocketURI(secure=True, host=host_header, port=443, path=path, query=""),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            state=OPEN,  # the frames' parser starts at once; the head is read here
            max_size=(None, FRAME_LIMIT_BYTES),
        )
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host_header}",
            f"User-Agent: {USER_AGENT}",
            "Accept: */*",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {self._protocol.key}",
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        if any("\r" in line or "\n" in line or "\0" in line for line in lines):
            raise ValueError("a request header holds a line end")
        self.request: bytes = "\r\n".join((*lines, "", "")).encode()
        self._buffer = bytearray()
        self._status: int | None = None
        self._headers: dict[str, str] = {}

    def feed(self, data: bytes) -> Tunnel | None:
        """Take bytes of the answer; return the open Tunnel after 101, None while more is needed.

        Raises the BrokerError that a refused upgrade stands for (`broker.kube.status`), Unreachable for what is no HTTP.
        """
        self._buffer += data
        while self._status is None:
            if not self._read_head():
                return None
        if self._status != 101:
            if self._body_is_whole():
                raise self.refusal()
            return None
        tunnel = Tunnel(self._protocol, self._policy, keeps_messages=self._keeps_messages)
        tunnel.feed(bytes(self._buffer))
        return tunnel

    def feed_eof(self) -> BrokerError:
        """Return the error for an answer that ended here: the refusal as far as it was read, or a lost connection."""
        if self._status is not None and self._status != 101:
            return self.refusal()
        from broker.kube.losses import closed_early

        return closed_early()

    def timed_out(self, limit_s: float) -> BrokerError:
        """Return the error for an answer that did not come in time (virt-api dials the guest with no limit of its own)."""
        if self._status is not None and self._status != 101:
            return self.refusal()
        from broker.kube.guest_answers import unanswered

        return unanswered(self._call, limit_s)

    def refusal(self) -> BrokerError:
        """The refused upgrade as an error, from what was read of its body."""
        return error_from_response(
            self._status or 0,
            self._headers.get("content-type", ""),
            self._body(),
            self._call,
            retry_after=self._headers.get("retry-after"),
        )

    def _read_head(self) -> bool:
        """Read one head from the buffer; interim answers (100, 103) are skipped. False when it is not all there."""
        if len(self._buffer) >= 9 and not self._buffer.startswith(b"HTTP/1."):
            raise _not_http(bytes(self._buffer[:64]))
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > HEAD_LIMIT_BYTES:
            if len(self._buffer) > HEAD_LIMIT_BYTES:
                raise _not_http(b"its headers are too long")
            return False
        head = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        line = _STATUS_LINE.match(head[0])
        if line is None:
            raise _not_http(head[0][:64])
        status = int(line[1])
        if 100 <= status < 200 and status != 101:
            return True
        self._status = status
        pairs = [_pair(text) for text in head[1:]]
        for name, value in pairs:
            self._headers.setdefault(name.lower(), value)
        if status == 101:
            self._check_upgrade(pairs)
        return True

    def _check_upgrade(self, pairs: list[tuple[str, str]]) -> None:
        try:
            headers = Headers(pairs)
            self._protocol.process_response(Response(101, "", headers))
        except (InvalidHandshake, ValueError, LookupError) as exc:
            raise Unreachable(
                "the server agreed to a websocket and did not keep to it",
                code="bad-upgrade",
                cause=str(clean(exc)),
                next_step="look for a proxy between here and the API server",
            ) from exc

    def _body_is_whole(self) -> bool:
        if len(self._buffer) >= READ_BYTES * 2 or self._status in {204, 304}:
            return True
        if self._is_chunked:
            return _unchunk(self._buffer)[1]
        length = self._headers.get("content-length", "")
        return length.isascii() and length.isdigit() and len(self._buffer) >= min(int(length[:9]), READ_BYTES)

    def _body(self) -> bytes:
        return (_unchunk(self._buffer)[0] if self._is_chunked else bytes(self._buffer))[:READ_BYTES]

    @property
    def _is_chunked(self) -> bool:
        return "chunked" in self._headers.get("transfer-encoding", "").lower()


def is_stale_login(error: BrokerError) -> bool:
    """Whether fresh credentials may help: the API server itself answered 401 (client-go asks its plugin anew then)."""
    return isinstance(error, CredentialError) and error.code == "unauthorized"


def _pair(line: bytes) -> tuple[str, str]:
    name, _, value = line.partition(b":")
    return name.strip().decode("latin-1"), value.strip().decode("latin-1")


def _not_http(seen: bytes) -> Unreachable:
    return Unreachable(
        "what answers at the server's address does not speak HTTP as a Kubernetes API server does",
        code="not-http",
        cause=f"it said: {clean(seen.decode('latin-1'), 64)}",
        next_step="check the server URL in the kubeconfig",
    )


def _unchunk(raw: bytes | bytearray) -> tuple[bytes, bool]:
    """Decode chunked coding as far as it goes (RFC 9112 7.1); the flag says that the last chunk, or nonsense, was met."""
    body = bytearray()
    at = 0
    while len(body) < READ_BYTES:
        end = raw.find(b"\r\n", at)
        if end < 0:
            return bytes(body), False
        size_text = bytes(raw[at:end]).split(b";", 1)[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,15}", size_text):
            return bytes(body), True
        size = int(size_text, 16)
        if size == 0:
            return bytes(body), True
        chunk = raw[end + 2 : end + 2 + size]
        body += chunk
        if len(chunk) < size:
            return bytes(body), False
        at = end + 2 + size + 2
    return bytes(body), True
