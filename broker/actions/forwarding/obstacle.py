"""Why a port of a guest cannot be forwarded, as far as the cluster's objects tell: for UDP too. **Pure.**"""

from __future__ import annotations

from broker.actions.connect import obstacle
from broker.actions.reading import Reading
from broker.clean import clean
from broker.errors import BrokerError, GuestUnready
from broker.facts.ports import lists_port
from broker.facts.primary_network import dialled
from broker.paths.forward_spec import Protocol


def forward_obstacle(reading: Reading, port: int, protocol: Protocol) -> BrokerError | None:
    """Return why this port cannot answer, in the words of `ssh` for TCP; None where only trying can tell."""
    known = obstacle(reading, port)
    if protocol == "tcp" or (known is not None and known.code != "port-not-listed"):
        return known
    # The list of the interface's ports was asked about TCP; it is the last thing that is asked.
    first = dialled(reading.vmi) if reading.vmi is not None else None
    interface = reading.vmi.machine.interface(first.name) if reading.vmi is not None and first is not None else None
    if interface is None or lists_port(interface, port, "UDP"):
        return None
    return GuestUnready(
        f"{reading.kind}/{clean(reading.name)}/{clean(reading.namespace, 63)} lets no UDP port {port} in",
        code="port-not-listed",
        cause=f"its masquerade interface {clean(interface.name, 63)} passes only the ports of its list",
        next_step=f"add {port} with protocol UDP to the interface's ports in the VM and restart it",
    )
