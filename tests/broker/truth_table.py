"""Each situation of kubevirt.md A3 and E6 once: the objects, what virt-api answers, what else is known, and the truth.

A row is made for any name and namespace, so that tests can give it names that look like server texts.
"""

# ruff: noqa: E501  (one row in one or two lines)

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from broker.errors import BrokerError, Unreachable
from broker.kube.answer import call_of
from broker.kube.guest_answers import unanswered
from broker.kube.status import VIRT_API_NEXT, error_from_response
from broker.model.pages import decode_vm, decode_vmi
from broker.model.surroundings import Pod, decode_pods, decode_policies
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.paths.diagnosis import DialFacts, diagnose
from broker.paths.preflight import preflight

Json = dict[str, Any]
ADDRESS = "10.128.0.5"
REFUSED, NO_ROUTE, TIMED_OUT = "connection refused", "no route to host", "connection timed out"
SILENCE = "(no answer)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a row plays: the names that may be anything a cluster allows."""

    name: str = "qzname"
    namespace: str = "qzspace"
    node: str = "qznode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One situation with its names filled in: the objects before the dial, after it, and what virt-api says.

    `vm_json` and `vmi_json` are the objects as the API gives them, `facts` what `DialFacts` holds besides.
    """

    vm_json: Json | None
    vmi_json: Json | None
    dial: str | None = None
    status: int = 500
    body: bytes = b""
    later_json: Json | None = None
    facts: Json | None = None
    place: Place = Place()
    port: int = 22

    @property
    def vm(self) -> VirtualMachine | None:
        """The VM before the dial."""
        return decode_vm(json.dumps(self.vm_json).encode()) if self.vm_json is not None else None

    @property
    def vmi(self) -> VirtualMachineInstance | None:
        """The instance before the dial."""
        return decode_vmi(json.dumps(self.vmi_json).encode()) if self.vmi_json is not None else None

    @property
    def later_vmi(self) -> VirtualMachineInstance | None:
        """The instance after the dial."""
        return decode_vmi(json.dumps(self.later_json).encode()) if self.later_json is not None else self.vmi

    def verdict(self) -> BrokerError:
        """What a person is told: by preflight, else by the answer and the facts."""
        known = preflight(self.vm, self.vmi, self.port)
        if known is not None:
            return known
        return diagnose(self.dial_facts(), self.raw())

    def raw(self) -> BrokerError:
        """The server's answer alone."""
        place = self.place
        path = f"/apis/subresources.kubevirt.io/v1/namespaces/{place.namespace}/virtualmachines/{place.name}/portforward/{self.port}/tcp"
        call = call_of(path)
        if self.dial == SILENCE:
            return unanswered(call, 15.0)
        if self.dial is not None:
            vmi = self.vmi
            first = vmi.interfaces[0].ip_address if vmi is not None and vmi.interfaces else ADDRESS
            text = f"Internal error occurred: dialing VM: dial tcp {first or ''}:{self.port}: connect: {self.dial}"
            return error_from_response(500, "application/json", status(500, "InternalError", text), call)
        return error_from_response(self.status, "application/json", self.body, call)

    def dial_facts(self) -> DialFacts:
        """What is known after the dial."""
        return DialFacts(
            kind="vm",
            name=self.place.name,
            namespace=self.place.namespace,
            port=self.port,
            vm=self.vm,
            vmi=self.later_vmi,
            **(self.facts or {}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A situation, the code it must get, words its text must have; `same_text` groups rows with one server text.

    `same_as` names the row that is the same situation, come to light in another way.
    """

    name: str
    make: Callable[[Place], Scene]
    code: str
    words: tuple[str, ...]
    same_text: str = ""
    same_as: str = ""
    exit_status: int = 5


def status(code: int, reason: str, message: str) -> bytes:
    """A metav1.Status."""
    return json.dumps({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}).encode()


def machine(place: Place, **more: Any) -> VirtualMachine:
    """A VM as a struct, see `machine_json`."""
    return decode_vm(json.dumps(machine_json(place, **more)).encode())


def machine_json(place: Place, *, printable: str = "Running", created: bool = True, **more: Any) -> Json:
    """A VM; `more` is run_strategy, conditions, failures, deleted."""
    found: Json = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": place.name, "namespace": place.namespace, "uid": "vm-1"},
        "spec": {"runStrategy": more.get("run_strategy", "Always")},
        "status": {"printableStatus": printable, "conditions": more.get("conditions", [])},
    }
    if created:
        found["status"]["created"] = True
    if "failures" in more:
        found["status"]["startFailure"] = {"consecutiveFailCount": more["failures"]}
    if more.get("deleted"):
        found["metadata"]["deletionTimestamp"] = "2026-11-25T08:00:00Z"
    return found


def instance(place: Place, **more: Any) -> VirtualMachineInstance:
    """A VMI as a struct, see `instance_json`."""
    return decode_vmi(json.dumps(instance_json(place, **more)).encode())


def instance_json(place: Place, **more: Any) -> Json:
    """A running VMI on the pod network; `more` is phase, interfaces, nics, networks, conditions, agent, owner, migration, deleted."""
    interfaces = more.get("interfaces", [{"name": "default", "ipAddress": ADDRESS, "podInterfaceName": "eth0"}])
    conditions = [
        *more.get("conditions", []),
        *([{"type": "AgentConnected", "status": "True"}] if more.get("agent", True) else []),
    ]
    found: Json = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": place.name,
            "namespace": place.namespace,
            "uid": f"vmi-{place.name}",
            "ownerReferences": [{"kind": "VirtualMachine", "name": place.name, "uid": more.get("owner", "vm-1")}],
        },
        "spec": {
            "domain": {"devices": {"interfaces": more.get("nics", [{"name": "default", "masquerade": {}}])}},
            "networks": more.get("networks", [{"name": "default", "pod": {}}]),
        },
        "status": {
            "phase": more.get("phase", "Running"),
            "nodeName": place.node,
            "interfaces": interfaces,
            "conditions": conditions,
        },
    }
    if "migration" in more:
        found["status"]["migrationState"] = more["migration"]
    if more.get("deleted"):
        found["metadata"]["deletionTimestamp"] = "2026-11-25T08:00:00Z"
    return found


def pod(*addresses: str, **labels: str) -> Pod:
    """A launcher pod."""
    found = {
        "metadata": {"name": "p", "labels": labels},
        "status": {"phase": "Running", "podIPs": [{"ip": a} for a in addresses]},
    }
    return decode_pods(json.dumps({"items": [found]}).encode())[0]


def policy(name: str, **spec: Any) -> Json:
    """One NetworkPolicy as JSON."""
    return {"metadata": {"name": name}, "spec": {"podSelector": {}, **spec}}


def known(*policies: Json, **more: Any) -> Json:
    """Everything that can be read was read: no user-defined network, a pod with the VM's address, these policies."""
    listed = tuple(decode_policies(json.dumps({"items": policies}).encode()))
    return {"has_primary_udn": False, "pod": pod(ADDRESS), "policies": listed, **more}


def dark(*lacks: str) -> Json:
    """Nothing but VM and VMI could be read."""
    return {"lacks": lacks or ("the launcher pod", "the namespace", "NetworkPolicies")}


LAN = [{"name": "lan", "ipAddress": "192.168.50.31", "podInterfaceName": "pod37a8eec1ce1"}]
LAN_NIC, LAN_NET = [{"name": "lan", "bridge": {}}], [{"name": "lan", "multus": {"networkName": "vlan50"}}]
POD_NIC, POD_NET = [{"name": "default", "masquerade": {}}], [{"name": "default", "pod": {}}]
UDN = [{"name": "default", "ipAddress": "10.200.0.7", "podInterfaceName": "ovn-udn1"}]
BRIDGED = [{"name": "default", "binding": {"name": "l2bridge"}}]
INNER = [{"name": "default", "ipAddress": "10.0.2.2", "podInterfaceName": "eth0"}]
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
NO_IMAGE = {"type": "Synchronized", "status": "False", "reason": "ImagePullBackOff", "message": "Back-off pulling image"}
QUOTA = {"type": "Synchronized", "status": "False", "reason": "FailedCreate", "message": "exceeded quota: small"}
PAUSED = {"type": "Paused", "status": "True", "reason": "PausedByUser", "message": "VMI was paused by user"}
BOOTING = {"type": "Ready", "status": "False", "reason": "GuestNotRunning", "message": "Guest VM is not reported as running"}
DYING = {"type": "Ready", "status": "False", "reason": "PodTerminating", "message": "virt-launcher pod is terminating"}
MOVING = {"startTimestamp": "2026-11-25T08:00:00Z", "sourceNode": "node-1", "targetNode": "node-2"}
AWAY = Unreachable(
    "the API server cannot reach KubeVirt's virt-api",
    code="virt-api-unreachable",
    cause="the API server says: service unavailable",
    next_step=VIRT_API_NEXT,
)


def before(vm: Json | None, vmi: Json | None) -> Callable[[Place], Scene]:
    """A situation that the objects tell; None for an object that is not there."""
    return lambda place: Scene(
        vm_json=None if vm is None else machine_json(place, **vm),
        vmi_json=None if vmi is None else instance_json(place, **vmi),
        place=place,
    )


def dialled(
    text: str, facts: Json | None, vmi: Json | None = None, later: Json | None = None, port: int = 22
) -> Callable[[Place], Scene]:
    """A situation that shows once the port was dialled; `later` is what the VMI became meanwhile."""

    def make(place: Place) -> Scene:
        after = instance_json(place, **later) if later is not None else None
        first = instance_json(place, **(vmi or {}))
        return Scene(
            vm_json=machine_json(place), vmi_json=first, later_json=after, dial=text, facts=facts, place=place, port=port
        )

    return make


def blind(make: Callable[[Place], Scene]) -> Callable[[Place], Scene]:
    """The same for a caller who may read neither VM nor VMI."""
    return lambda place: replace(make(place), vm_json=None, vmi_json=None, later_json=None)


def answered(code: int, reason: str, text: str) -> Callable[[Place], Scene]:
    """What virt-api says itself, to a caller who may read nothing; {0} is the name in `text`."""
    return lambda place: Scene(
        vm_json=None,
        vmi_json=None,
        status=code,
        body=status(code, reason, text.format(place.name)),
        place=place,
        facts=dark("the VMI"),
    )


CLOSED_BY = policy("deny-all", policyTypes=["Ingress"])
SOME_PEERS = policy("only-front", ingress=[{"from": [{"podSelector": {}}], "ports": [{"port": 22}]}])

ROWS: tuple[Row, ...] = (
    Row(name="stopped", make=before({"printable": "Stopped", "created": False, "run_strategy": "Halted"}, None),
        code="vm-stopped", words=("is stopped", "virtctl start qzname -n qzspace")),
    Row(name="ended", make=before({"printable": "Stopped", "run_strategy": "Halted"}, {"phase": "Succeeded"}),
        code="vm-stopped", words=("is stopped", "Succeeded")),
    Row(name="stopping", make=before({"printable": "Stopping", "run_strategy": "Halted"}, {"phase": "Scheduled", "deleted": True}),
        code="vm-stopping", words=("is being shut down",)),
    Row(name="paused", make=before({"printable": "Paused"}, {"conditions": [PAUSED]}),
        code="vm-paused", words=("is paused", "virtctl unpause vm qzname -n qzspace")),
    Row(name="starting", make=before({"printable": "Starting"}, {"phase": "Scheduling", "interfaces": [], "conditions": [BOOTING]}),
        code="vm-starting", words=("is still starting", "vmbroker wait vm/qzname/qzspace")),
    Row(name="restarting", make=before({"printable": "Stopped"}, {"phase": "Failed"}),
        code="vm-starting", words=("is being restarted", "Always")),
    Row(name="crash loop", make=before({"printable": "CrashLoopBackOff", "created": False, "failures": 3}, None),
        code="vm-crash-loop", words=("fails each time", "3 times", "kubectl events")),
    Row(name="unschedulable", make=before({"printable": "ErrorUnschedulable"}, {"phase": "Scheduling", "conditions": [UNSCHEDULABLE]}),
        code="vm-unschedulable", words=("no node", "0/3 nodes are available")),
    Row(name="image", make=before({"printable": "ImagePullBackOff"}, {"phase": "Scheduling", "conditions": [NO_IMAGE]}),
        code="vm-image-unavailable", words=("image", "Back-off pulling image")),
    Row(name="claim", make=before({"printable": "ErrorPvcNotFound"}, {"phase": "Pending"}),
        code="vm-pvc-missing", words=("PersistentVolumeClaim", "kubectl get pvc -n qzspace")),
    Row(name="volume", make=before({"printable": "WaitingForVolumeBinding"}, {"phase": "Pending"}),
        code="vm-waiting-for-volume", words=("volume to be bound",)),
    Row(name="quota", make=before({"printable": "Starting"}, {"phase": "Pending", "conditions": [QUOTA]}),
        code="vm-start-refused", words=("cannot be started", "exceeded quota")),
    Row(name="deleting", make=before({"printable": "Terminating", "deleted": True}, {"phase": "Succeeded", "deleted": True}),
        code="vm-deleting", words=("is being deleted",)),
    Row(name="foreign", make=before({}, {"owner": "another"}), code="vmi-foreign", words=("does not own", "vmi/qzname/qzspace")),
    Row(name="no interface", make=before({}, {"interfaces": [], "nics": [], "networks": []}),
        code="no-interface", words=("has no network interface",)),
    Row(name="no interface yet", make=before({}, {"interfaces": []}), code="no-interface", words=("shows no network interface",)),
    Row(name="no address yet", make=before({}, {"interfaces": [{"name": "default", "podInterfaceName": "eth0"}]}),
        code="no-address", words=("has no address yet", "--for address")),
    Row(name="no address without agent",
        make=before({}, {"interfaces": [{"name": "lan"}], "nics": LAN_NIC, "networks": LAN_NET, "agent": False}),
        code="no-address", words=("has no address yet", "qemu-guest-agent")),
    Row(name="port not listed", make=before({}, {"nics": [{"name": "default", "masquerade": {}, "ports": [{"port": 80}]}]}),
        code="port-not-listed", words=("port 22", "80/TCP")),
    Row(name="primary network", make=before({}, {"interfaces": UDN, "nics": BRIDGED}),
        code="primary-udn", words=("primary user-defined network", "ovn-udn1", "virtctl expose vm qzname -n qzspace")),
    Row(name="primary network by binding", make=before({}, {"interfaces": [{**UDN[0], "podInterfaceName": ""}], "nics": BRIDGED}),
        code="primary-udn", words=("primary user-defined network", "l2bridge")),
    Row(name="port closed", make=dialled(REFUSED, known()), same_text="refused", code="port-closed",
        words=("is closed", "agent answers", "start sshd")),
    Row(name="nothing listens", make=dialled(REFUSED, known(), {"agent": False}), same_text="refused", code="nothing-listens",
        words=("nothing listens on port 22", "unknown")),
    Row(name="refused, VMI unread", make=blind(dialled(REFUSED, dark("the VMI"))), same_text="refused", code="port-refused",
        words=("refuses connections", "unknown which", "the VMI")),
    Row(name="stopped meanwhile", make=dialled(REFUSED, known(), later={"phase": "Succeeded"}), same_text="refused",
        code="vm-starting", words=("is being restarted",)),
    Row(name="dying", make=dialled(REFUSED, known(), {"conditions": [DYING]}), same_text="refused", code="vm-stopping",
        words=("is being shut down", "deleted")),
    Row(name="inner address refused", make=dialled(REFUSED, known(), {"interfaces": INNER}), same_text="refused", same_as="inner address",
        code="inner-address", words=("10.0.2.2", ADDRESS)),
    Row(name="filtered by the guest", make=dialled(SILENCE, known()), same_text="silence", code="port-filtered",
        words=("gave no answer within 15 s", "most likely the guest's own firewall", "AdminNetworkPolicies were not looked at")),
    Row(name="filtered, no agent", make=dialled(SILENCE, known(), {"agent": False}), same_text="silence", code="port-filtered",
        words=("gave no answer within 15 s", "unknown which without a guest agent", "AdminNetworkPolicies")),
    Row(name="filtered, nothing known", make=dialled(SILENCE, dark()), same_text="silence", code="port-filtered",
        words=("unknown which", "NetworkPolicies", "the namespace")),
    Row(name="policy closed", make=dialled(SILENCE, known(CLOSED_BY)), same_text="silence", code="policy-closed",
        words=("closed by NetworkPolicy deny-all",)),
    Row(name="policy for some", make=dialled(SILENCE, known(SOME_PEERS)), same_text="silence", code="port-filtered",
        words=("only-front", "unknown")),
    Row(name="primary network by label", make=dialled(SILENCE, known(has_primary_udn=True)), same_text="silence", code="primary-udn",
        words=("primary user-defined network", "label")),
    Row(name="only secondary", make=dialled(SILENCE, known(), {"interfaces": LAN, "nics": LAN_NIC, "networks": LAN_NET}),
        same_text="silence", code="secondary-only", words=("only secondary networks", "192.168.50.31 from a machine on that network")),
    Row(name="secondary first",
        make=dialled(SILENCE, known(), {"interfaces": LAN, "nics": LAN_NIC + POD_NIC, "networks": LAN_NET + POD_NET}),
        same_text="silence", code="secondary-first", words=("secondary network first", "pod network")),
    Row(name="inner address", make=dialled(SILENCE, known(), {"interfaces": INNER}), same_text="silence", code="inner-address",
        words=("10.0.2.2", "kubevirt#18760")),
    Row(name="inner address, pod unread", make=dialled(SILENCE, dark(), {"interfaces": INNER}), same_text="silence",
        code="inner-address", words=("which one the pod has is unknown",)),
    Row(name="migrating", make=dialled(SILENCE, known(), {"migration": MOVING}), same_text="silence", code="vm-migrating",
        words=("is being migrated", "node-2")),
    Row(name="paused meanwhile", make=dialled(SILENCE, known(), later={"conditions": [PAUSED]}), same_text="silence", same_as="paused",
        code="vm-paused", words=("is paused",)),
    Row(name="virt-api away", make=dialled(SILENCE, known(virt_api=AWAY)), same_text="silence", code="virt-api-unreachable",
        words=("cannot reach KubeVirt's virt-api",)),
    Row(name="rejected by the guest", make=dialled(NO_ROUTE, known()), same_text="no route", code="no-route",
        words=("rejects connections", "most likely the guest's own firewall", "AdminNetworkPolicies were not looked at")),
    Row(name="no route, nothing known", make=dialled(NO_ROUTE, dark()), same_text="no route", code="no-route",
        words=("unknown which",)),
    Row(name="timed out in virt-api", make=dialled(TIMED_OUT, known()), same_text="timed out", code="port-filtered",
        words=("gives no answer",)),
    Row(name="timed out, only secondary", make=dialled(TIMED_OUT, dark(), {"interfaces": LAN, "nics": LAN_NIC, "networks": LAN_NET}),
        same_text="timed out", same_as="only secondary", code="secondary-only", words=("only secondary networks",)),
    Row(name="says: not started", same_text="409", code="vm-stopped", words=("is not started", "virtctl start qzname"),
        make=answered(409, "Conflict", 'Operation cannot be fulfilled on virtualmachine.kubevirt.io "{0}": VMI is not started')),
    Row(name="says: paused", same_text="409", code="vm-paused", words=("is paused", "virtctl unpause vm qzname"),
        make=answered(409, "Conflict", 'Operation cannot be fulfilled on virtualmachineinstance.kubevirt.io "{0}": VMI is paused')),
    Row(name="says: foreign", code="vmi-foreign", words=("does not own",),
        make=answered(500, "InternalError", "Internal error occurred: unable to retrieve vmi [{0}] for vm: <nil>")),
    Row(name="says: no interface", code="no-interface", words=("shows no network interface",),
        make=answered(400, "BadRequest", "no network interfaces are present")),
    Row(name="says: own pod", code="no-address", words=("has no address yet", "own pod"),
        make=answered(500, "InternalError", "Internal error occurred: dialing VM: dial tcp :22: connect: connection refused")),
    Row(name="says: no VM", exit_status=3, code="vm-not-found", words=("is not there",),
        make=answered(404, "NotFound", 'virtualmachine.kubevirt.io "{0}" not found')),
)  # fmt: skip
