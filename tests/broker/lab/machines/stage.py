"""A store with its controllers, played on a clock of its own: nothing waits, every change is noted in its order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from broker.lab.lifecycle import Lifecycle
from broker.lab.machines.engine import WATCHED, Engine
from broker.lab.machines.view import PODS, REVISIONS, VMIS, VMS, Json
from broker.lab.objects import Change, Objects

START_S = 1_800_000_000.0
LIMIT_S = 600.0


class Stage:
    """One VM's world. `changes` are all changes of VMs, instances, pods and revisions so far; `steps` what the engine did."""

    def __init__(
        self, *, namespace: str = "team-e", name: str = "web", objects: Objects | None = None, has_agent: bool = True
    ) -> None:
        self.objects = objects or Objects()
        self.key = (namespace, name)
        self.now_s = START_S
        self.changes: list[Change] = []
        self.steps: list[tuple[float, str, str]] = []
        self.orders: list[str] = []
        self.engine = Engine(
            self.objects,
            address=lambda *_: ("10.128.0.19",),
            order=lambda order, *_: self.orders.append(order),
            agent_scale=1.0 if has_agent else LIMIT_S,
        )
        self.engine.done = lambda actor, _, step: self.steps.append((round(self.now_s - START_S, 2), actor, step.name))
        self._subscriptions = {resource: self.objects.subscribe(resource) for resource in (*WATCHED, REVISIONS)}
        self._lifecycle = Lifecycle(self.objects, ask=lambda verb, *key: self.engine.ask(verb, (key[0], key[1])))
        handler = {"name": "virt-handler", "namespace": "kubevirt", "labels": {"kubevirt.io": "virt-handler"}}
        self.objects.put("pods", {"metadata": handler, "spec": {"nodeName": "node-1"}})

    def settle(self, *, until: Callable[[Stage], bool] = lambda _: False, limit_s: float = LIMIT_S) -> None:
        """Let everything happen that is to come within the limit, or until something holds."""
        end_s = self.now_s + limit_s
        while not until(self):
            due_s = self._run_one()
            if due_s is None or due_s > end_s:
                return
            self.now_s = max(self.now_s, due_s)

    def call(self, verb: str, body: Json | None = None) -> int:
        """Call a lifecycle subresource and return the HTTP status."""
        sent = b"" if body is None else json.dumps(body).encode()
        status = self._lifecycle.answer(verb, *self.key, sent).status
        self._listen()
        return status

    def put(self, resource: str, obj: Json) -> None:
        """Change the store as somebody from outside."""
        self.objects.put(resource, obj)
        self._listen()

    def get(self, resource: str) -> Json | None:
        """The VM or its instance, if there is one."""
        return self.objects.get(resource, *self.key)

    def vm(self) -> Json:
        """The VM."""
        found = self.get(VMS)
        assert found is not None
        return found

    def vmi(self) -> Json:
        """Its instance."""
        found = self.get(VMIS)
        assert found is not None
        return found

    def pod(self) -> Json | None:
        """The launcher pod, if there is one."""
        return next((pod for pod in self.objects.select(PODS, self.key[0])), None)

    def events(self) -> list[Json]:
        """The events told so far."""
        return list(self.objects.select("events", self.key[0]))

    def _run_one(self) -> float | None:
        # One moment at a time, so that what a step changes is seen before the next.
        self._listen()
        due_s = self.engine.run(self.now_s)
        return self.now_s if self._listen() else due_s

    def _listen(self) -> bool:
        found = sorted(
            (change for subscription in self._subscriptions.values() for change in subscription.take()),
            key=lambda change: change.resource_version,
        )
        for change in found:
            self.changes.append(change)
            if change.resource in WATCHED:
                self.engine.notice(change)
        return bool(found)


def machine(name: str, strategy: str, **spec: Any) -> Json:
    """A VM as a user posts it, with one masquerade interface."""
    template: Json = {"domain": {"devices": {"interfaces": [{"name": "default", "masquerade": {}}]}}}
    template |= {"networks": [{"name": "default", "pod": {}}], **spec}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": "team-e"},
        "spec": {"runStrategy": strategy, "template": {"metadata": {"labels": {"app": name}}, "spec": template}},
    }
