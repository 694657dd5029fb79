"""Why a port of a guest cannot be forwarded, as far as the cluster's objects tell: for UDP too. **Pure.**"""

from __future__ import annotations

from broker.actions.connect import obstacle
from broker.actions.reading import Reading
from broker.errors import BrokerError
from broker.facts.commands import called
from broker.facts.ports import lists_port
from broker.facts.primary_network import dialled
from broker.paths.forward_spec import Protocol
from broker.paths.obstacle import not_listed
from broker.refs import Kind


def forward_obstacle(reading: Reading, port: int, protocol: Protocol) -> BrokerError | None:
    """Return why this port cannot answer, in the words of `ssh`; None where only trying can tell."""
    known = obstacle(reading, port)
    if protocol == "tcp" or (known is not None and known.code != "port-not-listed"):
        return known
    # The list of the interface's ports was asked about TCP; it is the last thing that is asked.
    first = dialled(reading.vmi) if reading.vmi is not None else None
    interface = reading.vmi.machine.interface(first.name) if reading.vmi is not None and first is not None else None
    if reading.vmi is None or interface is None or lists_port(interface, port, "UDP"):
        return None
    kind: Kind = "vm" if reading.vm is not None else "vmi"
    what = called(kind, reading.name, reading.namespace)
    return not_listed(what, kind, reading.vmi, interface, port, "UDP")
