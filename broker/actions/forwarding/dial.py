"""Streams to one guest, as often as asked, in a process that lives longer than the guest's addresses and our credentials.

What the cluster says of the guest is read by one reader for all who wait. What is kept of it may only lead to a dial: a client
is turned away by what was read after it came, or after its dial failed, in the words of `broker.actions.explain_failure`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from broker.actions.connect import limit_of, other_route, read_guest
from broker.actions.explain_failure import explain
from broker.actions.forwarding.obstacle import forward_obstacle
from broker.actions.forwarding.right import refusal
from broker.actions.reading import Reading
from broker.errors import BrokerError, CredentialError, NotFound, NotPermitted
from broker.kube.cold import ColdClient
from broker.kube.stream import in_thread
from broker.kube.tunnel import StallPolicy
from broker.paths.dial import dial
from broker.paths.forward_spec import Protocol
from broker.refs import Kind, Target

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from broker.kube.endpoint import Endpoint
    from broker.kube.stream import Stream

T = TypeVar("T")

FRESH_S: Final = 5.0
"""Seconds for which a reading serves for a dial; it turns nobody away."""
APART_S: Final = 0.2
"""Seconds between the beginnings of two readings at least, however many clients wait for one."""
PATIENCE_S: Final = 5.0
"""Seconds for which a dial waits and tries again where the server says how long to wait."""
EXPLAINED_S: Final = 2.0
"""Seconds for which one explanation serves every client that fails in the same way while the objects stay the same."""
BUFFERED_BYTES: Final = 256 * 1024 * 1024
"""What the streams of one process may hold for local peers that take nothing, before each begins to hold its guest back."""
_LEAST_FREE_BYTES: Final = 256 * 1024
_STATES: Final = frozenset({"vm-stopped", "vm-paused", "no-interface", "no-address", "vmi-foreign"})
"""Refusals of virt-api that the objects should tell too: where they do not any more, a second dial is worth it."""


@dataclass(slots=True, kw_only=True)
class _Explained:
    """One explanation, when it was made and of which objects; `lock` lets one client find it for all."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    at: float = float("-inf")
    reading: Reading | None = None
    error: BrokerError | None = None


