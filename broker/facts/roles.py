"""Which ClusterRoles hold a right. **Pure.** (RBAC of Kubernetes; KubeVirt's own roles in kubevirt.md H)"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker.model.roles import ClusterRole, Rule

SHOWN: Final = 5
"""Roles that a message names at most."""

_FIRST: Final = ("kubevirt.io:edit", "kubevirt.io:admin", "kubevirt.io:view", "kubevirt.io:migrate", "edit", "admin", "view")
_STREAMS: Final = frozenset({"portforward", "console", "vnc", "usbredir"})
_READS: Final = frozenset({"get", "list", "watch"})
_KUBEVIRT: Final = frozenset({"virtualmachines", "virtualmachineinstances", "virtualmachineinstancemigrations"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One verb on one resource as RBAC spells it; `resource` with its subresource, such as `virtualmachines/portforward`."""

    verb: str
    group: str
    resource: str
    namespace: str | None = None


def holders(roles: Iterable[ClusterRole], right: Right) -> tuple[str, ...]:
    """Return the names of the ClusterRoles that hold the right for every object, the ones made for it first.

    Roles of the cluster's own machinery (`system:…`) are left out: nobody is to be given them.
    """
    found = {
        role.metadata.name
        for role in roles
        if not role.metadata.name.startswith("system:") and any(_holds(rule, right) for rule in role.rules or ())
    }
    known = [name for name in _FIRST if name in found]
    return (*known, *sorted(found - set(known) - {"cluster-admin"}), *(["cluster-admin"] if "cluster-admin" in found else []))


def documented(right: Right) -> tuple[str, ...]:
    """Return the ClusterRoles that hold the right where KubeVirt is installed as it comes; () for one it has no role for."""
    resource, _, sub = right.resource.partition("/")
    if resource not in _KUBEVIRT:
        return ()
    if sub in _STREAMS or (right.verb == "update" and sub not in ("", "migrate")):
        return ("kubevirt.io:edit", "kubevirt.io:admin")
    if sub == "migrate":
        return ("kubevirt.io:migrate",)
    return ("kubevirt.io:view", "kubevirt.io:edit", "kubevirt.io:admin") if right.verb in _READS else ()


def _holds(rule: Rule, right: Right) -> bool:
    if rule.resource_names:
        return False
    sub = right.resource.partition("/")[2]
    resources = rule.resources or ()
    return (
        _has(rule.verbs or (), right.verb)
        and _has(rule.api_groups or (), right.group)
        and (_has(resources, right.resource) or (bool(sub) and f"*/{sub}" in resources))
    )


def _has(words: Iterable[str], wanted: str) -> bool:
    return any(word in ("*", wanted) for word in words)
