"""What stands around a VM and decides whether its port can be reached: namespace, launcher pod, NetworkPolicy. **Pure.**

Source: Kubernetes core/v1 and networking.k8s.io/v1 types; only what is read here.
"""

from __future__ import annotations

import msgspec

from broker.model.meta import Condition, Meta, Struct
from broker.model.pages import decode


class Namespace(Struct, frozen=True):
    """One Namespace; its labels say whether a primary user-defined network stands in it."""

    metadata: Meta = Meta()


class PodIp(Struct, frozen=True):
    """One entry of `status.podIPs`."""

    ip: str = ""


class PodStatus(Struct, frozen=True):
    """`status` of a Pod."""

    phase: str | None = None
    pod_ips: list[PodIp] | None = msgspec.field(name="podIPs", default=None)
    conditions: list[Condition] | None = None


class Pod(Struct, frozen=True):
    """One Pod, as far as a launcher pod is read."""

    metadata: Meta = Meta()
    status: PodStatus | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The pod's addresses on the cluster's default network."""
        return tuple(entry.ip for entry in (self.status.pod_ips if self.status else None) or () if entry.ip)


class Expression(Struct, frozen=True):
    """One entry of a selector's `matchExpressions`."""

    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class LabelSelector(Struct, frozen=True):
    """A label selector; an empty one selects everything."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[Expression] | None = None


class PolicyPort(Struct, frozen=True):
    """One port of a rule; `port` is a number, a name, or absent for all ports of the protocol."""

    protocol: str | None = None
    port: int | str | None = None
    end_port: int | None = None


class IngressRule(Struct, frozen=True):
    """One ingress rule: no ports means every port, no `peers` everybody; what the peers are is not read."""

    ports: list[PolicyPort] | None = None
    peers: list[msgspec.Raw] | None = msgspec.field(name="from", default=None)


class PolicySpec(Struct, frozen=True):
    """`spec` of a NetworkPolicy; without `policy_types` it restricts ingress."""

    pod_selector: LabelSelector = LabelSelector()
    policy_types: list[str] | None = None
    ingress: list[IngressRule] | None = None


class NetworkPolicy(Struct, frozen=True):
    """One NetworkPolicy of networking.k8s.io/v1."""

    metadata: Meta = Meta()
    spec: PolicySpec = PolicySpec()


class _PodList(Struct, frozen=True):
    items: list[Pod] | None = None


class _PolicyList(Struct, frozen=True):
    items: list[NetworkPolicy] | None = None


class _Named(Struct, frozen=True):
    metadata: Meta = Meta()


class _NamedList(Struct, frozen=True):
    items: list[_Named] | None = None


_NAMESPACE = msgspec.json.Decoder(Namespace, strict=False)
_PODS = msgspec.json.Decoder(_PodList, strict=False)
_POLICIES = msgspec.json.Decoder(_PolicyList)
_NAMED = msgspec.json.Decoder(_NamedList, strict=False)


def decode_namespace(body: bytes) -> Namespace:
    """Decode one Namespace; Failed (`unreadable-answer`) when the bytes are none."""
    return decode(_NAMESPACE.decode, body, "Namespace")


def decode_pods(body: bytes) -> list[Pod]:
    """Decode a list of Pods; Failed (`unreadable-answer`) when the bytes are none."""
    return decode(_PODS.decode, body, "list of Pods").items or []


def decode_policies(body: bytes) -> list[NetworkPolicy]:
    """Decode a list of NetworkPolicies; Failed (`unreadable-answer`) when the bytes are none."""
    return decode(_POLICIES.decode, body, "list of NetworkPolicies").items or []


def decode_names(body: bytes) -> list[Meta]:
    """Decode a list of any kind, its metadata alone; Failed (`unreadable-answer`) when the bytes are none."""
    return [item.metadata for item in decode(_NAMED.decode, body, "list").items or ()]
