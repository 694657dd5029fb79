"""Which of the causes that a server text allows is the true one, decided from what else the cluster tells. **Pure.**

A refused, rejected or unanswered dial says nothing of why (kubevirt.md A3, E6; okd-networking.md 15.5, 17). Where a fact that
would decide could not be read, the message says that it is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.clean import Clean, clean
from broker.errors import BrokerError, GuestUnready
from broker.facts import commands
from broker.facts.policies import Admission, admission
from broker.facts.primary_network import PRIMARY_UDN_LABEL, Dialled, dialled
from broker.facts.run_state import being_stopped
from broker.model.meta import holds
from broker.model.surroundings import NetworkPolicy, Pod
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.paths.obstacle import label, obstacle, primary_udn, unready
from broker.refs import Kind

UNANSWERED: Final = frozenset({"port-filtered", "no-route"})
"""Codes of a dial that nobody at the guest's port answered."""
_UNSEEN: Final = "AdminNetworkPolicies were not looked at"
"""What may stand before a pod besides the NetworkPolicies of its namespace, and few may read."""
DIAL_CODES: Final = UNANSWERED | {"port-refused", "port-reset", "no-address", "dial-failed"}
"""Codes that `diagnose` may have more to say about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialFacts:
    """What is known of a guest after its port was dialled in vain; None means not known.

    `has_primary_udn` is what the namespace's label says, `pod` the launcher pod, `policies` the namespace's NetworkPolicies,
    `virt_api` the error of asking virt-api its version; `lacks` names in words what could not be read ("NetworkPolicies", "the
    launcher pod", "the namespace", "the VMI").
    """

    kind: Kind
    name: str
    namespace: str
    port: int
    vm: VirtualMachine | None
    vmi: VirtualMachineInstance | None
    has_primary_udn: bool | None = None
    pod: Pod | None = None
    policies: tuple[NetworkPolicy, ...] | None = None
    virt_api: BrokerError | None = None
    lacks: tuple[str, ...] = ()

    @property
    def what(self) -> Clean:
        """The machine in words."""
        return commands.called(self.kind, self.name, self.namespace)

    @property
    def where(self) -> str:
        """The port in words."""
        return f"port {self.port} of {self.what}"

    @property
    def first(self) -> Dialled | None:
        """The interface that was dialled, None where the VMI is not known."""
        return dialled(self.vmi) if self.vmi is not None else None

    @property
    def is_agent_connected(self) -> bool | None:
        """Say whether the guest agent answers, so that the guest's system is up; None where the VMI is not known."""
        return holds(self.vmi.conditions, "AgentConnected") if self.vmi is not None else None

    @property
    def admission(self) -> Admission | None:
        """What the NetworkPolicies admit; None where they or the pod's labels are not known."""
        if self.policies is None:
            return None
        if not self.policies:
            return Admission(state="open")
        return admission(self.policies, self.pod.metadata.labels or {}, self.port) if self.pod is not None else None

    def unknown(self, *words: str) -> str:
        """Say in brackets which of these facts could not be read, as the end of a cause; "" where all were."""
        missing = [word for word in words if word in self.lacks]
        return f" (could not be read: {', '.join(missing)})" if missing else ""


def diagnose(facts: DialFacts, error: BrokerError) -> BrokerError:
    """Return the error with the true cause of a dial that failed with `error`; `error` itself where the facts add nothing."""
    if error.code not in DIAL_CODES:
        return error
    if facts.virt_api is not None and facts.virt_api.code == "virt-api-unreachable" and error.code == "port-filtered":
        return facts.virt_api
    found = _changed(facts)
    if found is None and error.code == "port-refused":
        found = _refused(facts)
    elif found is None and error.code in UNANSWERED:
        found = _unanswered(facts, error)
    return found or error


def _changed(facts: DialFacts) -> BrokerError | None:
    """Name what the objects say now: the machine may have stopped, paused or moved while it was dialled."""
    known = obstacle(facts.vm, facts.vmi, facts.port)
    if known is not None:
        return known
    if facts.vmi is None:
        return None
    ending = being_stopped(facts.vm, facts.vmi)
    if ending is not None:
        return unready(facts.what, ending)
    moving = facts.vmi.migration
    if moving is not None:
        return GuestUnready(
            f"{facts.what} is being migrated",
            code="vm-migrating",
            cause=f"from {clean(moving.source_node or 'its node', 63)} to {clean(moving.target_node or 'another', 63)}:"
            " its pod address changes, and it could not be reached meanwhile",
            next_step="wait until it has moved: " + commands.wait(facts.kind, facts.name, facts.namespace, "ssh"),
        )
    return None


def _refused(facts: DialFacts) -> BrokerError | None:
    first = facts.first
    if first is None:
        cause = (
            f"nothing listens there, or its interface's list of ports leaves it out: unknown which{facts.unknown('the VMI')}"
        )
        doctor = f"see every check: vmbroker doctor {commands.target_word(facts.kind, facts.name, facts.namespace)}"
        return GuestUnready(f"{facts.where} refuses connections", code="port-refused", cause=cause, next_step=doctor)
    if first.kind == "inner-address" and not _is_pods_own(facts, first):
        return _inner_address(facts, first)
    address = clean(first.address, 64)
    if facts.is_agent_connected:
        return GuestUnready(
            f"{facts.where} is closed",
            code="port-closed",
            cause=f"the guest is up (its agent answers), and at {address} nothing listens on this port",
            next_step=_start_service(facts),
        )
    wait = commands.wait(facts.kind, facts.name, facts.namespace, "ssh")
    return GuestUnready(
        f"nothing listens on port {facts.port} of {facts.what}",
        code="nothing-listens",
        cause=f"{address} refuses the connection; whether the guest has booted yet is unknown: no guest agent is connected",
        next_step=f"wait for it: {wait}; or look at its console: {_console(facts)}",
    )


def _start_service(facts: DialFacts) -> str:
    if facts.port == 22:
        return f"start sshd in the guest, or name the port it listens on; its console: {_console(facts)}"
    return f"start the service in the guest, or name the right port; its console: {_console(facts)}"


def _console(facts: DialFacts) -> str:
    return commands.virtctl("console", facts.name, facts.namespace)


def _unanswered(facts: DialFacts, error: BrokerError) -> BrokerError | None:
    first = facts.first
    if first is not None and first.kind in ("secondary-only", "secondary-first"):
        return _secondary(facts, first)
    if facts.has_primary_udn and (first is None or not _is_passt(first)):
        cause = f"its namespace has the label {PRIMARY_UDN_LABEL}; virt-api has no way into such a network"
        return primary_udn(str(facts.what), facts.name, facts.namespace, facts.port, cause)
    if first is not None and first.kind == "inner-address" and not _is_pods_own(facts, first):
        return _inner_address(facts, first)
    admitted = facts.admission
    if admitted is not None and admitted.state == "closed":
        return _closed_by_policy(facts, admitted)
    return _dropped(facts, error, admitted)


def _secondary(facts: DialFacts, first: Dialled) -> GuestUnready:
    has_pod_network = first.kind == "secondary-first"
    network = clean(first.network or "a network that only the guest knows", 100)
    return GuestUnready(
        f"{facts.what} shows a secondary network first, and virt-api has no way to it"
        if has_pod_network
        else f"{facts.what} has only secondary networks, and virt-api has no way to them",
        code="secondary-first" if has_pod_network else "secondary-only",
        cause=f"KubeVirt dials the first interface alone: {label(first)} on {network}, address {clean(first.address, 64)}",
        next_step="list the pod network's interface first in the VM and restart it: "
        + commands.virtctl("restart", facts.name, facts.namespace)
        if has_pod_network
        # The network's type is not read: an overlay has no way in from outside.
        else f"reach {clean(first.address, 64)} from a machine on that network, by it as a jump host (ssh -J),"
        " or add the pod network to the VM",
    )


def _inner_address(facts: DialFacts, first: Dialled) -> GuestUnready:
    pods = ", ".join(clean(address, 64) for address in facts.pod.addresses[:2]) if facts.pod is not None else ""
    known = f"; its pod has {pods}" if pods else "; which one the pod has is unknown"
    return GuestUnready(
        f"{facts.what} reports an address that exists only inside it",
        code="inner-address",
        cause=f"{clean(first.address, 64)} is what a masquerade interface shows to its guest, not the pod's address{known}",
        next_step="a fault of KubeVirt 1.9 with a connected agent (kubevirt#18760): reach it by a Service: "
        + commands.expose(facts.name, facts.namespace, facts.port),
    )


def _closed_by_policy(facts: DialFacts, admitted: Admission) -> GuestUnready:
    several = len(admitted.names) > 1
    return GuestUnready(
        f"{facts.where} is closed by NetworkPolicy {_names(admitted)}",
        code="policy-closed",
        cause="they select the VM's pod and admit nobody to it"
        if several
        else "it selects the VM's pod and admits nobody to it",
        next_step=f"add an ingress rule for TCP {facts.port} from KubeVirt's namespace, there or in a policy of its own",
    )


def _dropped(facts: DialFacts, error: BrokerError, admitted: Admission | None) -> GuestUnready:
    """The guest's own side, or what could not be ruled out."""
    is_rejected = error.code == "no-route"
    target = commands.target_word(facts.kind, facts.name, facts.namespace)
    first = facts.first
    next_step = f"see every check: vmbroker doctor {target}"
    unknown = facts.unknown("the VMI", "NetworkPolicies", "the launcher pod", "the namespace", "virt-api's version")
    address = clean(first.address, 64) if first is not None and first.address else "its address"
    cause = f"filtered on the way to {address}, or not routed from virt-api: unknown which{unknown}"
    if first is not None and first.kind == "maybe-udn" and facts.has_primary_udn is None:
        cause += f"; its binding {clean(first.binding, 40)} is made for primary user-defined networks"
    elif admitted is not None and admitted.state == "some":
        cause = f"NetworkPolicy {_names(admitted)} admits only certain peers; whether virt-api is one of them is unknown"
        next_step = f"admit KubeVirt's namespace to TCP {facts.port} there; {next_step}"
    elif admitted is not None and facts.has_primary_udn is False and first is not None:
        cause = f"no NetworkPolicy stands before {address}: {_guests_own(facts, is_rejected)}; {_UNSEEN}"
        next_step = f"look at the guest by its console: {_console(facts)}"
        if facts.is_agent_connected:
            next_step = f"open TCP {facts.port} in the guest's firewall, by its console: {_console(facts)}"
    return GuestUnready(
        f"{facts.where} rejects connections" if is_rejected else error.message,
        code=error.code,
        cause=cause[:400],
        next_step=next_step,
    )


def _guests_own(facts: DialFacts, is_rejected: bool) -> str:
    if facts.is_agent_connected:
        return f"most likely the guest's own firewall {'rejects' if is_rejected else 'drops'} it (its agent answers)"
    other = "nothing has this address" if is_rejected else "its system hangs or has not booted"
    does = "rejects" if is_rejected else "drops"
    return f"most likely its own firewall {does} it, or {other}, unknown which without a guest agent"


def _names(admitted: Admission) -> str:
    more = f" and {len(admitted.names) - 4} more" if len(admitted.names) > 4 else ""
    return ", ".join(clean(name, 63) for name in admitted.names[:4]) + more


def _is_passt(first: Dialled) -> bool:
    return first.binding.lower() in ("passt", "plugin passt")


def _is_pods_own(facts: DialFacts, first: Dialled) -> bool:
    """Say whether the pod itself has that address, so that it is no inner one after all."""
    return facts.pod is not None and first.address in facts.pod.addresses
