"""What the cluster says of one target: read by whatever reads, judged here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.clean import clean
from broker.errors import NotFound
from broker.facts.commands import again
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.refs import Kind, Target


class Reader(Protocol):
    """What asks the API and returns the body of its answer; raises classes of `broker.errors`. Paths begin with `/api`."""

    def get(self, path: str) -> bytes:
        """Return the body of one GET."""
        ...

    def post(self, path: str, body: bytes) -> bytes:
        """Return the answer of one POST of JSON bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the cluster says of a target; None for an object that is not there or not for us to read.

    `may_lack` names the kinds that could not be read for want of rights: of them nothing is known.
    """

    target: Target
    namespace: str
    name: str
    vm: VirtualMachine | None
    vmi: VirtualMachineInstance | None
    may_lack: tuple[Kind, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """The route that is tried first: vm, unless the target says vmi or only a VMI is there."""
        if self.target.kind is not None:
            return self.target.kind
        return "vmi" if self.vm is None and self.vmi is not None else "vm"


def reading_of(
    target: Target,
    namespace: str,
    vm: VirtualMachine | None,
    vmi: VirtualMachineInstance | None,
    lacks: Sequence[Kind],
    *,
    meant: Callable[[], Target | None],
    verb: str,
) -> Reading:
    """Judge what was read: a Reading, or NotFound where nothing that the target names is there.

    `lacks` names what may not be read; `meant` is asked only then: the target that a dotted name may stand for, if it is there;
    `verb` is the command for the next step.
    """
    asked: set[Kind] = {target.kind} if target.kind else {"vm", "vmi"}
    is_found = (vm is not None and "vm" in asked) or (vmi is not None and "vmi" in asked)
    if not is_found and not asked & set(lacks):
        raise _not_there(target, namespace, vmi, meant(), verb)
    warnings: tuple[str, ...] = ()
    if lacks:
        kinds = " and ".join("VMs" if kind == "vm" else "VMIs" for kind in lacks)
        warnings = (f"you may not read {kinds} in namespace {clean(namespace, 63)}: what they tell is not known",)
    return Reading(
        target=target, namespace=namespace, name=target.name, vm=vm, vmi=vmi, may_lack=tuple(lacks), warnings=warnings
    )


def _not_there(target: Target, namespace: str, vmi: VirtualMachineInstance | None, meant: Target | None, verb: str) -> NotFound:
    place = f"{clean(target.name)} in namespace {clean(namespace, 63)}"
    if target.kind == "vm" and vmi is not None:
        return NotFound(
            f"no VM {place}",
            code="vm-not-found",
            cause="there is an instance of that name, but no VM",
            next_step=f"name the instance: {again(verb, f'vmi/{target.name}/{namespace}')}",
        )
    if meant is not None:
        word = meant.name if target.kind is None else f"{target.kind}/{meant.name}"
        return NotFound(
            f"no VM {place}",
            code="vm-not-found",
            cause=f"dots belong to the name; there is {meant.name} in namespace {meant.namespace}",
            next_step=f"write it so: {again(verb, f'{word} -n {meant.namespace}')}",
        )
    what = {"vm": "no VM", "vmi": "no VMI", None: "neither a VM nor a VMI"}[target.kind]
    return NotFound(
        f"{what} {place}" if target.kind else f"{what} is called {place}",
        code="vmi-not-found" if target.kind == "vmi" else "vm-not-found",
        next_step=f"see what is there: vmbroker vms -n {namespace}, or vmbroker vms -A",
    )
