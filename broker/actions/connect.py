"""From a target to bytes of a guest's port, in a process that lives for one connection: read, judge, dial. Blocking.

Loads neither asyncio nor an HTTP library of its own; `broker.kube.cold` keeps one connection for reading and the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from broker.actions.guest_user import GuestLogin, guest_login
from broker.actions.reading import Reader, Reading, reading_of
from broker.errors import BrokerError, NotFound, NotPermitted
from broker.kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES, Resource
from broker.model.machine import NO_MACHINE
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance
from broker.paths.preflight import is_doubtful, preflight
from broker.refs import Kind, Target, dotted_reading, parse_user

if TYPE_CHECKING:
    from broker.config.settings import Settings, StreamSettings
    from broker.kube.cold import ColdClient, ColdStream

T = TypeVar("T")

DOUBTFUL_S: Final = 5.0
"""Seconds for a dial to a network that virt-api has most likely no way to."""


def read_guest(client: ColdClient, target: Target, *, default_namespace: str, verb: str = "ssh") -> Reading:
    """Read VM and VMI of a target; want of rights to read is no failure (the right to forward may be there alone).

    `verb` is the command that a next step names: the one that the user runs.
    Raises NotFound (with the right form where a dotted name meant NAME.NAMESPACE, and the namespaces that have the name),
    Unreachable and others of the network, each with its true cause (`broker.actions.explain_failure`).
    """
    namespace = target.namespace or default_namespace
    try:
        return _read_both(client, target, namespace, verb)
    except BrokerError as exc:
        if isinstance(exc, NotFound) and exc.cause is not None:
            raise
        from broker.actions.explain_failure import explain_reading

        found = explain_reading(client, target, namespace, exc, verb=verb)
        if found is exc:
            raise
        raise found from exc


def _read_both(client: Reader, target: Target, namespace: str, verb: str) -> Reading:
    lacks: list[Kind] = []
    vm = _read(client, VIRTUAL_MACHINES, "vm", namespace, target.name, lacks) if target.kind != "vmi" else None
    vmi = _read(client, VIRTUAL_MACHINE_INSTANCES, "vmi", namespace, target.name, lacks)
    return reading_of(target, namespace, vm, vmi, lacks, meant=lambda: _meant(client, target), verb=verb)


def login_for(
    vm: VirtualMachine | None,
    vmi: VirtualMachineInstance | None,
    *,
    name: str,
    namespace: str,
    settings: Settings,
    user: str | None = None,
    port: int | None = None,
) -> GuestLogin:
    """Choose guest user and port from flags, annotations, settings and what the objects tell (`broker.actions.guest_user`)."""
    of_vmi = (vmi.metadata.annotations if vmi is not None else None) or {}
    annotations = {**of_vmi, **(vm.annotations if vm is not None else {})}
    machine = vm.machine if vm is not None else vmi.machine if vmi is not None else NO_MACHINE
    system = vmi.guest_os if vmi is not None else None
    return guest_login(
        flag_user=parse_user(user) if user else None,
        flag_port=port,
        annotations=annotations,
        rule=settings.guest_rule(name, namespace),
        machine=machine,
        guest_os_id=system.id if system else None,
    )


def login_of(reading: Reading, settings: Settings, *, user: str | None = None, port: int | None = None) -> GuestLogin:
    """Choose guest user and port for what `read_guest` found."""
    return login_for(
        reading.vm,
        reading.vmi,
        name=reading.name,
        namespace=reading.namespace,
        settings=settings,
        user=user,
        port=port,
    )


def open_guest(client: ColdClient, reading: Reading, port: int, *, stream: StreamSettings) -> ColdStream:
    """Open a guest's TCP port through the API server on the connection that read it.

    Raises GuestUnready without dialling where the objects tell that it cannot work, and what the dial itself raises.
    """
    known = obstacle(reading, port)
    if known is not None:
        raise known
    from broker.kube.tunnel import StallPolicy
    from broker.paths.dial import dial_cold

    policy = StallPolicy(
        free_bytes=stream.free_bytes,
        trickle_bytes=stream.trickle_bytes,
        trickle_every_s=stream.trickle_every_s,
        limit_bytes=stream.limit_bytes,
    )

    handshake_s = limit_of(reading, stream.handshake_s)

    def dial(kind: Kind) -> ColdStream:
        return dial_cold(
            client,
            kind=kind,
            namespace=reading.namespace,
            name=reading.name,
            port=port,
            handshake_s=handshake_s,
            policy=policy,
        )

    try:
        return by_routes(reading, dial)
    except BrokerError as exc:
        from broker.actions.explain_failure import explain

        found = explain(client, reading, port, exc)
        if found is exc:
            raise
        raise found from exc


def by_routes(reading: Reading, dial: Callable[[Kind], T]) -> T:
    """Dial by the vm route, else by the vmi route where that is the same guest; the first route's error is the one told.

    Rights may stand on one of the two subresources only (kubevirt.md H), and a bare name may be a VMI that we may not read.
    """
    try:
        return dial(reading.kind)
    except (NotPermitted, NotFound) as exc:
        if (other := other_route(reading, exc)) is None:
            raise
        try:
            return dial(other)
        except (NotPermitted, NotFound):
            raise exc from None


def obstacle(reading: Reading, port: int) -> BrokerError | None:
    """Return why a port cannot answer as far as the objects tell (`preflight`); None where only dialling can tell."""
    known = preflight(reading.vm, reading.vmi, port)
    return None if known is not None and _is_hearsay(known, reading) else known


def limit_of(reading: Reading, handshake_s: float) -> float:
    """Return the seconds that a dial may take: fewer than `handshake_s` where it will most likely hang (`is_doubtful`)."""
    return min(handshake_s, DOUBTFUL_S) if is_doubtful(reading.vmi) else handshake_s


def other_route(reading: Reading, error: BrokerError) -> Kind | None:
    """Return the route to try after the first one refused with NotPermitted or NotFound; None where it is another guest's."""
    return "vmi" if reading.kind != "vmi" and _is_same_guest(reading, error) else None


def _is_same_guest(reading: Reading, error: BrokerError) -> bool:
    if isinstance(error, NotFound):
        return reading.target.kind is None
    # Forbidden by the vm route: the vmi route ends at the same guest unless the VMI is known to be another's.
    return reading.vm is None or reading.vmi is None or reading.vmi.owner_uid == reading.vm.metadata.uid


def _is_hearsay(error: BrokerError, reading: Reading) -> bool:
    """Say whether the judgement rests on a VMI that we may not read: then virt-api knows better."""
    return reading.vmi is None and "vmi" in reading.may_lack and error.code == "vm-starting"


def _read(client: Reader, resource: Resource[T], kind: Kind, namespace: str, name: str, lacks: list[Kind]) -> T | None:
    try:
        return resource.decode(client.get(resource.path(namespace, name)))
    except NotFound:
        return None
    except NotPermitted:
        lacks.append(kind)
        return None


def _meant(client: Reader, target: Target) -> Target | None:
    """Return what virtctl before 1.7 took a dotted name for, where that is there and may be read."""
    meant = dotted_reading(target) if target.namespace is None else None
    if meant is None or meant.namespace is None:
        return None
    for resource in (VIRTUAL_MACHINES, VIRTUAL_MACHINE_INSTANCES):
        try:
            client.get(resource.path(meant.namespace, meant.name))
        except BrokerError:
            continue
        return meant
    return None
