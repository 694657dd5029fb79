"""Why the cluster refused, in full: who you are and which ClusterRole would do, where a name is, when a login ended."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import msgspec

from broker.clean import clean
from broker.errors import BrokerError, CredentialError, NotFound, NotPermitted, Unreachable
from broker.facts.commands import again, target_word
from broker.facts.roles import SHOWN, Right, documented, holders
from broker.kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from broker.model.roles import decode_cluster_roles
from broker.model.surroundings import decode_names, decode_namespace
from broker.refs import Kind, Target

if TYPE_CHECKING:
    from broker.actions.reading import Reader
    from broker.kube.endpoint import Endpoint

_ROLES: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles?limit=1000"
_WHO: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_PLACES: Final = 6
_COMMON: Final = frozenset({"system:authenticated", "system:unauthenticated"})


class _UserInfo(msgspec.Struct, frozen=True):
    username: str = ""
    groups: list[str] | None = None


class _SelfStatus(msgspec.Struct, frozen=True, rename="camel"):
    user_info: _UserInfo = _UserInfo()


class _SelfReview(msgspec.Struct, frozen=True):
    status: _SelfStatus = _SelfStatus()


def refused(client: Reader, right: Right, error: NotPermitted) -> NotPermitted:
    """Return the same refusal with who the caller is and which ClusterRoles hold the right; unknown is told as such."""
    where = f" in namespace {clean(right.namespace, 63)}" if right.namespace else " in the whole cluster"
    needed = f"verb {clean(right.verb, 40)} on {clean(right.resource, 80)} ({clean(right.group, 80) or 'the core group'})"
    who = _who(client)
    if who is None:
        cause = error.cause or f"no role of yours holds {needed}{where}"
    else:
        groups = [clean(group, 60) for group in who.groups or () if group not in _COMMON]
        member = f" (groups: {', '.join(groups[:4])}{', …' if len(groups) > 4 else ''})" if groups else ""
        cause = f"you are {clean(who.username, 100)}{member}, and no role of yours holds {needed}{where}"
    return NotPermitted(error.message, code=error.code, cause=cause, next_step=_roles(client, right, needed, where))


def missing(client: Reader, target: Target, namespace: str, error: NotFound, *, verb: str = "ssh") -> NotFound:
    """Return the same "not there" with the namespaces that have the name, where the caller may list them."""
    kinds: tuple[Kind, ...] = (target.kind,) if target.kind is not None else ("vm", "vmi")
    places = _places(client, kinds, target.name)
    found = sorted({place for _, place in places or () if place != namespace})
    has_namespace = _has_namespace(client, namespace)
    kind = (places or ((kinds[0], ""),))[0][0]
    what = {"vm": "VM", "vmi": "VMI"}[kind]
    name = clean(target.name)
    if found:
        shown = ", ".join(clean(place, 63) for place in found[:_PLACES])
        more = f" and {len(found) - _PLACES} more" if len(found) > _PLACES else ""
        here = "" if has_namespace is not False else f"; there is no namespace {clean(namespace, 63)}"
        return NotFound(
            error.message,
            code="wrong-namespace",
            cause=f"a {what} of that name is in namespace{'s' if len(found) > 1 else ''} {shown}{more}{here}",
            next_step=f"name the namespace: {again(verb, target_word(kind, target.name, found[0]))}",
        )
    if has_namespace is False:
        return NotFound(
            f"there is no namespace {clean(namespace, 63)}",
            code="namespace-not-found",
            cause=f"so there is no {name} in it either"
            + ("" if places is not None else "; whether another namespace has it is unknown: you may not list them all"),
            next_step="see which there are: kubectl get namespaces",
        )
    if places is None:
        cause = f"whether another namespace has it is unknown: you may not list {what}s of all namespaces"
        next_step = f"see what is here: vmbroker vms -n {clean(namespace, 63)}; or name its namespace with -n"
    else:
        cause = "no other namespace has one of that name either"
        next_step = f"see what is there: vmbroker vms -n {clean(namespace, 63)}, or vmbroker vms -A"
    return NotFound(error.message, code=error.code, cause=cause, next_step=next_step)


def absent(client: Reader, error: BrokerError) -> BrokerError:
    """Tell a cluster without KubeVirt from a server that is no Kubernetes API server at this path."""
    version = ""
    try:
        found = json.loads(client.get("/version"))
        version = found.get("gitVersion", "") if isinstance(found, dict) else ""
        is_kubernetes = bool(version) and isinstance(version, str)
    except NotPermitted:
        is_kubernetes = True
    except BrokerError as exc:
        if exc.code != "api-absent":
            return error
        is_kubernetes = False
    except (ValueError, RecursionError):
        is_kubernetes = False
    if not is_kubernetes:
        return Unreachable(
            error.message,
            code=error.code,
            cause="what answers at this address and path is no Kubernetes API server: it knows no /version either",
            next_step="check the server URL and its path in the kubeconfig",
        )
    told = f" ({clean(version, 40)})" if version else ""
    return Unreachable(
        "KubeVirt is not installed on this cluster",
        code="kubevirt-absent",
        cause=f"its API server{told} answers and knows no API group kubevirt.io",
        next_step="name another cluster with --context (see kubectl config get-contexts), or have KubeVirt installed here",
    )


def unregistered(error: BrokerError) -> BrokerError:
    """Return the error for a cluster that has KubeVirt's objects and not its subresources."""
    return Unreachable(
        "the API server knows KubeVirt's objects, but not its virt-api",
        code="virt-api-absent",
        cause=error.cause,
        next_step="look at APIService v1.subresources.kubevirt.io: KubeVirt is not, or no longer, whole",
    )


