"""Dials a guest's SSH port as long as somebody waits for it: at once when the cluster's objects change, else with back-off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Final

from broker.actions.connect import other_route
from broker.actions.context import Broker
from broker.actions.explain_access import unregistered
from broker.actions.reading import Reading
from broker.clean import Clean
from broker.errors import (
    BrokerError,
    CredentialError,
    GuestUnready,
    NotFound,
    NotPermitted,
    SettingsError,
    TrustError,
    UsageError,
)
from broker.kube.stream import Stream
from broker.paths.dial import dial
from broker.paths.greeting import GreetingReader
from broker.refs import Kind, shown
from broker.tasks import Supervisor

FIRST_S: Final = 1.0
MOST_S: Final = 5.0
LEAST_S: Final = 0.5
"""Seconds between two dials: first and most of the back-off, and the least when objects change (a start is 15 versions)."""
GREETING_S: Final = 10.0
"""Seconds that an open port may take to greet."""
_LINGER_S: Final = 0.5
_FINAL: Final = (NotPermitted, CredentialError, UsageError, SettingsError, TrustError)
_FINAL_CODES: Final = frozenset({"upgrade-stripped", "upgrade-ignored", "redirected", "not-acceptable"})


class SshAnswer:
    """One guest's SSH port: `greeting` once it has answered, `trouble` the last reason why not; `stir` is called at each."""

    def __init__(self, broker: Broker, tasks: Supervisor, stir: Callable[[], None]) -> None:
        self._broker = broker
        self._tasks = tasks
        self._stir = stir
        self._dialling: asyncio.Task[None] | None = None
        self._key: Hashable = None
        self._began_s = float("-inf")
        self._due_s = float("-inf")
        self._backoff_s = FIRST_S
        self.greeting: Clean | None = None
        self.trouble: BrokerError | None = None
        self.dials = 0

    @property
    def is_dialling(self) -> bool:
        """Say whether a dial is under way."""
        return self._dialling is not None and not self._dialling.done()

    def pursue(self, reading: Reading, port: int, *, has_changed: bool) -> float:
        """Dial where it is time to; return the moment (loop time) to be called again at the latest.

        A dial that is under way goes on unless the guest or its address is another. Raises the error that dialling again
        cannot mend: NotPermitted, CredentialError, TrustError, an upgrade that something on the way removes.
        """
        now = asyncio.get_running_loop().time()
        if self.trouble is not None and _is_final(self.trouble, reading):
            raise self.trouble
        key = _key(reading, port)
        if self.is_dialling and key != self._key:
            self.leave()
            self._due_s = now
        if self.is_dialling:
            return float("inf")
        if has_changed:
            self._due_s = min(self._due_s, max(now, self._began_s + LEAST_S))
        if key != self._key:
            self._backoff_s = FIRST_S
        if now < self._due_s:
            return self._due_s
        self._key, self._began_s = key, now
        self.dials += 1
        self._dialling = self._tasks.start(self._try(reading, port), name="dial")
        return float("inf")

    def leave(self) -> None:
        """Give up a dial that is under way: what it was for is no longer so."""
        if self._dialling is not None:
            self._dialling.cancel()
        self._dialling = None

    async def _try(self, reading: Reading, port: int) -> None:
        try:
            self.greeting, self.trouble = await self._greeted(reading, port), None
        except BrokerError as exc:
            # The objects came from this very server: it is virt-api that it does not know.
            is_bare = exc.code == "api-absent" and (reading.vm is not None or reading.vmi is not None)
            self.trouble = unregistered(exc) if is_bare else exc
            self._due_s = asyncio.get_running_loop().time() + max(self._backoff_s, min(exc.retry_after_s or 0.0, 60.0))
            self._backoff_s = min(self._backoff_s * 2, MOST_S)
        self._dialling = None
        self._stir()

    async def _greeted(self, reading: Reading, port: int) -> Clean:
        stream = await self._open(reading, port)
        reader = GreetingReader()
        name = shown(reading.name, reading.namespace)
        try:
            async with asyncio.timeout(GREETING_S):
                while data := await stream.read():
                    found = reader.feed(data)
                    if found is not None and found.kind == "ssh":
                        return found.text
                    if found is not None:
                        raise _not_ssh(name, port, found.text)
        except TimeoutError:
            if reader.heard:
                raise _not_ssh(name, port, reader.heard) from None
            raise GuestUnready(
                f"port {port} of {name} is open but says nothing",
                code="no-greeting",
                cause=f"no SSH greeting came within {GREETING_S:g} s",
                next_step="see whether that port is sshd's, and whether the guest is busy",
            ) from None
        except asyncio.CancelledError:
            stream.abort()
            raise
        finally:
            await stream.aclose(_LINGER_S)
        raise GuestUnready(
            f"port {port} of {name} was closed before a greeting",
            code="no-greeting",
            cause=f"it said: {reader.heard}" if reader.heard else "the guest took the connection and ended it",
            next_step="look at sshd in the guest",
        )

    async def _open(self, reading: Reading, port: int) -> Stream:
        try:
            return await self._dial(reading, reading.kind, port)
        except (NotPermitted, NotFound) as exc:
            if (other := other_route(reading, exc)) is None:
                raise
            try:
                return await self._dial(reading, other, port)
            except (NotPermitted, NotFound):
                raise exc from None

    async def _dial(self, reading: Reading, kind: Kind, port: int) -> Stream:
        settings = self._broker.settings
        return await dial(
            self._broker.endpoint,
            kind=kind,
            namespace=reading.namespace,
            name=reading.name,
            port=port,
            handshake_s=settings.stream.handshake_s,
            connect_s=settings.api.connect_s,
        )


def _key(reading: Reading, port: int) -> Hashable:
    """What a dial is for: the same guest at the same address."""
    vmi = reading.vmi
    first = vmi.interfaces[0].addresses[:1] if vmi is not None and vmi.interfaces else ()
    return (port, vmi.metadata.uid if vmi is not None else None, first)


def _not_ssh(name: str, port: int, heard: Clean) -> GuestUnready:
    return GuestUnready(
        f"port {port} of {name} answers, but not as an SSH server",
        code="not-ssh",
        cause=f"it said: {heard}",
        next_step="give the port of sshd with -p",
    )


def _is_final(error: BrokerError, reading: Reading) -> bool:
    if isinstance(error, NotFound):
        # Where neither object may be read, only the dial can tell that it is not there.
        return {"vm", "vmi"} <= set(reading.may_lack)
    return isinstance(error, _FINAL) or error.code in _FINAL_CODES
