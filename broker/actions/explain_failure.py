"""Why it failed, in full: after a failure, read what else the cluster tells and name the true cause. Blocking.

Loaded only once something has failed; what is read, and what cannot be, is bounded by a budget of seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.errors import BrokerError, CredentialError, NotFound, NotPermitted
from broker.facts.roles import Right
from broker.refs import Target

if TYPE_CHECKING:
    from broker.actions.reading import Reading
    from broker.kube.cold import ColdClient
    from broker.kube.endpoint import Endpoint
    from broker.paths.diagnosis import DialFacts

BUDGET_S: Final = 2.0
"""Seconds that all further reading may take."""
_CALL_S: Final = 1.0
_RESOURCES: Final = {"vm": "virtualmachines", "vmi": "virtualmachineinstances"}


def explain(
    client: ColdClient, reading: Reading, port: int, error: BrokerError, *, verb: str = "ssh", budget_s: float = BUDGET_S
) -> BrokerError:
    """Return the error that names the true cause and the next step for a guest that could not be reached; never raises.

    `reading` is what `connect.read_guest` found, `error` what preflight or the dial raised. Reads for at most `budget_s`
    seconds; what cannot be read is told as unknown. `error` itself comes back where nothing better is known; `verb` as in
    `explain_reading`.
    """
    from broker.paths.diagnosis import DIAL_CODES, diagnose

    if error.code in DIAL_CODES:
        return diagnose(gather_facts(client, reading, port, code=error.code, budget_s=budget_s), error)
    if error.code == "api-absent" and (reading.vm is not None or reading.vmi is not None):
        from broker.actions.explain_access import unregistered

        return unregistered(error)
    right = Right(
        verb="get",
        group="subresources.kubevirt.io",
        resource=f"{_RESOURCES[reading.kind]}/portforward",
        namespace=reading.namespace,
    )
    return _explained(
        client, error, right=right, target=reading.target, namespace=reading.namespace, verb=verb, budget_s=budget_s
    )


def explain_reading(
    client: ColdClient, target: Target, namespace: str, error: BrokerError, *, verb: str = "ssh", budget_s: float = BUDGET_S
) -> BrokerError:
    """Return the error that says why a target could not be read; `verb` is the command its next step names. Never raises."""
    return _explained(client, error, right=None, target=target, namespace=namespace, verb=verb, budget_s=budget_s)


def explain_call(
    client: ColdClient, error: BrokerError, *, right: Right | None = None, budget_s: float = BUDGET_S
) -> BrokerError:
    """Return the error of any call with its true cause: your name and the roles, an expired login, no KubeVirt. Never raises.

    `right` is what the call needs, where the error is a refusal.
    """
    return _explained(client, error, right=right, target=None, namespace="", budget_s=budget_s)


def explain_at(
    endpoint: Endpoint, error: BrokerError, *, right: Right, target: Target | None = None, verb: str = "show"
) -> BrokerError:
    """Return the error of a command that only reads, with its true cause, asked on a connection of its own; never raises.

    `right` is what the command needs, `target` the one machine that it names. NotFound that says why comes back as it is.
    """
    if isinstance(error, NotFound) and error.cause is not None:
        return error
    from broker.kube.cold import ColdClient

    with ColdClient(endpoint, connect_s=BUDGET_S) as client:
        namespace = (target.namespace if target is not None else None) or endpoint.namespace
        return _explained(client, error, right=right, target=target, namespace=namespace, verb=verb, budget_s=BUDGET_S)


def gather_facts(
    client: ColdClient, reading: Reading, port: int, *, code: str = "port-filtered", budget_s: float = BUDGET_S
) -> DialFacts:
    """Read what decides between the causes of a dial that failed with this code, in `budget_s` seconds; never raises."""
    from broker.actions.gather_facts import gather

    with client.limited(budget_s, request_s=_CALL_S) as quick:
        return gather(quick, reading, port, code=code)


def _explained(
    client: ColdClient,
    error: BrokerError,
    *,
    right: Right | None,
    target: Target | None,
    namespace: str,
    verb: str = "ssh",
    budget_s: float,
) -> BrokerError:
    from broker.actions import explain_access

    with client.limited(budget_s, request_s=_CALL_S) as quick:
        if isinstance(error, NotPermitted) and error.code in ("forbidden", "forbidden-by-virt-api") and right is not None:
            return explain_access.refused(quick, right, error)
        if isinstance(error, NotFound) and target is not None and error.code in ("vm-not-found", "vmi-not-found"):
            return explain_access.missing(quick, target, namespace, error, verb=verb)
        if isinstance(error, CredentialError) and error.code == "unauthorized":
            return explain_access.turned_away(client.endpoint, error)
        if error.code == "api-absent":
            return explain_access.absent(quick, error)
    return error
