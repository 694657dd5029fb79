"""What the cluster tells of a guest that could not be reached, read within a small budget. Blocking.

Each read may fail, for want of rights, of time or of a network: then its fact is unknown, and that is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote, urlencode

from broker.errors import BrokerError, NotFound
from broker.facts.primary_network import PRIMARY_UDN_LABEL
from broker.kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from broker.model.surroundings import NetworkPolicy, Pod, decode_namespace, decode_pods, decode_policies
from broker.model.vmi import VirtualMachineInstance
from broker.paths.diagnosis import DialFacts

if TYPE_CHECKING:
    from broker.actions.reading import Reader, Reading

T = TypeVar("T")

LIST_LIMIT: Final = 250
"""Objects that one list of a diagnosis holds at most; a longer one counts as not known."""

_VERSION: Final = "/apis/subresources.kubevirt.io/v1/version"
_CREATED_BY: Final = "kubevirt.io/created-by"


class Gathering:
    """One round of reading with its gaps; `client` ends by itself when the budget is spent."""

    def __init__(self, client: Reader) -> None:
        self._client = client
        self.lacks: list[str] = []

    def read(self, what: str, path: str, decode: Callable[[bytes], T]) -> T | None:
        """Return what is at a path, decoded; None, with `what` noted as lacking, where it cannot be had."""
        try:
            return decode(self._client.get(path))
        except BrokerError:
            self.lacks.append(what)
            return None

    def again(self, what: str, path: str, decode: Callable[[bytes], T], before: T | None) -> T | None:
        """Return an object as it is now: None where it is gone, as it was before where it cannot be read."""
        if before is None:
            return None
        try:
            return decode(self._client.get(path))
        except NotFound:
            return None
        except BrokerError:
            return before

    def trouble(self, what: str, path: str) -> BrokerError | None:
        """Return the error of asking at a path, None where it answers; no answer in time is noted as lacking."""
        try:
            self._client.get(path)
        except BrokerError as exc:
            if exc.exit_status == 6:
                self.lacks.append(what)
            return exc
        return None


def gather(client: Reader, reading: Reading, port: int, *, code: str) -> DialFacts:
    """Read what decides between the causes of a dial that failed with this code; never raises.

    `client` is one whose budget is limited; a refused dial needs the instance and its pod, an unanswered one the rest too.
    """
    seen = Gathering(client)
    name, namespace = reading.name, reading.namespace
    vm = seen.again("the VM", VIRTUAL_MACHINES.path(namespace, name), VIRTUAL_MACHINES.decode, reading.vm)
    kind = VIRTUAL_MACHINE_INSTANCES
    vmi = seen.again("the VMI", kind.path(namespace, name), kind.decode, reading.vmi)
    if reading.vmi is None and "vmi" in reading.may_lack:
        seen.lacks.append("the VMI")
    policies: tuple[NetworkPolicy, ...] | None = None
    has_udn: bool | None = None
    trouble: BrokerError | None = None
    place = quote(namespace, safe="")
    is_unanswered = code in ("port-filtered", "no-route")
    pod = _launcher(seen, namespace, vmi) if vmi is not None else None
    if is_unanswered:
        found = seen.read("the namespace", f"/api/v1/namespaces/{place}", decode_namespace)
        has_udn = PRIMARY_UDN_LABEL in (found.metadata.labels or {}) if found is not None else None
        listed = f"/apis/networking.k8s.io/v1/namespaces/{place}/networkpolicies?limit={LIST_LIMIT + 1}"
        policies = _whole(seen, "NetworkPolicies", seen.read("NetworkPolicies", listed, decode_policies))
        trouble = seen.trouble("virt-api's version", _VERSION) if code == "port-filtered" else None
    return DialFacts(
        kind=reading.kind,
        name=name,
        namespace=namespace,
        port=port,
        vm=vm,
        vmi=vmi,
        has_primary_udn=has_udn,
        pod=pod,
        policies=policies,
        virt_api=trouble,
        lacks=tuple(seen.lacks),
    )


def _launcher(seen: Gathering, namespace: str, vmi: VirtualMachineInstance) -> Pod | None:
    query = urlencode({"labelSelector": f"{_CREATED_BY}={vmi.metadata.uid}", "limit": "5"})
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods?{query}"
    pods = seen.read("the launcher pod", path, decode_pods) or []
    alive = [pod for pod in pods if pod.status is not None and pod.status.phase == "Running"]
    return alive[0] if len(alive) == 1 else None


def _whole(seen: Gathering, what: str, found: list[NetworkPolicy] | None) -> tuple[NetworkPolicy, ...] | None:
    if found is not None and len(found) > LIST_LIMIT:
        seen.lacks.append(what)
        return None
    return tuple(found) if found is not None else None
