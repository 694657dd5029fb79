"""Which ports an interface lets in. **Pure.** (kubevirt.md A4: a masquerade interface's `ports` is a whitelist)"""

from __future__ import annotations

from broker.model.machine import Interface


def lists_port(interface: Interface, port: int, protocol: str = "TCP") -> bool:
    """Say whether TCP or UDP to this port passes the interface: a masquerade interface with a port list passes nothing else."""
    if interface.masquerade is None or not (interface.ports or interface.port_ranges):
        return True
    single = any(entry.port == port and _is(protocol, entry.protocol) for entry in interface.ports or ())
    ranged = any(
        entry.start_port <= port <= entry.end_port and _is(protocol, entry.protocol) for entry in interface.port_ranges or ()
    )
    return single or ranged


def _is(protocol: str, listed: str | None) -> bool:
    return (listed or "TCP").upper() == protocol