def turned_away(endpoint: Endpoint, error: CredentialError) -> CredentialError:
    """Return the same refusal of a credential with the time at which it ended, where it carries one."""
    try:
        held = endpoint.credential()
    except BrokerError:
        return error
    who = f"user {clean(endpoint.user, 63)!r} of context {clean(endpoint.context, 63)!r}"
    late_s = time.time() - held.expires_at if held.expires_at is not None else -1.0
    if held.expires_at is None or late_s < 0:
        return CredentialError(
            error.message,
            code=error.code,
            cause=f"the {held.kind} of {who} was revoked, is wrong, or has expired without saying when: unknown which"
            if held.expires_at is None
            else f"the {held.kind} of {who} has not expired: it was revoked, or belongs to another cluster",
            next_step="log in again, then try again",
        )
    ended = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(held.expires_at))
    return CredentialError(
        f"your {held.kind} has expired",
        code="credential-expired",
        cause=f"that of {who} ended at {ended}, {_ago(late_s)} ago",
        next_step="log in again, then try again",
    )


def _who(client: Reader) -> _UserInfo | None:
    body = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
    try:
        found = msgspec.json.decode(client.post(_WHO, body), type=_SelfReview).status.user_info
    except (BrokerError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if found.username else None


def _roles(client: Reader, right: Right, needed: str, where: str) -> str:
    try:
        names = holders(decode_cluster_roles(client.get(_ROLES)), right)
    except BrokerError:
        usual = documented(right)
        if not usual:
            return f"ask for a role with {needed}{where}; which ClusterRole holds it is unknown: you may not list them"
        return (
            f"ask for ClusterRole {' or '.join(usual)}{where}"
            " (KubeVirt's own; whether they are unchanged here is unknown: you may not list ClusterRoles)"
        )
    if not names:
        return f"no ClusterRole that you may read holds it: ask for a Role with {needed}{where}"
    shown = ", ".join(clean(name, 63) for name in names[:SHOWN])
    return f"ask for one of the ClusterRoles that hold it{where}: {shown}"


def _places(client: Reader, kinds: Sequence[Kind], name: str) -> tuple[tuple[Kind, str], ...] | None:
    """The (kind, namespace) pairs that have this name; None where no kind may be listed."""
    found: list[tuple[Kind, str]] = []
    answers = 0
    for kind in kinds:
        resource = VIRTUAL_MACHINES if kind == "vm" else VIRTUAL_MACHINE_INSTANCES
        query = urlencode({"fieldSelector": f"metadata.name={name}", "limit": "50"})
        try:
            metas = decode_names(client.get(f"{resource.path()}?{query}"))
        except BrokerError:
            continue
        answers += 1
        found += [(kind, meta.namespace) for meta in metas if meta.name == name and meta.namespace]
        if found:
            break
    return tuple(found) if answers else None


def _has_namespace(client: Reader, namespace: str) -> bool | None:
    try:
        decode_namespace(client.get(f"/api/v1/namespaces/{quote(namespace, safe='')}"))
    except BrokerError as exc:
        return False if exc.code == "namespace-not-found" else None
    return True


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{int(seconds)} s"
    if seconds < 7200:
        return f"{int(seconds // 60)} min"
    return f"{int(seconds // 3600)} h" if seconds < 172_800 else f"{int(seconds // 86_400)} days"
