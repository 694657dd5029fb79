"""Carries the steps out on the store: which VMs are looked at, when each actor's next change is due, and doing it.

It has no clock and no loop: the caller says what moment it is. Only VMs that somebody asked something of are looked at,
so that the objects of a seed, however incomplete, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from broker.lab.machines.domain import known_domain, new_domain
from broker.lab.machines.events import event_name, recorded
from broker.lab.machines.run_strategy import FINAL, phase_of
from broker.lab.machines.steps import ACTORS, steps_of
from broker.lab.machines.view import (
    PODS,
    REVISIONS,
    VMIS,
    VMS,
    Delete,
    Domain,
    Effect,
    GuestOrder,
    Json,
    Put,
    Step,
    Tell,
    View,
    is_marked,
)
from broker.lab.objects import Change, Objects, timestamp

__all__ = ["WATCHED", "Engine"]

WATCHED = (VMS, VMIS, PODS)
_AT_ONCE = 200
"""Changes carried out in one go before others get their turn."""
Key = tuple[str, str]


class Engine:
    """The controllers of one lab. `order` is told what happens to a guest: order, (namespace, name), domain, instance.

    `address` returns the pod addresses of an instance that starts, given its key, itself and the domain of the run before.
    Times are seconds since 1970.
    """

    def __init__(
        self,
        objects: Objects,
        *,
        order: Callable[[str, Key, Domain, Json | None], None] = lambda *_: None,
        address: Callable[[Key, Json, Domain | None], tuple[str, ...]] = lambda *_: (),
        nodes: tuple[str, ...] = ("node-1",),
        pace: float = 1.0,
        agent_scale: float = 1.0,
    ) -> None:
        self._objects = objects
        self._order = order
        self._address = address
        self._nodes = nodes
        self._pace = pace
        self._agent_scale = agent_scale
        self._dirty: dict[Key, None] = {}
        self._managed: set[Key] = set()
        self._domains: dict[str, Domain] = {}
        self._before: dict[Key, Domain] = {}
        self._due: dict[Key, dict[str, tuple[str, float]]] = {}
        self.done: Callable[[str, Key, Step], None] = lambda *_: None
        """Told of each change that was carried out: actor, key, step."""

    def notice(self, change: Change) -> None:
        """Take note of a change in the store, whoever made it."""
        if change.resource == PODS:
            key = _key_of_pod(change.entry.decode()) if self._managed else None
        else:
            namespace, _, name = change.entry.key.partition("/")
            key = (namespace, name)
        if key is None:
            return
        if key not in self._managed and not (change.resource != PODS and _is_wish(change)):
            return
        self.look_at(key)

    def look_at(self, key: Key) -> None:
        """From now on answer to what is asked of this VM."""
        self._managed.add(key)
        self._dirty[key] = None

    def ask(self, verb: str, key: Key) -> None:
        """Do as virt-handler what virt-api asks of it: pause, unpause, softreboot."""
        changes: Json = {"softreboot": {"is_reboot_wanted": True}}.get(verb, {"is_pause_wanted": verb == "pause"})
        self._change_domain(key, **changes)

    def guest_ends(self, key: Key, phase: str) -> None:
        """Have the guest end by itself: Succeeded (it powers off) or Failed (it crashes)."""
        self._change_domain(key, ended=phase)

    def run(self, now_s: float) -> float | None:
        """Carry out what is due and return the moment to come back at, None while nothing is to come."""
        for _ in range(_AT_ONCE):
            for key in list(self._dirty):
                del self._dirty[key]
                self._plan(key, now_s)
            due = min(
                (
                    (when, rank, key, actor)
                    for key, plans in self._due.items()
                    for rank, (actor, _) in enumerate(ACTORS)
                    if actor in plans
                    for when in (plans[actor][1],)
                ),
                default=None,
            )
            if due is None:
                return None
            if due[0] > now_s:
                return due[0]
            self._carry_out(due[2], due[3], now_s)
        return now_s

    def _plan(self, key: Key, now_s: float) -> None:
        old = self._due.pop(key, {})
        view = self._view(key, now_s)
        plans: dict[str, tuple[str, float]] = {}
        for actor, step in steps_of(view):
            name, when = old.get(actor, ("", 0.0))
            plans[actor] = (name, when) if name == step.name else (step.name, now_s + self._wait_s(step))
        if plans:
            self._due[key] = plans
        elif view.vmi is None and not (view.vm and (view.vm.get("status") or {}).get("stateChangeRequests")):
            self._managed.discard(key)

    def _wait_s(self, step: Step) -> float:
        return step.after_s * (self._pace if step.is_scaled else 1.0)

    def _carry_out(self, key: Key, actor: str, now_s: float) -> None:
        name, _ = self._due[key].pop(actor)
        self._dirty[key] = None
        view = self._view(key, now_s)
        step = next((one for who, one in steps_of(view) if who == actor), None)
        if step is None or step.name != name:
            return
        for effect in step.effects:
            self._apply(key, view, effect)
        self.done(actor, key, step)

    def _apply(self, key: Key, view: View, effect: Effect) -> None:
        namespace, name = key
        if isinstance(effect, Put):
            self._objects.put(effect.resource, effect.obj)
        elif isinstance(effect, Delete):
            self._objects.delete(effect.resource, namespace, effect.name)
        elif isinstance(effect, Tell):
            before = self._objects.get("events", namespace, event_name(effect, namespace, name))
            self._objects.put("events", recorded(effect, namespace, name, before, view.now))
        else:
            self._obey(key, view, effect)

    def _obey(self, key: Key, view: View, effect: GuestOrder) -> None:
        domain = view.domain
        if domain is None or view.vmi is None:
            return
        uid = view.vmi["metadata"]["uid"]
        if effect.order == "release":
            self._domains.pop(uid, None)
            self._before[key] = domain
        if effect.order == "reboot":
            self._domains[uid] = replace(domain, is_reboot_wanted=False)
        self._order(effect.order, key, domain, view.vmi)

    def _change_domain(self, key: Key, **changes: object) -> None:
        vmi = self._objects.get(VMIS, *key)
        if vmi is None:
            return
        domain = self._domain(key, vmi)
        if domain is not None:
            self._domains[vmi["metadata"]["uid"]] = replace(domain, **changes)  # type: ignore[arg-type]
            self.look_at(key)

    def _view(self, key: Key, now_s: float) -> View:
        namespace, name = key
        vm, vmi = self._objects.get(VMS, namespace, name), self._objects.get(VMIS, namespace, name)
        if vm is not None and vmi is not None and not _owns(vm, vmi):
            vm = None
        claims = list(self._claims(namespace, vmi))
        return View(
            namespace=namespace,
            name=name,
            now=timestamp(now_s),
            now_s=now_s,
            vm=vm,
            vmi=vmi,
            pod=None if vmi is None else self._pod(namespace, vmi["metadata"]["uid"]),
            revisions=() if vm is None else self._revisions(namespace, vm["metadata"]["uid"]),
            missing_claim=next((name for name, phase in claims if phase is None), ""),
            has_pending_claim=any(phase == "Pending" for _, phase in claims),
            quota="" if vmi is None or phase_of(vmi) not in ("", "Pending") else self._exceeded(namespace),
            domain=None if vmi is None else self._domain(key, vmi),
            agent_scale=self._agent_scale,
        )

    def _domain(self, key: Key, vmi: Json) -> Domain | None:
        uid, phase = vmi["metadata"]["uid"], phase_of(vmi)
        if uid not in self._domains:
            if phase == "Running":
                self._domains[uid] = known_domain(vmi)
            elif phase in FINAL or is_marked(vmi):
                return self._before.get(key)
            else:
                before = self._before.get(key)
                addresses = self._address(key, vmi, before)
                self._domains[uid] = new_domain(vmi, nodes=self._nodes, addresses=addresses, before=before)
        return self._domains[uid]

    def _pod(self, namespace: str, uid: str) -> Json | None:
        """The launcher pod of an instance: found in the encoded text, for a namespace may hold a thousand pods."""
        mark = f'"kubevirt.io/created-by":"{uid}"'.encode()
        found = [entry.decode() for entry in self._objects.entries(PODS, namespace) if mark in entry.encoded]
        return found[0] if found else None

    def _revisions(self, namespace: str, uid: str) -> tuple[str, ...]:
        start = f"{namespace}/revision-start-vm-{uid}"
        return tuple(
            entry.key.partition("/")[2]
            for entry in self._objects.entries(REVISIONS, namespace, start=start)
            if entry.key.startswith(start)
        )

    def _claims(self, namespace: str, vmi: Json | None) -> Iterator[tuple[str, str | None]]:
        """The claims of an instance's volumes with their phases, None for one that is not there."""
        for volume in (vmi or {}).get("spec", {}).get("volumes") or ():
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if name:
                claim = self._objects.get("persistentvolumeclaims", namespace, name)
                yield str(name), None if claim is None else str((claim.get("status") or {}).get("phase") or "")

    def _exceeded(self, namespace: str) -> str:
        """What the API server says of a quota (count/pods alone is looked at) that has no room for one pod more."""
        for quota in self._objects.select("resourcequotas", namespace):
            limit = ((quota.get("spec") or {}).get("hard") or {}).get("count/pods")
            used = sum(1 for _ in self._objects.entries(PODS, namespace))
            if str(limit).isdigit() and used >= int(str(limit)):
                counts = f"requested: count/pods=1, used: count/pods={used}, limited: count/pods={limit}"
                return f"exceeded quota: {quota['metadata']['name']}, {counts}"
        return ""


def _owns(vm: Json, vmi: Json) -> bool:
    owners = vmi["metadata"].get("ownerReferences") or ()
    return any(owner.get("uid") == vm["metadata"]["uid"] for owner in owners)


def _key_of_pod(pod: Json) -> Key | None:
    metadata = pod["metadata"]
    name = (metadata.get("annotations") or {}).get("kubevirt.io/domain")
    return (metadata.get("namespace") or "", name) if name else None


def _is_wish(change: Change) -> bool:
    """Whether a change asks the controllers for something; objects put complete, as a seed's are, ask for nothing."""
    now = change.entry.decode()
    if change.type == "DELETED":
        return False
    if change.previous is None:
        return not now.get("status")
    before = change.previous.decode()
    if is_marked(now) and not is_marked(before):
        return True
    if change.resource == VMIS:
        return False
    spec, old_spec = now.get("spec") or {}, before.get("spec") or {}
    if any(spec.get(field) != old_spec.get(field) for field in ("runStrategy", "running")):
        return True
    requests = (now.get("status") or {}).get("stateChangeRequests")
    return bool(requests) and requests != (before.get("status") or {}).get("stateChangeRequests")