class GuestDialer:
    """Opens streams to the ports of one guest; made in a running loop, used by any number of tasks at once."""

    def __init__(self, endpoint: Endpoint, settings: Settings, target: Target, *, reopen: Callable[[], Endpoint]) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._target = target
        self._reopen = reopen
        self._found: Reading | BrokerError | None = None
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()
        self._route: Kind | None = None
        self._open = 0
        self._explained: dict[tuple[int, Protocol, str, str], _Explained] = {}

    async def read(self, *, kept_s: float = 0.0) -> Reading:
        """Return what the cluster says of the guest; raises as `read_guest` does.

        It was read after this was called, or is a good reading of at most `kept_s` seconds ago. A failure serves only those who
        waited for it.
        """
        asked_at = asyncio.get_running_loop().time()
        return await self._read(asked_at - kept_s, asked_at)

    async def _read(self, since: float, failed_since: float) -> Reading:
        """Return a reading begun at `since` (the loop's clock) or later; raise a failure only of `failed_since` or later."""
        loop = asyncio.get_running_loop()
        if not self._serves(since, failed_since):
            async with self._lock:
                if not self._serves(since, failed_since):
                    await asyncio.sleep(self._read_at + APART_S - loop.time())
                    began = loop.time()
                    try:
                        self._found = await in_thread(lambda: self._with_client(self._read_blocking))
                    except BrokerError as exc:
                        self._found = exc
                    self._read_at = began
        if isinstance(self._found, BrokerError):
            # Raised by many: each would add its frames to the traceback.
            raise self._found.with_traceback(None)
        assert self._found is not None
        return self._found

    def _serves(self, since: float, failed_since: float) -> bool:
        if self._found is None:
            return False
        return self._read_at >= (failed_since if isinstance(self._found, BrokerError) else since)

    async def check_right(self, reading: Reading, port: int) -> None:
        """Raise NotPermitted where the caller may forward nothing of this guest, as far as the API server tells."""
        error = await in_thread(lambda: self._with_client(lambda client: refusal(client, reading, port)))
        if error is not None:
            raise error

    async def open(self, port: int, protocol: Protocol) -> Stream:
        """Open a stream to a port of the guest; any class of `broker.errors`, each with its true cause.

        Where the server asks for patience (Retry-After) a client gets up to `PATIENCE_S` seconds of it.
        """
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        is_renewed = False
        while True:
            try:
                return await self._try_open(port, protocol)
            except CredentialError:
                if is_renewed or not await self._renew():
                    raise
                is_renewed = True
            except BrokerError as exc:
                wait_s = exc.retry_after_s
                if wait_s is None or asyncio.get_running_loop().time() + wait_s > deadline:
                    raise
                await asyncio.sleep(wait_s)

    async def _try_open(self, port: int, protocol: Protocol) -> Stream:
        asked_at = asyncio.get_running_loop().time()
        reading = await self._read(asked_at - FRESH_S, asked_at)
        if forward_obstacle(reading, port, protocol) is not None:
            reading = await self._read(asked_at, asked_at)
            known = forward_obstacle(reading, port, protocol)
            if known is not None:
                raise known
        for is_last in (False, True):
            try:
                return await self._by_routes(reading, port, protocol)
            except CredentialError:
                raise
            except BrokerError as exc:
                failed = exc
            reading = await self.read()
            known = forward_obstacle(reading, port, protocol)
            if known is not None:
                raise known from failed
            if is_last or failed.code not in _STATES or reading.may_lack:
                break
        found = await self._explain(reading, failed, port, protocol)
        raise found.with_traceback(None) from (None if found is failed else failed)

    def opened(self) -> None:
        """Note that a stream is in use, for the share of memory of the next ones."""
        self._open += 1

    def closed(self) -> None:
        """Note that a stream is no longer in use."""
        self._open -= 1

    async def _by_routes(self, reading: Reading, port: int, protocol: Protocol) -> Stream:
        first = self._route or reading.kind
        try:
            return await self._dial(reading, first, port, protocol)
        except (NotPermitted, NotFound) as exc:
            self._route = None
            other = other_route(reading, exc) if first == reading.kind else reading.kind
            if other is None:
                raise
            try:
                stream = await self._dial(reading, other, port, protocol)
            except (NotPermitted, NotFound):
                raise exc from None
            self._route = other
            return stream

    async def _dial(self, reading: Reading, kind: Kind, port: int, protocol: Protocol) -> Stream:
        return await dial(
            self._endpoint,
            kind=kind,
            namespace=reading.namespace,
            name=reading.name,
            port=port,
            protocol=protocol,
            handshake_s=limit_of(reading, self._settings.stream.handshake_s),
            connect_s=self._settings.api.connect_s,
            policy=self._policy(),
        )

    def _policy(self) -> StallPolicy:
        stream = self._settings.stream
        share = max(BUFFERED_BYTES // (self._open + 1), _LEAST_FREE_BYTES)
        return StallPolicy(
            free_bytes=min(stream.free_bytes, share),
            trickle_bytes=stream.trickle_bytes,
            trickle_every_s=stream.trickle_every_s,
            limit_bytes=stream.limit_bytes,
        )

    async def _explain(self, reading: Reading, error: BrokerError, port: int, protocol: Protocol) -> BrokerError:
        loop = asyncio.get_running_loop()
        key = (port, protocol, error.code, error.message)
        if len(self._explained) > 64:
            self._explained.clear()
        found = self._explained.setdefault(key, _Explained())
        async with found.lock:
            if found.error is None or found.reading != reading or found.at < loop.time() - EXPLAINED_S:
                found.error = await in_thread(
                    lambda: self._with_client(lambda client: explain(client, reading, port, error, verb="forward"))
                )
                found.reading, found.at = reading, loop.time()
            return found.error

    async def _renew(self) -> bool:
        """Read the kubeconfig again, where somebody may have logged in meanwhile; False where it cannot be read."""
        try:
            self._endpoint = await in_thread(self._reopen)
        except BrokerError:
            return False
        if isinstance(self._found, BrokerError):
            self._found = None
        return True

    def _read_blocking(self, client: ColdClient) -> Reading:
        return read_guest(client, self._target, default_namespace=self._endpoint.namespace, verb="forward")

    def _with_client(self, work: Callable[[ColdClient], T]) -> T:
        api = self._settings.api
        with ColdClient(self._endpoint, connect_s=api.connect_s, request_s=api.timeout_s) as client:
            return work(client)
