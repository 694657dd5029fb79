"""A websocket subresource as an asyncio byte stream, for processes that hold many.

The socket is opened by the endpoint in a thread of its own and then driven by the loop's readers and writers, not by an asyncio
transport: so reading is counted to the byte (`StallPolicy`), TLS faults have one translation, and `cold` shares the steps.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from broker.errors import BrokerError, Unreachable
from broker.kube.answer import call_of
from broker.kube.endpoint import Endpoint, Headers
from broker.kube.tunnel import UNSENT_LIMIT_BYTES, End, StallPolicy, Tunnel
from broker.kube.upgrade import Handshake, is_stale_login
from broker.kube.wire import Wire

T = TypeVar("T")
_READ_BYTES: Final = 65_536


async def open_stream(
    endpoint: Endpoint,
    path: str,
    *,
    handshake_s: float = 15.0,
    connect_s: float = 15.0,
    policy: StallPolicy | None = None,
    keeps_messages: bool = False,
) -> Stream:
    """Open the stream behind a websocket subresource; `path` starts with `/apis`, the endpoint's prefix is put before it.

    With `keeps_messages` it is one of datagrams: `read_message` and `send_message`. `connect_s` limits connection and TLS,
    `handshake_s` the answer to the upgrade (seconds). Raises the BrokerError of a refused upgrade, GuestUnready
    (code `port-filtered`) where no answer comes, Unreachable, TrustError, CredentialError; a stale login is renewed once.
    """
    path = endpoint.prefix + path
    call = call_of(path)
    policy = policy or StallPolicy()

    def connect() -> tuple[Headers, socket.socket]:
        headers = endpoint.request_headers()
        return headers, endpoint.open_socket(timeout_s=connect_s)

    is_renewed = False
    while True:
        headers, sock = await in_thread(connect, late=lambda found: found[1].close())
        try:
            handshake = Handshake(
                path=path,
                host_header=endpoint.host_header,
                headers=headers,
                call=call,
                policy=policy,
                keeps_messages=keeps_messages,
            )
            return await _upgraded(endpoint, sock, handshake, handshake_s)
        except BaseException as exc:
            sock.close()
            if is_renewed or not (isinstance(exc, BrokerError) and is_stale_login(exc)):
                raise
        is_renewed = True
        await in_thread(functools.partial(endpoint.forget_credentials, headers))


async def _upgraded(endpoint: Endpoint, sock: socket.socket, handshake: Handshake, handshake_s: float) -> Stream:
    """Ask for the stream on a new connection; the caller closes the socket where this raises."""
    try:
        sock.setblocking(False)
        async with asyncio.timeout(handshake_s):
            tunnel = await _shake(sock, handshake)
        return Stream(Wire(sock, tunnel))
    except TimeoutError as exc:
        raise handshake.timed_out(handshake_s) from exc
    except ssl.SSLError as exc:
        failure = exc
        raise await in_thread(lambda: endpoint.trust_error(failure)) from exc
    except OSError as exc:
        from broker.kube.losses import lost

        raise lost(exc) from exc


async def _shake(sock: socket.socket, handshake: Handshake) -> Tunnel:
    request = memoryview(handshake.request)
    while request:
        request = request[await _attempt(sock, lambda data=request: sock.send(data), first_write=True) :]  # type: ignore[misc]
    while True:
        data = await _attempt(sock, lambda: sock.recv(_READ_BYTES), first_write=False)
        if not data:
            raise handshake.feed_eof()
        tunnel = handshake.feed(data)
        if tunnel is not None:
            return tunnel


async def _attempt(sock: socket.socket, action: Callable[[], T], *, first_write: bool) -> T:
    """Run one socket call that may not wait, waiting by the loop for what TLS or the kernel asks for."""
    while True:
        for_write = first_write
        try:
            return action()
        except (BlockingIOError, InterruptedError):
            pass
        except ssl.SSLWantReadError:
            for_write = False
        except ssl.SSLWantWriteError:
            for_write = True
        await _ready(sock, for_write=for_write)


async def _ready(sock: socket.socket, *, for_write: bool) -> None:
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if for_write else (loop.add_reader, loop.remove_reader)
    add(sock.fileno(), _wake, waiter)
    try:
        await waiter
    finally:
        remove(sock.fileno())


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def in_thread(work: Callable[[], T], *, late: Callable[[T], object] | None = None) -> T:
    """Run blocking `work` in a thread of its own (never the loop's pool, which a hung name look-up could fill).

    When we are cancelled meanwhile, the thread ends by its own limits and its result goes to `late`.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            if error is None and late is not None:
                late(result)  # type: ignore[arg-type]  # without an error the result is a T
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as exc:
            error = exc
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop is closed: nobody waits
            if error is None and late is not None:
                late(result)  # type: ignore[arg-type]

    threading.Thread(target=run, name="broker-open", daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        # The result may have come in the same turn of the loop, just before the cancellation: then nobody else has it.
        if late is not None and future.done() and not future.cancelled() and future.exception() is None:
            late(future.result())
        raise


class Stream:
    """One guest port as a byte stream: one reader and one writer at a time, each cancellable without loss.

    Pings are answered and bytes buffered (`StallPolicy`) whether or not anybody reads. Close it with `aclose` or `abort`.
    """

    def __init__(self, wire: Wire) -> None:
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._fd = wire.fileno()
        self._is_reading = self._is_writing = self._discards = self._is_shut = False
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._closer: asyncio.Future[None] | None = None
        self._pump_in()

    @property
    def ended(self) -> End | None:
        """Why the stream ended; None while it is open. Payload may wait after the end."""
        return self._wire.tunnel.ended

    async def until_ended(self) -> End:
        """Return how the stream ended, once it has, whoever reads or writes meanwhile; payload may still wait."""
        if self.ended is None:
            await asyncio.shield(self._end)
        assert self.ended is not None
        return self.ended

    @property
    def pending_bytes(self) -> int:
        """Bytes received that nobody has read."""
        return self._wire.tunnel.pending_bytes

    async def read(self, limit_bytes: int = _READ_BYTES) -> bytes:
        """Return up to `limit_bytes` as soon as there are some; empty at the end, whose reason is `ended`."""
        if self._reader is not None:
            raise RuntimeError("another read waits")
        tunnel = self._wire.tunnel
        while not tunnel.has_payload and tunnel.ended is None:
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = tunnel.take(limit_bytes)
        self._update()
        return data

    async def read_message(self) -> bytes | None:
        """Return the next message of a stream that keeps them, an empty one too; None at the end, whose reason is `ended`."""
        if self._reader is not None:
            raise RuntimeError("another read waits")
        tunnel = self._wire.tunnel
        while (message := tunnel.take_message()) is None and tunnel.ended is None:
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._update()
        return message

    def send_message(self, data: bytes) -> bool:
        """Queue one message of at most `WRITE_BYTES` (ValueError); False where it is dropped: too much waits, or the end."""
        tunnel = self._wire.tunnel
        if self._is_shut or not tunnel.may_send:
            return False
        tunnel.send_message(data)
        self._pump_out()
        return True

    async def write(self, data: bytes) -> None:
        """Queue `data` and wait while more than `UNSENT_LIMIT_BYTES` are unsent; cancelling the wait takes nothing back.

        Raises the end's error, or Unreachable with code `stream-ended`, once the stream has ended.
        """
        self._check_open()
        self._wire.tunnel.send(data)
        self._pump_out()
        await self._settled(UNSENT_LIMIT_BYTES)

    async def drain(self) -> None:
        """Wait until the socket took all that was written; raises as `write` does."""
        await self._settled(0)

    async def _settled(self, limit_bytes: int) -> None:
        if self._writer is not None:
            raise RuntimeError("another write waits")
        while self._wire.tunnel.unsent_bytes > limit_bytes and self.ended is None:
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        if self._wire.tunnel.unsent_bytes > limit_bytes:
            self._check_open()

    def _check_open(self) -> None:
        if self._is_shut or self.ended is not None:
            raise (self.ended and self.ended.error()) or Unreachable("the stream has ended", code="stream-ended")

    async def aclose(self, linger_s: float = 2.0) -> None:
        """Send a Close frame, wait up to `linger_s` seconds for the peer's, free the socket; cancelling frees it at once."""
        if self._is_shut:
            return
        tunnel = self._wire.tunnel
        try:
            self._discards = True
            tunnel.discard()
            tunnel.close()
            self._pump_out()
            self._pump_in()
            if tunnel.ended is None:
                self._closer = self._loop.create_future()
                async with asyncio.timeout(linger_s):
                    await self._closer
        except TimeoutError:
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Free the socket now, without a word to the peer; payload that waits stays readable."""
        if self._is_shut:
            return
        self._is_shut = True
        if self._is_reading:
            self._loop.remove_reader(self._fd)
        if self._is_writing:
            self._loop.remove_writer(self._fd)
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        tunnel = self._wire.tunnel
        tunnel.close()
        tunnel.lost("")
        self._wire.close()
        self._wake_all()

    def _wake_all(self) -> None:
        for waiter in (self._reader, self._writer, self._closer, self._end):
            _wake(waiter)

    def _pump_in(self) -> None:
        self._soon = None
        if self._is_shut:
            return
        self._wire.pump_in(self._loop.time())
        if self._discards:
            self._wire.tunnel.discard()
        self._pump_out()

    def _pump_out(self) -> None:
        if self._is_shut:
            return
        tunnel = self._wire.tunnel
        if tunnel.unsent_bytes:
            self._wire.pump_out()
        if tunnel.has_payload:
            _wake(self._reader)
        if tunnel.unsent_bytes <= UNSENT_LIMIT_BYTES:
            _wake(self._writer)
        self._update()

    def _update(self) -> None:
        """Ask the loop for what the wire waits for, and for nothing else."""
        if self._is_shut:
            return
        wire, now = self._wire, self._loop.time()
        # To ask what may be read can end a stream: its consumer has stalled for too long.
        wants_read = wire.wants_read(now)
        is_open = wire.tunnel.ended is None
        wants_read = is_open and wants_read
        wants_write = is_open and wire.wants_write
        if wants_read != self._is_reading:
            self._is_reading = wants_read
            if wants_read:
                self._loop.add_reader(self._fd, self._pump_in)
            else:
                self._loop.remove_reader(self._fd)
        if wants_write != self._is_writing:
            self._is_writing = wants_write
            if wants_write:
                self._loop.add_writer(self._fd, self._write_ready)
            else:
                self._loop.remove_writer(self._fd)
        if wants_read and self._soon is None and wire.has_more(now):
            self._soon = self._loop.call_soon(self._pump_in)
        if not is_open:
            self._wake_all()
        self._set_timer(wire.tunnel.next_due() if is_open else None)

    def _write_ready(self) -> None:
        # A TLS read that waited for the socket to take bytes goes on here, with the allowance it had.
        if self._wire.has_unfinished_read:
            self._pump_in()
        else:
            self._pump_out()

    def _set_timer(self, due: float | None) -> None:
        if self._timer is not None and (due is None or self._timer.when() != due):
            self._timer.cancel()
            self._timer = None
        if due is not None and self._timer is None:
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._pump_in()
