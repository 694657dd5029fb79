"""What scheduler, multus, kubelet and virt-handler do next about an instance (played by hand in the captures)."""

from __future__ import annotations

import json

from broker.lab.machines.launcher import LAUNCHER_IMAGE, pod_interface, secondary_networks
from broker.lab.machines.run_strategy import FINAL, phase_of
from broker.lab.machines.view import (
    GATE_MESSAGE,
    PAUSE_GATE,
    PODS,
    VMIS,
    Delete,
    Effect,
    GuestOrder,
    Json,
    Put,
    Step,
    View,
    condition,
    is_marked,
    with_condition,
    without_condition,
)
from broker.lab.machines.vmi_status import NETWORK_STATUS, with_phase, with_source

__all__ = ["handler_step", "kubelet_step", "scheduler_step"]

_SHUTDOWN_S = 0.5


def scheduler_step(view: View) -> Step | None:
    """A place for a pod that has none, or the word that no node fits."""
    pod = view.pod
    if pod is None or view.vmi is None or is_marked(pod) or (pod.get("spec") or {}).get("nodeName"):
        return None
    if (pod.get("status") or {}).get("phase") != "Pending" or condition(pod, PAUSE_GATE) is None or view.domain is None:
        return None
    known = condition(pod, "PodScheduled")
    if view.has_pending_claim:
        return Step(name="claim pending", effects=(), after_s=1.0, is_scaled=False)
    if not view.domain.node:
        if known is not None:
            return None
        message = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
        no_place = _pod_condition("PodScheduled", "False", view.now, "Unschedulable", message)
        return Step(name="no node", effects=(Put(resource=PODS, obj=with_condition(pod, no_place)),), after_s=0.3)
    placed = {**pod, "spec": {**pod["spec"], "nodeName": view.domain.node}}
    placed = with_condition(placed, _pod_condition("PodScheduled", "True", view.now))
    return Step(name="pod placed", effects=(Put(resource=PODS, obj=placed),), after_s=0.3)


def kubelet_step(view: View) -> Step | None:
    """The pod's life on its node: containers, readiness, the end."""
    pod = view.pod
    if pod is None:
        return None
    phase = (pod.get("status") or {}).get("phase")
    domain_is_over = view.vmi is None or phase_of(view.vmi) in FINAL
    if phase == "Running" and domain_is_over:
        final = "Failed" if phase_of(view.vmi) == "Failed" else "Succeeded"
        return Step(name="pod ends", effects=(Put(resource=PODS, obj=_ended(pod, final, view.now)),), after_s=0.3)
    if is_marked(pod):
        is_quick = phase in FINAL or phase == "Pending" or phase_of(view.vmi) != "Running"
        if is_quick:
            return Step(name="pod gone", effects=(Delete(resource=PODS, name=pod["metadata"]["name"]),), after_s=0.2)
        return None
    if phase == "Pending" and (pod.get("spec") or {}).get("nodeName") and not is_marked(view.vmi):
        if NETWORK_STATUS not in (pod["metadata"].get("annotations") or {}) and view.vmi is not None:
            return Step(name="multus", effects=(Put(resource=PODS, obj=_attached(view, pod)),), after_s=0.3)
        return Step(name="pod runs", effects=(Put(resource=PODS, obj=_running(view, pod)),), after_s=0.3)
    return _readiness(view, pod) if phase == "Running" else None


def handler_step(view: View) -> Step | None:
    """virt-handler's next report: the guest runs, pauses, resumes, reboots, or has ended."""
    vmi, domain = view.vmi, view.domain
    if vmi is None or domain is None:
        return None
    phase = phase_of(vmi)
    if phase == "Scheduled" and not is_marked(vmi) and view.pod is not None and not is_marked(view.pod):
        started, orders = _started(view, vmi), [GuestOrder(order="start")]
        if domain.is_pause_wanted:
            started = with_condition(started, _paused(view.now))
            orders.append(GuestOrder(order="pause"))
        effects: tuple[Effect, ...] = (Put(resource=VMIS, obj=started), *orders)
        return Step(name="guest runs", effects=effects, after_s=0.9)
    if phase != "Running":
        return None
    if domain.ended or is_marked(vmi) or is_marked(view.pod):
        ended = with_phase(vmi, domain.ended or "Succeeded", view.now)
        is_forced = vmi["spec"].get("terminationGracePeriodSeconds") in (0, 1)
        after_s = 0.05 if is_forced or domain.ended else _SHUTDOWN_S
        return Step(name="guest ends", effects=(GuestOrder(order="stop"), Put(resource=VMIS, obj=ended)), after_s=after_s)
    is_paused = condition(vmi, "Paused") is not None
    if domain.is_pause_wanted and not is_paused:
        paused = with_condition(vmi, _paused(view.now))
        return Step(name="guest pauses", effects=(GuestOrder(order="pause"), Put(resource=VMIS, obj=paused)), after_s=0.05)
    if is_paused and not domain.is_pause_wanted:
        resumed = without_condition(vmi, "Paused")
        return Step(name="guest resumes", effects=(GuestOrder(order="resume"), Put(resource=VMIS, obj=resumed)), after_s=0.05)
    if domain.is_reboot_wanted:
        rebooted = without_condition(vmi, "AgentConnected")
        effects = (GuestOrder(order="reboot"), Put(resource=VMIS, obj=rebooted))
        return Step(name="guest reboots", effects=effects, after_s=0.3)
    return None


