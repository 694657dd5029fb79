"""The pure tunnel: cut anywhere, the same payload; stalled, bounded and alive."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from broker.errors import BrokerError, GuestUnready, TimedOut, Unreachable
from broker.kube.answer import call_of
from broker.kube.tunnel import FRAME_LIMIT_BYTES, MESSAGE_LIMIT_BYTES, WRITE_BYTES, EndKind, StallPolicy, Tunnel
from broker.kube.upgrade import Handshake

PATH = "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances/web/portforward/22/tcp"
SMALL = StallPolicy(free_bytes=10_000, trickle_bytes=1_000, trickle_every_s=20.0, limit_bytes=14_000)


def new_tunnel(policy: StallPolicy | None = None, *, keeps_messages: bool = False) -> Tunnel:
    uri = WebSocketURI(secure=True, host="x", port=443, path="/", query="")
    protocol = ClientProtocol(uri, state=OPEN, max_size=(None, FRAME_LIMIT_BYTES))
    return Tunnel(protocol, policy or StallPolicy(), keeps_messages=keeps_messages)


def wire(frames: Sequence[Frame]) -> bytes:
    return b"".join(frame.serialize(mask=False) for frame in frames)


def message(data: bytes, cuts: Sequence[int], opcode: Opcode) -> list[Frame]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(edges)]
    return [Frame(opcode if at == 0 else Opcode.CONT, part, fin=at == len(parts) - 1) for at, part in enumerate(parts)]


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([Opcode.BINARY, Opcode.BINARY, Opcode.TEXT]),
        st.binary(max_size=300),
        st.lists(st.integers(0, 300), max_size=3),
    ),
    max_size=8,
)


@given(MESSAGES, st.lists(st.integers(1, 90), min_size=1, max_size=20), st.booleans())
def test_any_cut_gives_the_same_payload(messages: list[tuple[Opcode, bytes, list[int]]], sizes: list[int], pings: bool) -> None:
    frames = []
    for opcode, data, cuts in messages:
        for frame in message(data, cuts, opcode):
            frames.append(frame)
            if pings:
                frames.append(Frame(Opcode.PING, b"keep alive"))
    raw, tunnel, got, turn = wire(frames), new_tunnel(), b"", 0
    while raw:
        size = sizes[turn % len(sizes)]
        turn += 1
        tunnel.feed(raw[:size])
        raw = raw[size:]
        got += tunnel.take(size)
    got += tunnel.take(1_000_000)
    tunnel.feed_eof()
    assert got == b"".join(data for opcode, data, _ in messages if opcode is Opcode.BINARY)
    assert tunnel.ended is not None
    assert tunnel.ended.kind is EndKind.PEER
    pongs = len(frames) // 2 if pings else 0
    assert len(tunnel.outgoing()) == pongs
    assert tunnel.pending_bytes == 0


def endless() -> Iterator[int]:
    """The bytes of an endless download in frames of 500 bytes."""
    return itertools.cycle(wire([Frame(Opcode.BINARY, bytes(500))]))


def fill(tunnel: Tunnel, now: float, source: Iterator[int]) -> int:
    """Feed all that the tunnel allows; return how much that was."""
    fed = 0
    while (allowance := tunnel.read_allowance(now)) > 0:
        tunnel.feed(bytes(itertools.islice(source, min(allowance, 700))))
        fed += min(allowance, 700)
    return fed


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 3000)), max_size=200))
def test_a_stalled_consumer_is_bounded_and_keeps_the_pulse(steps: list[tuple[float, int]]) -> None:
    tunnel, now, last_pong, source = new_tunnel(SMALL), 0.0, 0.0, endless()
    for wait_s, take in steps:
        due = tunnel.next_due()
        now = min(now + wait_s, due) if due is not None else now + wait_s
        before = len(tunnel.outgoing())
        was_trickling = due is not None
        allowance = tunnel.read_allowance(now)
        assert allowance + tunnel.pending_bytes <= SMALL.limit_bytes
        if len(tunnel.outgoing()) > before or not was_trickling:
            last_pong = now
        assert now - last_pong <= SMALL.trickle_every_s
        if allowance:
            fill(tunnel, now, source)
        assert tunnel.pending_bytes <= SMALL.limit_bytes
        tunnel.take(take)


def test_the_trickle_ends_at_the_limit_and_every_byte_waits() -> None:
    tunnel, source = new_tunnel(SMALL), endless()
    fed = fill(tunnel, 0.0, source)
    assert tunnel.pending_bytes == SMALL.free_bytes
    assert tunnel.next_due() == 20.0
    assert fill(tunnel, 19.9, source) == 0
    for turn in range(1, 4):
        grant = fill(tunnel, 20.0 * turn, source)
        assert grant == SMALL.trickle_bytes
        fed += grant
        assert len(tunnel.outgoing()) == turn
    while tunnel.ended is None:
        turn += 1
        fed += fill(tunnel, 20.0 * turn, source)
    assert tunnel.ended.kind is EndKind.STALLED
    assert tunnel.pending_bytes <= SMALL.limit_bytes
    error = tunnel.ended.error()
    assert isinstance(error, TimedOut)
    assert error.code == "consumer-stalled"
    assert len(tunnel.take(1_000_000)) == fed // 504 * 500


def test_a_slow_consumer_still_gets_its_trickle() -> None:
    tunnel, source = new_tunnel(SMALL), endless()
    fill(tunnel, 0.0, source)
    tunnel.take(100)
    assert fill(tunnel, 20.0, source) >= SMALL.trickle_bytes
    tunnel.take(SMALL.limit_bytes)
    assert tunnel.read_allowance(21.0) == SMALL.free_bytes - tunnel.pending_bytes
    assert tunnel.next_due() is None


def test_a_million_tiny_frames_cost_no_million_objects() -> None:
    tunnel = new_tunnel()
    tunnel.feed(wire([Frame(Opcode.BINARY, b"x")]) * 100_000)
    assert tunnel.pending_bytes == 100_000
    assert len(tunnel.chunks(1000, 1_000_000)) < 10
    assert tunnel.take(200_000) == b"x" * 100_000


def test_writes_are_masked_frames_of_32_kib() -> None:
    tunnel, server = new_tunnel(), ServerProtocol(state=OPEN, max_size=None)
    data = os.urandom(100_000)
    tunnel.send(data)
    assert tunnel.unsent_bytes > 100_000
    for part in tunnel.outgoing():
        server.receive_data(part)
    frames = [event for event in server.events_received() if isinstance(event, Frame)]
    assert [len(frame.data) for frame in frames] == [WRITE_BYTES] * 3 + [100_000 - 3 * WRITE_BYTES]
    assert b"".join(frame.data for frame in frames) == data
    tunnel.sent(tunnel.unsent_bytes)
    assert not tunnel.outgoing()


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        ([Frame(Opcode.CLOSE, Close(CloseCode.NORMAL_CLOSURE, "").serialize())], EndKind.PEER),
        ([Frame(Opcode.CLOSE, b"")], EndKind.PEER),
        ([Frame(Opcode.CLOSE, Close(CloseCode.INTERNAL_ERROR, "boom\n").serialize())], EndKind.PEER_ERROR),
        ([Frame(Opcode.CONT, b"x")], EndKind.PROTOCOL),
        ([Frame(Opcode.BINARY, bytes(FRAME_LIMIT_BYTES + 1))], EndKind.PROTOCOL),
    ],
)
def test_each_end_of_the_peer_has_its_kind(frames: list[Frame], kind: EndKind) -> None:
    tunnel = new_tunnel()
    tunnel.feed(wire(frames))
    assert tunnel.ended is not None
    assert tunnel.ended.kind is kind
    error = tunnel.ended.error()
    assert (error is None) == (kind is EndKind.PEER)
    assert error is None or "\n" not in str(error.cause)
    tunnel.feed(b"\x82\x01x")
    tunnel.feed_eof()
    assert tunnel.take(10) == b""


@given(st.integers(1, 150))
def test_an_end_inside_a_message_frame_is_cut_short(size: int) -> None:
    raw = wire([Frame(Opcode.BINARY, bytes(150))])
    tunnel = new_tunnel()
    tunnel.feed(raw[:size])
    tunnel.feed_eof()
    assert tunnel.ended is not None
    assert tunnel.ended.kind is EndKind.CUT


def test_after_our_close_any_end_is_ours() -> None:
    for finish in (Tunnel.feed_eof, lambda tunnel: tunnel.lost("reset")):
        tunnel = new_tunnel()
        tunnel.close()
        assert not tunnel.may_send
        assert b"".join(tunnel.outgoing())[:1] == b"\x88"
        finish(tunnel)
        assert tunnel.ended is not None
        assert tunnel.ended.kind is EndKind.LOCAL


@pytest.mark.parametrize("bad", [{"free_bytes": 0}, {"trickle_every_s": 0.0}, {"limit_bytes": 1}])
def test_an_impossible_policy_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="stall policy"):
        StallPolicy(**bad)


def new_handshake() -> Handshake:
    headers = (("Authorization", "Bearer x"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
    return Handshake(path=PATH, host_header="h:6443", headers=headers, call=call_of(PATH), policy=StallPolicy())


def test_the_request_is_what_virtctl_sends() -> None:
    lines = new_handshake().request.decode().split("\r\n")
    assert lines[0] == f"GET {PATH} HTTP/1.1"
    assert {"Host: h:6443", "Accept: */*", "Sec-WebSocket-Protocol: plain.kubevirt.io", "Impersonate-Group: b"} <= set(lines)
    assert not any(line.startswith(("Origin", "Sec-WebSocket-Extensions")) for line in lines)


def answer_to(handshake: Handshake, tail: bytes = b"") -> bytes:
    server = ServerProtocol()
    server.receive_data(handshake.request)
    request = server.events_received()[0]
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    return b"".join(server.data_to_send()) + tail


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_the_answer_may_come_in_any_pieces_with_payload_behind_it(sizes: list[int]) -> None:
    handshake = new_handshake()
    raw = b"HTTP/1.1 100 Continue\r\n\r\n" + answer_to(handshake, b"\x82\x03SSH")
    tunnel, turn = None, 0
    while raw:
        piece, raw = raw[: sizes[turn % len(sizes)]], raw[sizes[turn % len(sizes)] :]
        turn += 1
        if tunnel is None:
            tunnel = handshake.feed(piece)
        else:
            tunnel.feed(piece)
    assert tunnel is not None
    assert tunnel.take(10) == b"SSH"


STOPPED = b'{"kind":"Status","status":"Failure","message":"x: VMI is not started","reason":"Conflict","code":409}'


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%b" % (len(STOPPED), STOPPED),
        b"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (STOPPED[:16], len(STOPPED) - 16, STOPPED[16:]),
        b"HTTP/1.0 409 Conflict\r\n\r\n" + STOPPED,
    ],
)
def test_the_whole_status_of_a_refusal_is_read(raw: bytes) -> None:
    handshake, error = new_handshake(), None
    for at in range(len(raw)):
        try:
            assert handshake.feed(raw[at : at + 1]) is None
        except BrokerError as exc:
            error = exc
            break
    error = error or handshake.feed_eof()
    assert isinstance(error, GuestUnready)
    assert error.code == "vm-stopped"


@given(st.binary(max_size=400), st.sampled_from([b"", b"HTTP/1.1 500 X\r\n", b"HTTP/1.1 101 X\r\n", b"HTTP/1.1 500 X\r\n\r\n"]))
def test_any_answer_is_an_error_or_waits(noise: bytes, head: bytes) -> None:
    handshake = new_handshake()
    try:
        assert handshake.feed(head + noise) is None
    except BrokerError:
        return
    assert isinstance(handshake.feed_eof(), BrokerError)
    assert isinstance(handshake.timed_out(15.0), BrokerError)


def test_silence_and_false_agreement_have_their_codes() -> None:
    assert new_handshake().timed_out(15.0).code == "port-filtered"
    assert "virt-api" in str(new_handshake().timed_out(15.0).cause)
    with pytest.raises(Unreachable) as caught:
        new_handshake().feed(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n")
    assert caught.value.code == "bad-upgrade"
    with pytest.raises(Unreachable) as caught:
        new_handshake().feed(b"SSH-2.0-OpenSSH_9.9\r\n")
    assert caught.value.code == "not-http"
    with pytest.raises(ValueError, match="line end"):
        Handshake(path="/", host_header="h", headers=[("X", "a\r\nb")], call=call_of("/"), policy=StallPolicy())


@given(MESSAGES, st.lists(st.integers(1, 90), min_size=1, max_size=20))
def test_any_cut_gives_the_same_messages(messages: list[tuple[Opcode, bytes, list[int]]], sizes: list[int]) -> None:
    raw = wire([frame for opcode, data, cuts in messages for frame in message(data, cuts, opcode)])
    tunnel, turn = new_tunnel(keeps_messages=True), 0
    while raw:
        size = sizes[turn % len(sizes)]
        turn += 1
        tunnel.feed(raw[:size])
        raw = raw[size:]
    got = []
    while (found := tunnel.take_message()) is not None:
        got.append(found)
    assert got == [data for opcode, data, _ in messages if opcode is Opcode.BINARY]
    assert tunnel.pending_bytes == 0


def test_a_message_that_no_datagram_holds_is_dropped_and_bounded() -> None:
    tunnel = new_tunnel(keeps_messages=True)
    piece = bytes(MESSAGE_LIMIT_BYTES)
    tunnel.feed(wire([Frame(Opcode.BINARY, piece, fin=False)]))
    for _ in range(20):
        tunnel.feed(wire([Frame(Opcode.CONT, piece, fin=False)]))
    assert tunnel.pending_bytes == 0
    tunnel.feed(wire([Frame(Opcode.CONT, b"", fin=True), Frame(Opcode.BINARY, piece), Frame(Opcode.BINARY, b"")]))
    assert [tunnel.take_message(), tunnel.take_message(), tunnel.take_message()] == [piece, b"", None]


def test_a_message_is_sent_as_one_frame_even_an_empty_one() -> None:
    tunnel, server = new_tunnel(keeps_messages=True), ServerProtocol(state=OPEN)
    sent = [b"one", b"", bytes(WRITE_BYTES)]
    for each in sent:
        tunnel.send_message(each)
    server.receive_data(b"".join(tunnel.outgoing()))
    frames = [frame for frame in server.events_received() if isinstance(frame, Frame)]
    assert [(frame.opcode, bytes(frame.data), frame.fin) for frame in frames] == [(Opcode.BINARY, each, True) for each in sent]
    with pytest.raises(ValueError, match="a message of"):
        tunnel.send_message(bytes(WRITE_BYTES + 1))


def test_empty_messages_that_nobody_takes_are_bounded() -> None:
    tunnel = new_tunnel(SMALL, keeps_messages=True)
    while tunnel.read_allowance(0.0) > 0:
        tunnel.feed(wire([Frame(Opcode.BINARY, b"")] * 50))
    assert tunnel.pending_bytes <= SMALL.free_bytes + 50 * 100
