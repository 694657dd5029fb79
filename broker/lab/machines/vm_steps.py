"""virt-controller's next change of a VirtualMachine: finalizer, revision, instance, status, and its end."""

from __future__ import annotations

from broker.lab.machines.instance import new_instance, new_revision, revision_name
from broker.lab.machines.run_strategy import Wish, retry_in_s, wish_of
from broker.lab.machines.view import (
    FOREGROUND,
    REVISIONS,
    VM_FINALIZER,
    VMIS,
    VMS,
    Delete,
    Effect,
    Json,
    Put,
    Step,
    Tell,
    View,
    is_marked,
)
from broker.lab.machines.vm_status import desired_status

__all__ = ["vm_step"]


def vm_step(view: View) -> Step | None:
    """Return what happens to the VM next, None while nothing is to be done."""
    vm = view.vm
    if vm is None:
        return None
    if is_marked(vm) and view.vmi is None:
        return Step(name="vm gone", effects=(Delete(resource=VMS, name=view.name), *_gone(view.revisions)))
    if not (vm.get("status") or {}).get("printableStatus"):
        return Step(name="vm seen", effects=(Put(resource=VMS, obj=_first_seen(vm)),), after_s=0.1)
    finalizers = vm["metadata"].get("finalizers") or []
    if VM_FINALIZER not in finalizers and not is_marked(vm):
        held = {**vm, "metadata": {**vm["metadata"], "finalizers": [*finalizers, VM_FINALIZER]}}
        return Step(name="vm finalizer", effects=(Put(resource=VMS, obj=held),))
    generation = _generation(view)
    if generation is not None:
        return generation
    status = desired_status(view)
    wish = wish_of(view)
    if wish.verb == "stop":
        return _stop(view, wish)
    is_told = status == vm.get("status")
    if wish.verb == "start" and (is_told or not (_has_leftovers(vm, status) or retry_in_s(vm, view.now_s))):
        return _start(view)
    return None if is_told else Step(name="vm status", effects=(Put(resource=VMS, obj={**vm, "status": status}),))


def _has_leftovers(vm: Json, status: Json) -> bool:
    """Whether the end of the last instance is not told yet: it is, before the next one is made."""
    told = vm.get("status") or {}
    return told.get("created") is not None and status.get("created") is None


def _first_seen(vm: Json) -> Json:
    volumes = ((vm.get("spec") or {}).get("template") or {}).get("spec", {}).get("volumes") or ()
    why = "Snapshot is not supported for this volumeSource type [{}]"
    snapshots = [{"enabled": False, "name": v["name"], "reason": why.format(v["name"])} for v in volumes]
    status = {**(vm.get("status") or {}), "printableStatus": "Stopped"}
    return {**vm, "status": {**status, "volumeSnapshotStatuses": snapshots} if snapshots else status}


def _start(view: View) -> Step:
    vm = view.vm
    assert vm is not None
    wait_s = retry_in_s(vm, view.now_s)
    if wait_s > 0:
        return Step(name="vm back-off", effects=(), after_s=wait_s + 1.0, is_scaled=False)
    strategy = (vm.get("spec") or {}).get("runStrategy")
    if strategy == "Halted":
        return Step(name="vm on", effects=(Put(resource=VMS, obj={**vm, "spec": {**vm["spec"], "runStrategy": "Always"}}),))
    wanted = revision_name(vm)
    if wanted not in view.revisions:
        revision = Put(resource=REVISIONS, obj=new_revision(vm))
        return Step(name="vm revision", effects=(*_gone(view.revisions), revision))
    made = new_instance(vm, view.now)
    if _is_asked_paused(vm):
        made = {**made, "spec": {**made["spec"], "startStrategy": "Paused"}}
    message = f"Started the virtual machine by creating the new virtual machine instance {view.name}"
    told = Tell(kind="VirtualMachine", reason="SuccessfulCreate", message=message, uid=vm["metadata"]["uid"])
    return Step(name="vmi made", effects=(Put(resource=VMIS, obj=made), told), after_s=0.05)


def _is_asked_paused(vm: Json) -> bool:
    """Whether the first request is a start with `paused` (KubeVirt hasStartPausedRequest)."""
    first: Json = next(iter((vm.get("status") or {}).get("stateChangeRequests") or ()), {})
    return first.get("action") == "Start" and (first.get("data") or {}).get("paused") == "true"


def _generation(view: View) -> Step | None:
    """The instance's note of the VM's generation follows it; what changed in the template is not looked at."""
    vm, vmi = view.vm, view.vmi
    if vm is None or vmi is None or is_marked(vm) or is_marked(vmi):
        return None
    annotations = vmi["metadata"].get("annotations") or {}
    told, generation = annotations.get("kubevirt.io/vm-generation"), str(vm["metadata"].get("generation", 1))
    if told in (None, generation):
        return None
    metadata = {**vmi["metadata"], "annotations": {**annotations, "kubevirt.io/vm-generation": generation}}
    return Step(name="vmi generation", effects=(Put(resource=VMIS, obj={**vmi, "metadata": metadata}),))


def _stop(view: View, wish: Wish) -> Step:
    vm, vmi = view.vm, view.vmi
    assert vm is not None and vmi is not None
    status = vm.get("status") or {}
    if wish.asks_start and not status.get("stateChangeRequests"):
        asked = {**vm, "status": {**status, "stateChangeRequests": [{"action": "Start"}]}}
        return Step(name="vm asks start", effects=(Put(resource=VMS, obj=asked),))
    uid = vmi["metadata"]["uid"]
    message = f"Stopped the virtual machine by deleting the virtual machine instance {uid}"
    event = Tell(kind="VirtualMachine", reason="SuccessfulDelete", message=message, uid=vm["metadata"]["uid"])
    return Step(name="vmi marked", effects=(Put(resource=VMIS, obj=_marked(vmi, view.now)), event))


def _marked(vmi: Json, now: str) -> Json:
    """The instance as the API server marks it for deletion; one of the seed has no finalizers yet, and gets them."""
    finalizers = vmi["metadata"].get("finalizers") or [VM_FINALIZER, FOREGROUND]
    marks = {"deletionTimestamp": now, "deletionGracePeriodSeconds": 0, "finalizers": finalizers}
    return {**vmi, "metadata": {**vmi["metadata"], **marks}}


def _gone(revisions: tuple[str, ...]) -> tuple[Effect, ...]:
    return tuple(Delete(resource=REVISIONS, name=name) for name in revisions)
