"""The pumps over a plain socket: partial writes, ends and failures become the tunnel's state."""

from __future__ import annotations

import socket
import struct

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from broker.kube.tunnel import FRAME_LIMIT_BYTES, EndKind, StallPolicy, Tunnel
from broker.kube.wire import Wire
from tests.broker.kube.sessions import block


def wired(policy: StallPolicy | None = None) -> tuple[Wire, socket.socket]:
    """A wire on one end of a TCP connection, and the other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    uri = WebSocketURI(secure=False, host="x", port=80, path="/", query="")
    protocol = ClientProtocol(uri, state=OPEN, max_size=(None, FRAME_LIMIT_BYTES))
    return Wire(ours, Tunnel(protocol, policy or StallPolicy())), theirs


def test_what_the_socket_does_not_take_waits_in_order() -> None:
    wire, theirs = wired()
    data = block(8_000_000)
    wire.tunnel.send(data)
    wire.pump_out()
    assert wire.wants_write, "the kernel took 8 MB at once"
    server, got = ServerProtocol(state=OPEN, max_size=None), b""
    theirs.settimeout(5)
    while len(got) < len(data):
        server.receive_data(theirs.recv(1 << 20))
        got += b"".join(event.data for event in server.events_received() if isinstance(event, Frame))
        wire.pump_out()
    assert got == data
    assert wire.tunnel.unsent_bytes == 0
    wire.close()
    wire.close()
    theirs.close()


def test_reading_stops_at_the_allowance() -> None:
    policy = StallPolicy(free_bytes=1000, trickle_bytes=100, trickle_every_s=20.0, limit_bytes=2000)
    wire, theirs = wired(policy)
    theirs.sendall(Frame(Opcode.BINARY, bytes(5000)).serialize(mask=False))
    while wire.wants_read(0.0):
        wire.pump_in(0.0)
    assert wire.tunnel.pending_bytes == 1000
    assert wire.wants_read(20.0)
    wire.pump_in(20.0)
    assert wire.tunnel.pending_bytes == 1100
    wire.close()
    theirs.close()


def test_an_end_and_a_reset_are_told_apart() -> None:
    for linger, kind in ((None, EndKind.PEER), (struct.pack("ii", 1, 0), EndKind.LOST)):
        wire, theirs = wired()
        if linger is not None:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        theirs.close()
        wire.pump_in(0.0)
        assert wire.tunnel.ended is not None
        assert wire.tunnel.ended.kind is kind
        assert not wire.wants_read(0.0)
        wire.close()


def test_what_came_before_a_failed_write_is_kept() -> None:
    wire, theirs = wired()
    theirs.sendall(b"\x82\x04last")
    theirs.close()
    for _ in range(3):
        if wire.tunnel.ended is None:
            wire.tunnel.send(b"into the void")
            wire.pump_out()
    wire.pump_in(0.0)
    assert wire.tunnel.ended is not None
    assert wire.tunnel.take(10) == b"last"
    wire.close()
