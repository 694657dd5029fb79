"""Why a wait ended before its time, in full: whose right it lacks and who holds it, where the name is, what is not installed.

Blocking; loaded only once something has failed, and bounded as `explain_failure` is.
"""

from __future__ import annotations

from broker.actions.explain_failure import BUDGET_S, explain, explain_at, explain_reading
from broker.actions.reading import Reading
from broker.errors import BrokerError, NotFound
from broker.facts.roles import Right
from broker.kube.cold import ColdClient
from broker.kube.endpoint import Endpoint
from broker.kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from broker.refs import Kind, Target


def explain_list(endpoint: Endpoint, error: BrokerError, *, target: Target, namespace: str, kind: Kind) -> BrokerError:
    """Return the error of watching VMs or VMIs (`kind`) with its true cause; itself where nothing better is known."""
    resource = VIRTUAL_MACHINES if kind == "vm" else VIRTUAL_MACHINE_INSTANCES
    right = Right(verb="list", group="kubevirt.io", resource=resource.plural, namespace=namespace)
    return explain_at(endpoint, error, right=right, target=target, verb="wait")


def explain_dial(endpoint: Endpoint, error: BrokerError, *, reading: Reading, port: int) -> BrokerError:
    """Return the error of a dial that dialling again cannot mend with its true cause; itself where nothing better is known."""
    with ColdClient(endpoint, connect_s=BUDGET_S) as client:
        if isinstance(error, NotFound):
            return explain_reading(client, reading.target, reading.namespace, error, verb="wait")
        return explain(client, reading, port, error)
