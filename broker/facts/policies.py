"""Whether NetworkPolicies let a port of a pod be reached, as far as the policies alone tell. **Pure.**

Rules add up (networking.k8s.io/v1): a pod that no policy selects is open; a selected one admits only what some rule admits.
Who virt-api's pod is (labels, namespace, address) is not ours to know, so a rule with peers is neither open nor closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from broker.model.surroundings import IngressRule, LabelSelector, NetworkPolicy, PolicyPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """`open`: everybody is let in; `closed`: nobody; `some`: certain peers, virt-api perhaps not among them.

    `names` are the policies that select the pod, as the cluster names them.
    """

    state: Literal["open", "some", "closed"]
    names: tuple[str, ...] = ()


def admission(policies: Iterable[NetworkPolicy], labels: Mapping[str, str], port: int) -> Admission:
    """Judge ingress to a TCP port of the pod with these labels; all policies of its namespace are given."""
    chosen = [policy for policy in policies if _restricts_ingress(policy) and selects(policy.spec.pod_selector, labels)]
    names = tuple(policy.metadata.name for policy in chosen)
    if not chosen:
        return Admission(state="open")
    rules = [rule for policy in chosen for rule in policy.spec.ingress or () if _lets_through(rule, port)]
    if any(not rule.peers for rule in rules if not _is_by_name(rule, port)):
        return Admission(state="open", names=names)
    return Admission(state="some" if rules else "closed", names=names)


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Say whether a selector matches labels; an operator that we do not know matches, since it cannot be ruled out."""
    if any(labels.get(key) != value for key, value in (selector.match_labels or {}).items()):
        return False
    for entry in selector.match_expressions or ():
        values = entry.values or []
        if entry.operator == "In" and labels.get(entry.key) not in values:
            return False
        if entry.operator == "NotIn" and entry.key in labels and labels[entry.key] in values:
            return False
        if entry.operator == "Exists" and entry.key not in labels:
            return False
        if entry.operator == "DoesNotExist" and entry.key in labels:
            return False
    return True


def _restricts_ingress(policy: NetworkPolicy) -> bool:
    return policy.spec.policy_types is None or "Ingress" in policy.spec.policy_types


def _lets_through(rule: IngressRule, port: int) -> bool:
    return not rule.ports or any(_may_be(entry, port) for entry in rule.ports)


def _may_be(entry: PolicyPort, port: int) -> bool:
    if (entry.protocol or "TCP") != "TCP":
        return False
    if entry.port is None or isinstance(entry.port, str):
        return True  # every port, or a name that only the pod's containers resolve
    return entry.port <= port <= (entry.end_port or entry.port)


def _is_by_name(rule: IngressRule, port: int) -> bool:
    """Say whether a rule may let the port through only by a name that is not known here."""
    fitting = [entry for entry in rule.ports or () if _may_be(entry, port)]
    return bool(fitting) and all(isinstance(entry.port, str) for entry in fitting)
