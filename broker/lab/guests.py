"""The guests of the lab: for each running VM a real SSH server and a few plain ports on loopback addresses.

Those of the seed start together; later each starts, stops, pauses and resumes by itself.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.lab import asyncssh_guest, sshd_guest
from broker.lab.guest import SSH_PORT, UNPRIVILEGED_SSH_PORT, Guest, GuestServer
from broker.lab.guest_ports import Blackhole, PlainPorts, blackhole
from broker.tasks import Supervisor

__all__ = ["Guests", "ssh_port_here"]

READY_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.02


@dataclass(slots=True)
class Guests:
    """All guests of one lab, as a context: entered when every one answers, left when all are gone.

    `kind` says how: `sshd` (OpenSSH in mount namespaces) or `asyncssh`. Raises RuntimeError naming a guest that does
    not answer within READY_WITHIN_S.
    """

    guests: tuple[Guest, ...]
    directory: Path
    has_one_address: bool = sys.platform == "darwin"
    force: str | None = None
    kind: str = ""
    _servers: dict[str, GuestServer] = field(default_factory=dict)
    _plain: dict[str, PlainPorts] = field(default_factory=dict)
    _blackholes: dict[str, Blackhole] = field(default_factory=dict)
    _mapped: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    _mode: sshd_guest.Mode | None = None
    _host_names: str = ""
    _indices: dict[str, int] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = None if self.has_one_address else await asyncio.to_thread(sshd_guest.possible_mode)
        if self.force == "asyncssh":
            mode = None
        elif self.force == "sshd" and mode is None:
            raise RuntimeError("OpenSSH's sshd cannot run in mount namespaces here")
        self.kind = "asyncssh" if mode is None else "sshd"
        self._mode = mode
        self._host_names = "".join(f"{g.address} {g.name}.{g.namespace} {g.name}\n" for g in self.guests)
        try:
            async with Supervisor("guests") as tasks:
                starting = []
                for guest in self.guests:
                    server = await self._open(guest)
                    if server is not None:
                        starting.append(tasks.start(self._start(guest, server), name=guest.key))
                for task in starting:
                    await task
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End every guest; harmless when repeated."""
        async with Supervisor("guests/end") as tasks:
            # Side by side: one that is slow to go does not make the others wait.
            for ending in [tasks.start(server.stop(), name=key) for key, server in self._servers.items()]:
                await ending
        for ports in self._plain.values():
            ports.close()
        for hole in self._blackholes.values():
            hole.close()
        self._servers.clear()
        self._plain.clear()
        self._blackholes.clear()

    async def start_one(self, guest: Guest) -> None:
        """Start one guest, in place of the one of its name; OSError or RuntimeError where it cannot be."""
        await self.stop_one(guest.key)
        server = await self._open(guest)
        if server is not None:
            await self._start(guest, server)

    async def stop_one(self, key: str) -> None:
        """End one guest (`namespace/name`), its connections with it; nothing happens where none runs."""
        server = self._servers.pop(key, None)
        if server is not None:
            await server.stop()
        if (ports := self._plain.pop(key, None)) is not None:
            ports.close()
        if (hole := self._blackholes.pop(key, None)) is not None:
            hole.close()

    async def pause(self, key: str) -> None:
        """Freeze a guest's SSH server: its port and its sessions hang. Its plain ports go on."""
        if (server := self._servers.get(key)) is not None:
            await server.pause()

    async def resume(self, key: str) -> None:
        """Let a paused guest go on."""
        if (server := self._servers.get(key)) is not None:
            await server.resume()

    def translate(self, address: str, port: int) -> tuple[str, int]:
        """Return where a guest's address and port really listen on this machine."""
        if not self.has_one_address:
            return address, port
        return self._mapped.get((address, port), ("127.0.0.1", 1))

    def dead(self) -> tuple[str, ...]:
        """The guests (`namespace/name`) whose server has ended by itself."""
        return tuple(key for key, server in self._servers.items() if not server.is_alive())

    def ports(self) -> dict[str, dict[str, int]]:
        """Each guest's plain ports by service: echo, discard, chargen."""
        return {ports.address: dict(ports.numbers) for ports in self._plain.values()}

    def _listening_address(self, guest: Guest) -> str:
        return "127.0.0.1" if self.has_one_address else guest.address

    async def _open(self, guest: Guest) -> GuestServer | None:
        """Open everything of a guest but its SSH server, and return that, not started yet; None for one without."""
        if guest.is_filtered:
            hole = await blackhole(self._listening_address(guest), 0 if self.has_one_address else guest.ssh_port)
            self._blackholes[guest.key] = hole
            if self.has_one_address:
                self._mapped[guest.address, guest.ssh_port] = ("127.0.0.1", hole.port)
            return None
        ports = self._plain[guest.key] = await PlainPorts.open(guest.address, self._listening_address(guest))
        if self.has_one_address:
            for number, real in ports.standard():
                self._mapped[guest.address, number] = ("127.0.0.1", real)
        if not guest.speaks_ssh:
            return None
        folder = self.directory / f"{guest.namespace}.{guest.name}"
        index = self._indices.setdefault(guest.key, len(self._indices))
        server: GuestServer
        if self._mode is not None:
            names = f"{guest.address} {guest.name}.{guest.namespace} {guest.name}\n{self._host_names}"
            server = sshd_guest.SshdGuest(guest, folder, index=index, mode=self._mode, host_names=names)
        else:
            port = 0 if self.has_one_address else guest.ssh_port
            server = asyncssh_guest.AsyncsshGuest(guest, folder, self._listening_address(guest), port)
        self._servers[guest.key] = server
        return server

    async def _start(self, guest: Guest, server: GuestServer) -> None:
        await server.start()
        port = getattr(server, "port", guest.ssh_port)
        if self.has_one_address:
            self._mapped[guest.address, guest.ssh_port] = ("127.0.0.1", port)
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while not await _answers(*self.translate(guest.address, guest.ssh_port)):
                    if not server.is_alive():
                        raise RuntimeError(f"the SSH server of guest {guest.key} ended at once; see {self.directory}")
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError as exc:
            raise RuntimeError(f"guest {guest.key} did not answer within {READY_WITHIN_S:g} s; see {self.directory}") from exc
        if guest.is_paused:
            await server.pause()


async def _answers(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True


def ssh_port_here(addresses: Iterable[str], *, has_one_address: bool = sys.platform == "darwin") -> int:
    """Return 22 where this process may bind it on the first of the addresses, else 2222."""
    import socket

    for address in addresses:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind(("127.0.0.1" if has_one_address else address, SSH_PORT))
            except OSError:
                return SSH_PORT if has_one_address else UNPRIVILEGED_SSH_PORT
        break
    return SSH_PORT
