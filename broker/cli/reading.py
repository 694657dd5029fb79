"""Runs the reading actions for the commands that print what they find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.cli import exits
from broker.cli.guest import opened
from broker.cli.invocation import Invocation
from broker.errors import BrokerError
from broker.tasks import run

if TYPE_CHECKING:
    from broker.actions.vm_details import VmDetails
    from broker.actions.vm_rows import VmList
    from broker.config.settings import Settings
    from broker.kube.endpoint import Endpoint
    from broker.refs import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a list found, with the context's namespace and the settings that held."""

    found: VmList
    namespace: str
    settings: Settings


def listed(invocation: Invocation, *, all_namespaces: bool, selector: str | None, wide: bool) -> Listing:
    """List VMs, of the namespace of flags and context or of all, with guest logins where `wide`; raises as `find_vms` does."""
    from broker.actions.context import open_broker
    from broker.actions.find_vms import find_vms

    endpoint = invocation.endpoint()
    settings = invocation.settings(endpoint.context)
    namespace = None if all_namespaces else endpoint.namespace

    async def find() -> VmList:
        async with open_broker(endpoint, settings) as broker:
            return await find_vms(broker, namespace=namespace, selector=selector, with_logins=wide)

    with exits.progress("listing VMs" + (f" of namespace {namespace}" if namespace else " of all namespaces")):
        try:
            found = run(find())
        except BrokerError as exc:
            raise _explained(endpoint, exc, verb="list", namespace=namespace) from exc
    return Listing(found=found, namespace=endpoint.namespace, settings=settings)


def shown(invocation: Invocation, target: Target, *, user: str | None, port: int | None) -> VmDetails:
    """Read one VM with its instance; raises as `show_vm` does."""
    from broker.actions.context import open_broker
    from broker.actions.show_vm import show_vm

    endpoint, settings = opened(invocation, target, stdin_is_ours=True)

    async def show() -> VmDetails:
        async with open_broker(endpoint, settings) as broker:
            return await show_vm(broker, target, flag_user=user, flag_port=port)

    with exits.progress(f"reading {target}"):
        try:
            return run(show())
        except BrokerError as exc:
            raise _explained(
                endpoint, exc, verb="get", namespace=target.namespace or endpoint.namespace, target=target
            ) from exc


def _explained(
    endpoint: Endpoint, error: BrokerError, *, verb: str, namespace: str | None, target: Target | None = None
) -> BrokerError:
    """Return the error with its true cause: a new one, since an error is no cause of itself."""
    from copy import copy

    from broker.actions.explain_failure import explain_at
    from broker.facts.roles import Right

    resource = "virtualmachineinstances" if target is not None and target.kind == "vmi" else "virtualmachines"
    right = Right(verb=verb, group="kubevirt.io", resource=resource, namespace=namespace)
    found = explain_at(endpoint, error, right=right, target=target)
    return copy(error) if found is error else found
