"""A byte stream over one websocket, without any input or output of its own.

The core of `broker.kube.stream` (asyncio) and `broker.kube.cold` (blocking): both feed it what a socket gave, send what it
has to send, and ask it how much may be read next. Frames are parsed by `websockets.client.ClientProtocol` (RFC 6455).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN

from broker.clean import Clean, clean
from broker.errors import BrokerError, TimedOut, Unreachable

WRITE_BYTES: Final = 32_768
"""Payload of one frame that we send at most (virtctl's copy buffer)."""

FRAME_LIMIT_BYTES: Final = 1_048_576
"""Payload of one frame that we accept at most; virt-api's frames have 10 KiB (A5)."""

UNSENT_LIMIT_BYTES: Final = 1_048_576
"""Unsent bytes above which a front takes no more from its own side."""

MESSAGE_LIMIT_BYTES: Final = 65_535
"""Payload of a message that is kept at most: no UDP datagram is longer."""

MESSAGE_COST_BYTES: Final = 64
"""What a message counts for besides its payload where messages are kept, so that a million empty ones are bounded too."""

_UNSENT_STOP_BYTES: Final = 4 * UNSENT_LIMIT_BYTES
_SMALL_BYTES: Final = 4096
_MERGED_BYTES: Final = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class StallPolicy:
    """How much is read for a consumer that takes nothing (kubevirt.md M: what keeps a tunnel of the real servers alive).

    Free up to `free_bytes` pending, then `trickle_bytes` every `trickle_every_s` seconds with one unsolicited pong each time,
    up to `limit_bytes`; past that the stream ends.
    """

    free_bytes: int = 8 * 1024 * 1024
    trickle_bytes: int = 512 * 1024
    trickle_every_s: float = 20.0
    limit_bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        if not (0 < self.free_bytes <= self.limit_bytes and self.trickle_bytes > 0 and self.trickle_every_s > 0):
            raise ValueError("a stall policy needs 0 < free_bytes <= limit_bytes, trickle_bytes > 0, trickle_every_s > 0")


class EndKind(Enum):
    """How a stream came to its end."""

    PEER = "peer-closed"
    LOCAL = "closed-here"
    PEER_ERROR = "peer-error"
    CUT = "cut-short"
    LOST = "connection-lost"
    STALLED = "consumer-stalled"
    PROTOCOL = "protocol-error"


_SAID: Final = {
    EndKind.PEER_ERROR: ("the server closed the stream with an error", "try again; look at the virt-api pods"),
    EndKind.CUT: ("the stream was cut in the middle of a message", "try again; look at the virt-api pods and balancers"),
    EndKind.LOST: ("the connection to the API server was lost", "try again; look at the network and its balancers"),
    EndKind.STALLED: ("the reader of this stream stopped taking data for too long", "read on, or raise the stall limit"),
    EndKind.PROTOCOL: ("the server broke the websocket protocol", "look for a proxy between here and the API server"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Why a stream ended; `detail` is one clean line or empty."""

    kind: EndKind
    detail: Clean = Clean("")  # noqa: RUF009  (an immutable string)

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong: the peer or we closed it (an end without a Close frame is how virt-api ends)."""
        return self.kind in {EndKind.PEER, EndKind.LOCAL}

    def error(self) -> BrokerError | None:
        """The end as an error whose code is the kind's value; None for a clean one."""
        if self.is_clean:
            return None
        message, next_step = _SAID[self.kind]
        maker = TimedOut if self.kind is EndKind.STALLED else Unreachable
        return maker(message, code=self.kind.value, cause=str(self.detail) or None, next_step=next_step)


class Tunnel:
    """The state of one stream: bytes received and not taken, bytes to send and not sent, and its end.

    `now` is any steady clock in seconds, the same in every call. A front reads at most `read_allowance(now)` bytes before each
    `feed`; nothing here raises on what the peer sends, `ended` tells. With `keeps_messages` each message is a datagram
    (kubevirt.md A6): `take_message` and `send_message` stand for `take` and `send`.
    """

    def __init__(self, protocol: ClientProtocol, policy: StallPolicy, *, keeps_messages: bool = False) -> None:
        self._protocol = protocol
        self._keeps_messages = keeps_messages
        self._unfinished: bytearray | None = None
        self._protocol.debug = False  # the library would log payload
        self._policy = policy
        self._received: deque[bytes | bytearray] = deque()
        self._received_bytes = 0
        self._outgoing: deque[bytes] = deque()
        self._outgoing_bytes = 0
        self._in_text = False
        self._fed_bytes = 0
        self._parsed_bytes = 0
        self._trickle_at: float | None = None
        self._credit_bytes = 0
        self._is_closing = False
        self.ended: End | None = None

    # From the peer.

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes read from the socket; answers to pings lie in the outgoing bytes afterwards."""
        if self.ended is not None or not data:
            return
        self._fed_bytes += len(data)
        self._credit_bytes = max(self._credit_bytes - len(data), 0)
        self._protocol.receive_data(data)  # type: ignore[arg-type]  # it appends to a bytearray: any buffer will do
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take_frame(event)
        self._collect()
        self._note_end()

    def feed_eof(self) -> None:
        """Note that the socket ended: clean between messages, cut short inside one."""
        if self.ended is not None:
            return
        is_cut = self._fed_bytes != self._parsed_bytes and not self._is_closing
        self._protocol.receive_eof()
        self._protocol.events_received()
        self._end(EndKind.CUT if is_cut else EndKind.LOCAL if self._is_closing else EndKind.PEER)

    def lost(self, detail: object) -> None:
        """Note that the socket failed; after our own Close frame that is an ordinary end."""
        if self._is_closing:
            self._end(EndKind.LOCAL)
        else:
            self._end(EndKind.LOST, detail)

    def _take_frame(self, frame: Frame) -> None:
        size = len(frame.data)
        self._parsed_bytes += size + (2 if size < 126 else 4 if size < 65_536 else 10)
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._in_text = frame.opcode is Opcode.TEXT
        elif frame.opcode is not Opcode.CONT:
            return
        if self._in_text:
            return
        if self._keeps_messages:
            self._keep_message(frame)
        elif size:
            self._keep(frame.data)

    def _keep_message(self, frame: Frame) -> None:
        """Queue a whole message, an empty one too; pieces wait for the last one, and what no datagram can hold is dropped."""
        data = self._unfinished + frame.data if self._unfinished else frame.data
        if not frame.fin:
            self._unfinished = bytearray(data[: MESSAGE_LIMIT_BYTES + 1])
            return
        self._unfinished = None
        if len(data) <= MESSAGE_LIMIT_BYTES:
            self._received.append(bytes(data))
            self._received_bytes += len(data) + MESSAGE_COST_BYTES

    def _keep(self, data: bytes | bytearray | memoryview) -> None:
        """Queue payload; small pieces are merged, so that a million of them costs no million objects."""
        self._received_bytes += len(data)
        last = self._received[-1] if self._received else None
        if len(data) < _SMALL_BYTES and isinstance(last, bytearray) and len(last) < _MERGED_BYTES:
            last += data
        else:
            self._received.append(data if isinstance(data, bytearray) else bytearray(data))

    def _note_end(self) -> None:
        protocol = self._protocol
        if protocol.parser_exc is not None:
            self._end(EndKind.PROTOCOL, protocol.parser_exc)
        elif protocol.close_rcvd is not None:
            code = protocol.close_rcvd.code
            if self._is_closing:
                self._end(EndKind.LOCAL)
            elif code in {CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD}:
                self._end(EndKind.PEER)
            else:
                self._end(EndKind.PEER_ERROR, f"close code {code} {protocol.close_rcvd.reason}")

    def _end(self, kind: EndKind, detail: object = "") -> None:
        if self.ended is None:
            self.ended = End(kind=kind, detail=clean(detail))

    # To the consumer.

    @property
    def pending_bytes(self) -> int:
        """Bytes received that the consumer has not taken, unfinished frames included."""
        return self._received_bytes + len(self._protocol.reader.buffer)

    @property
    def has_payload(self) -> bool:
        """Whether the consumer can take something now."""
        return self._received_bytes > 0

    def take(self, limit_bytes: int) -> bytes:
        """Remove and return up to `limit_bytes` of payload; empty when there is none now."""
        parts: list[bytes | bytearray] = []
        left = limit_bytes
        while left > 0 and self._received:
            head = self._received[0]
            if len(head) > left:
                parts.append(head[:left])
                self.taken(left)
                break
            parts.append(self._received.popleft())
            self._received_bytes -= len(head)
            left -= len(head)
        return b"".join(parts)

    def take_message(self) -> bytes | None:
        """Remove and return the first message of a stream that keeps them; None when there is none now."""
        if not self._received:
            return None
        message = bytes(self._received.popleft())
        self._received_bytes -= len(message) + MESSAGE_COST_BYTES
        return message

    def chunks(self, count: int, limit_bytes: int) -> list[bytes | bytearray]:
        """The first payload chunks (at most `count`, whole ones of about `limit_bytes` together), for a gathering write."""
        parts: list[bytes | bytearray] = []
        total = 0
        for chunk in self._received:
            if len(parts) >= count or total >= limit_bytes:
                break
            parts.append(chunk)
            total += len(chunk)
        return parts

    def taken(self, size_bytes: int) -> None:
        """Drop payload that a gathering write has delivered."""
        self._received_bytes -= size_bytes
        _drop(self._received, size_bytes)

    def discard(self) -> None:
        """Drop all payload that waits: nobody will take it."""
        self._received.clear()
        self._received_bytes = 0

    # To the peer.

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait for the socket, frame headers included."""
        return self._outgoing_bytes

    @property
    def may_send(self) -> bool:
        """Whether a front may take more bytes from its own side."""
        return self.ended is None and not self._is_closing and self._outgoing_bytes <= UNSENT_LIMIT_BYTES

    def send(self, data: bytes | bytearray) -> None:
        """Queue payload in binary frames of `WRITE_BYTES`; ignored after the end."""
        if self.ended is not None or self._protocol.state is not OPEN:
            return
        if len(data) <= WRITE_BYTES:
            if data:
                self._protocol.send_binary(data)
        else:
            for start in range(0, len(data), WRITE_BYTES):
                self._protocol.send_binary(data[start : start + WRITE_BYTES])
        self._collect()

    def send_message(self, data: bytes) -> None:
        """Queue one message, an empty one too, of at most `WRITE_BYTES` (ValueError); ignored after the end."""
        if len(data) > WRITE_BYTES:
            raise ValueError(f"a message of {len(data)} bytes")
        if self.ended is None and self._protocol.state is OPEN:
            self._protocol.send_binary(data)
            self._collect()

    def close(self) -> None:
        """Queue a Close frame 1000 (virt-api answers it and then closes the guest's connection)."""
        if self.ended is None and self._protocol.state is OPEN:
            self._is_closing = True
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._collect()

    def outgoing(self) -> deque[bytes]:
        """What waits for the socket, first first; not to be changed, see `sent`."""
        return self._outgoing

    def sent(self, size_bytes: int) -> None:
        """Drop bytes that the socket took."""
        self._outgoing_bytes -= size_bytes
        _drop(self._outgoing, size_bytes)

    def _collect(self) -> None:
        for data in self._protocol.data_to_send():
            if data:  # the empty one asks for a half-close, which TLS and virt-api do not know
                self._outgoing.append(data)
                self._outgoing_bytes += len(data)

    # What to read next.

    def read_allowance(self, now: float) -> int:
        """Bytes that may be read from the socket now; 0: wait for the consumer, the sending side, or `next_due`.

        While the consumer lags, `trickle_bytes` are granted every `trickle_every_s` whatever it takes meanwhile, and a pong
        goes out with each grant; at `limit_bytes` pending the stream ends as STALLED.
        """
        if self.ended is not None or self._outgoing_bytes > _UNSENT_STOP_BYTES:
            return 0
        policy, pending = self._policy, self.pending_bytes
        if pending < policy.free_bytes // 2:
            self._trickle_at, self._credit_bytes = None, 0
            return policy.free_bytes - pending
        if self._trickle_at is None:
            if pending < policy.free_bytes:
                return policy.free_bytes - pending
            self._trickle_at, self._credit_bytes = now + policy.trickle_every_s, 0
        elif now >= self._trickle_at:
            if pending >= policy.limit_bytes:
                self._end(EndKind.STALLED, f"{pending} bytes wait, which is the limit")
                return 0
            self._trickle_at, self._credit_bytes = now + policy.trickle_every_s, policy.trickle_bytes
            if self._protocol.state is OPEN:
                self._protocol.send_pong(b"")
                self._collect()
        return max(policy.free_bytes - pending, min(self._credit_bytes, policy.limit_bytes - pending), 0)

    def next_due(self) -> float | None:
        """When `read_allowance` will decide anew by itself; None while the consumer keeps up."""
        return self._trickle_at if self.ended is None else None


def _drop(queue: deque[bytes] | deque[bytes | bytearray], size_bytes: int) -> None:
    while size_bytes > 0:
        head = queue[0]
        if len(head) > size_bytes:
            if isinstance(head, bytearray):
                del head[:size_bytes]
            else:
                queue[0] = head[size_bytes:]
            return
        size_bytes -= len(head)
        queue.popleft()