def _paused(now: str) -> Json:
    found: Json = {"lastProbeTime": None, "lastTransitionTime": now, "message": "VMI was paused by user"}
    return {**found, "reason": "PausedByUser", "status": "True", "type": "Paused"}


def domain_interfaces(view: View, *, has_agent: bool) -> list[Json]:
    """Return status.interfaces as virt-handler knows it: of the domain alone, or with what the guest agent tells."""
    assert view.domain is not None and view.vmi is not None
    told = {one.get("name"): one for one in (view.vmi.get("status") or {}).get("interfaces") or ()}
    found: list[Json] = []
    for one in view.domain.interfaces:
        name = one.get("name")
        if name:
            one = _attached_as(one, told.get(name) or {})
        elif not has_agent:
            continue
        found.append(dict(one) if has_agent else _without_agent(one, view.domain.addresses))
    return found


def _attached_as(interface: Json, told: Json) -> Json:
    """The interface with what virt-controller told of its end in the pod: its name, and whether multus speaks of it."""
    bare = {key: value for key, value in interface.items() if key != "podInterfaceName"}
    if told.get("podInterfaceName"):
        bare["podInterfaceName"] = told["podInterfaceName"]
    return with_source(bare, "multus-status", "multus-status" in str(told.get("infoSource") or ""))


def _without_agent(interface: Json, addresses: tuple[str, ...]) -> Json:
    bare = {key: value for key, value in interface.items() if key != "interfaceName"}
    bare = with_source({**bare, "infoSource": bare.get("infoSource") or "domain"}, "guest-agent", False)
    if interface.get("ipAddress") not in addresses:
        bare.pop("ipAddress", None)
        bare.pop("ipAddresses", None)
    return {**bare, "infoSource": bare["infoSource"] or "domain", "linkState": "up"}


def _started(view: View, vmi: Json) -> Json:
    running = with_phase(vmi, "Running", view.now)
    for kind in ("LiveMigratable", "StorageLiveMigratable"):
        found = {"lastProbeTime": None, "lastTransitionTime": view.now, "status": "True", "type": kind}
        running = with_condition(running, found)
    told = {"interfaces": domain_interfaces(view, has_agent=False), "migrationMethod": "BlockMigration"}
    return {**running, "status": {**running["status"], **told}}


def _attached(view: View, pod: Json) -> Json:
    assert view.vmi is not None
    addresses = list(view.domain.addresses) if view.domain is not None else []
    told: list[Json] = [{"name": "ovn-kubernetes", "interface": "eth0", "ips": addresses, "default": True, "dns": {}}]
    told += [{"name": nad, "interface": pod_interface(network), "dns": {}} for network, nad in secondary_networks(view.vmi)]
    annotations = {**(pod["metadata"].get("annotations") or {}), NETWORK_STATUS: json.dumps(told)}
    return {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}


def _running(view: View, pod: Json) -> Json:
    addresses = view.domain.addresses if view.domain is not None else ()
    running = pod
    for kind in ("Initialized", "ContainersReady", "PodReadyToStartContainers"):
        running = with_condition(running, _pod_condition(kind, "True", view.now))
    running = with_condition(running, _pod_condition("Ready", "False", view.now, "ReadinessGatesNotReady"))
    started = {"running": {"startedAt": view.now}}
    status = {**running["status"], "phase": "Running", "startTime": view.now, "containerStatuses": [_container(started, True)]}
    if addresses:
        status |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    return {**running, "status": status}


def _readiness(view: View, pod: Json) -> Step | None:
    gate, ready = condition(pod, PAUSE_GATE), condition(pod, "Ready")
    if gate is None:
        return None
    is_open = gate.get("status") == "True"
    if ready is not None and (ready.get("status") == "True") == is_open and (is_open or ready.get("message")):
        return None
    found = _pod_condition("Ready", "True", view.now)
    if not is_open:
        found = _pod_condition("Ready", "False", view.now, "ReadinessGatesNotReady", GATE_MESSAGE)
    return Step(name="pod ready", effects=(Put(resource=PODS, obj=with_condition(pod, found)),), after_s=0.3)


def _ended(pod: Json, phase: str, now: str) -> Json:
    ended = with_condition(pod, _pod_condition("Ready", "False", now, "PodCompleted"))
    ended = with_condition(ended, _pod_condition("ContainersReady", "False", now, "PodCompleted"))
    code = 0 if phase == "Succeeded" else 1
    state = {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "finishedAt": now}}
    status = {**ended["status"], "phase": phase, "containerStatuses": [_container(state, False)]}
    return {**ended, "status": status}


def _container(state: Json, is_ready: bool) -> Json:
    found: Json = {"name": "compute", "state": state, "lastState": {}, "ready": is_ready, "restartCount": 0}
    return {**found, "image": LAUNCHER_IMAGE, "imageID": "", "started": is_ready}


def _pod_condition(kind: str, status: str, now: str, reason: str = "", message: str = "") -> Json:
    found: Json = {"status": status, "lastProbeTime": None, "lastTransitionTime": now, "type": kind}
    return {**found, **({"reason": reason} if reason else {}), **({"message": message} if message else {})}
