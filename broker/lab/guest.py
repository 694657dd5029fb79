"""One guest of the lab as a value, and what every kind of SSH server for it can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["SSH_PORT", "UNPRIVILEGED_SSH_PORT", "Account", "Guest", "GuestServer"]

SSH_PORT = 22
UNPRIVILEGED_SSH_PORT = 2222
"""Where guests listen when 22 may not be bound; their VMs carry the annotation `vmbroker.io/ssh-port` then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of a guest: name, and the public key lines that cloud-init would write for it."""

    name: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """What runs behind one VM's address. `speaks_ssh` is false for a guest whose SSH server is not running.

    `is_filtered`: the address answers nothing at all, as behind a NetworkPolicy. `is_paused`: it is frozen once it has started.
    """

    namespace: str
    name: str
    address: str
    ssh_port: int = SSH_PORT
    accounts: tuple[Account, ...] = ()
    speaks_ssh: bool = True
    is_filtered: bool = False
    is_paused: bool = False

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class GuestServer(Protocol):
    """One running SSH server of a guest."""

    kind: str

    async def start(self) -> None:
        """Start it; OSError or RuntimeError when it cannot be."""

    def is_alive(self) -> bool:
        """Whether it still runs."""

    async def stop(self) -> None:
        """End it and everything it started."""

    async def pause(self) -> None:
        """Freeze it: its port takes connections, or not even that, and says nothing."""

    async def resume(self) -> None:
        """Let it go on where it was."""
