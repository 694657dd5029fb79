"""Whether the caller may forward to a guest at all, asked before anything listens. Blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.actions.connect import other_route
from broker.actions.explain_failure import explain
from broker.errors import BrokerError, NotPermitted
from broker.facts.commands import called
from broker.kube.access import ACCESS_REVIEWS, Question, access_question, access_told

if TYPE_CHECKING:
    from broker.actions.reading import Reading
    from broker.kube.cold import ColdClient
    from broker.refs import Kind

_RESOURCES: Final = {"vm": "virtualmachines", "vmi": "virtualmachineinstances"}


def refusal(client: ColdClient, reading: Reading, port: int) -> BrokerError | None:
    """Return the error of `ssh` where no route to the guest is permitted, None where one is or nobody tells; never raises."""
    error = NotPermitted(
        f"you may not get {_RESOURCES[reading.kind]}/portforward of {called(reading.kind, reading.name, reading.namespace)}",
        code="forbidden",
    )
    other = other_route(reading, error)
    for kind in (reading.kind, *(() if other is None else (other,))):
        if _may(client, reading, kind) is not False:
            return None
    return explain(client, reading, port, error, verb="forward")


def _may(client: ColdClient, reading: Reading, kind: Kind) -> bool | None:
    """Ask the API server (SelfSubjectAccessReview); None where it does not tell."""
    question = Question(
        verb="get",
        group="subresources.kubevirt.io",
        resource=_RESOURCES[kind],
        subresource="portforward",
        namespace=reading.namespace,
        name=reading.name,
    )
    try:
        return access_told(client.post(ACCESS_REVIEWS, access_question(question))).is_allowed
    except BrokerError:
        return None
