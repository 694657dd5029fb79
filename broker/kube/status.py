"""A refused answer of the API server or of virt-api, as one error with its true cause.

One mapping for REST calls and websocket upgrades (KubeVirt: pkg/virt-api/rest/{streamer,dialers,authorizer}.go;
Kubernetes: apimachinery metav1.Status). Pure: bytes in, error out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from broker.clean import clean
from broker.errors import (
    BrokerError,
    CredentialError,
    Failed,
    GuestUnready,
    NotFound,
    NotPermitted,
    Refused,
    TimedOut,
    Unreachable,
    UsageError,
)
from broker.kube.answer import READ_BYTES, Answer, Call, read_answer

__all__ = ["READ_BYTES", "Answer", "Call", "error_from_response", "read_answer"]

VIRT_API_NEXT: Final = "look at APIService v1.subresources.kubevirt.io and the virt-api pods; direct ways do not need it"
STRIPPED_CAUSE: Final = (
    "something between here and the API server removed the websocket upgrade (we asked, the server did not see it)"
)
STRIPPED_NEXT: Final = "use the API server's address directly, a TCP balancer, or a direct way; plain API calls keep working"
_AGENT_SUBRESOURCES: Final = frozenset({"guestosinfo", "userlist", "filesystemlist"})


def error_from_response(
    status: int, content_type: str, body: bytes, call: Call, *, retry_after: str | None = None
) -> BrokerError:
    """Return (never raise) the error that a refused answer stands for; every text in it is one clean line of ≤ 256 characters.

    `body` may be cut at `READ_BYTES`; `retry_after` is the header as received (RFC 9110 10.2.3, seconds only) and comes out as
    `retry_after_s`. `code` tells the causes apart: vm-stopped, port-closed, virt-api-unreachable, upgrade-stripped, …
    """
    answer = read_answer(status, content_type, body, retry_after)
    for judge in _JUDGES:
        error = judge(answer, call)
        if error is not None:
            break
    else:
        error = _anything(answer, call)
    error.retry_after_s = answer.retry_after_s
    return error


# The judges, in order: the first that knows the answer names it.


def _not_an_upgrade(answer: Answer, call: Call) -> BrokerError | None:
    if "not using the websocket protocol" in answer.text:
        return Unreachable(
            f"no way to {call.what}: the websocket upgrade was lost",
            code="upgrade-stripped",
            cause=STRIPPED_CAUSE,
            next_step=STRIPPED_NEXT,
        )
    if 300 <= answer.status < 400:
        return Unreachable(
            "the server answered with a redirect",
            code="redirected",
            cause="this address is a login page or a moved server, not a Kubernetes API server",
            next_step="check the server URL in the kubeconfig",
        )
    if answer.status < 300:
        return Unreachable(
            f"the server answered {answer.status} where the websocket upgrade of {call.what} was due",
            code="upgrade-ignored",
            cause=STRIPPED_CAUSE,
            next_step=STRIPPED_NEXT,
        )
    return None


def _virt_api_away(answer: Answer, call: Call) -> BrokerError | None:
    if answer.is_page or not call.is_virt_api:
        return None
    text = answer.text.lower()
    is_away = answer.status in {502, 503, 504} and answer.reason != "Timeout"
    if "error dialing backend" in text or (is_away and not answer.retry_after_s):
        return Unreachable(
            "the API server cannot reach KubeVirt's virt-api",
            code="virt-api-unreachable",
            cause=f"the API server says: {answer.shown or 'service unavailable'}"[:256],
            next_step=VIRT_API_NEXT,
        )
    return None


def _guest(answer: Answer, call: Call) -> BrokerError | None:
    if not call.is_virt_api or answer.status not in {400, 409, 500}:
        return None
    text = answer.text
    if "dialing VM:" in text:
        return _dial_error(text.split("dialing VM:", 1)[1].strip(), call)
    for words, code, message, next_step in _GUEST_TEXTS:
        if words in text:
            cause = f"KubeVirt says: {answer.shown}"[:256]
            return GuestUnready(f"{call.what} {message}", code=code, cause=cause, next_step=next_step)
    if call.subresource in _AGENT_SUBRESOURCES and answer.status == 500 and text.endswith(" not found"):
        return GuestUnready(
            f"{call.what} has no guest agent that answers",
            code="agent-absent",
            next_step="install qemu-guest-agent in the guest",
        )
    if answer.status == 500 and not text:
        return Unreachable(
            "KubeVirt's virt-api could not check the caller's rights",
            code="access-check-failed",
            cause="virt-api answered 500 with no text: its SubjectAccessReview call failed",
            next_step="try again; look at the log of the virt-api pods",
        )
    return None


_GUEST_TEXTS: Final = (
    ("VMI is not started", "vm-stopped", "is stopped", "start the VM, then try again"),
    ("VMI is paused", "vm-paused", "is paused", "unpause the VM, then try again"),
    (
        "no network interfaces are present",
        "no-interface",
        "has no network interface in its status yet",
        "wait until the VMI shows an interface; if it never does, look at its networks",
    ),
    (
        "unable to retrieve vmi",
        "vmi-foreign",
        "has no instance of its own",
        "an instance of that name belongs to something else: delete it, or name it as vmi/NAME",
    ),
    (
        "No virt-handler on node",
        "virt-handler-absent",
        "runs on a node whose virt-handler does not answer",
        "look at the virt-handler pod of that node",
    ),
)


def _dial_error(text: str, call: Call) -> BrokerError:
    """What virt-api's own net.Dial said (Go net package; the address stands in front of the last texts)."""
    found = re.match(r"dial (?P<net>\S+?):? (?P<address>\S*?):(?P<port>[0-9]+): ", text)
    address, port = (found["address"], found["port"]) if found else ("", "")
    lower = text.lower()
    cause = f"virt-api says: {clean(text)}"[:256]
    if "invalid port" in lower or "unknown port" in lower:
        return UsageError("no such port on any machine", code="bad-port", cause=cause, next_step="give a port from 1 to 65535")
    if "unknown network" in lower:
        return UsageError("KubeVirt forwards tcp and udp only", code="bad-protocol", cause=cause)
    if found and not address:
        return GuestUnready(
            f"the first interface of {call.what} has no address",
            code="no-address",
            cause="virt-api dialled its own pod, since the interface's address is empty",
            next_step="wait for an address (the guest agent may report the interface without one), or take a direct way",
        )
    where = f"port {port} of {call.what}" if port else str(call.what)
    for words, code, message, next_step in _DIAL_TEXTS:
        if words in lower:
            return GuestUnready(f"{where} {message}", code=code, cause=cause, next_step=next_step)
    return GuestUnready(
        f"virt-api could not connect to {where}", code="dial-failed", cause=cause, next_step="look at the guest's network"
    )


_FILTERED_NEXT: Final = (
    "the port is filtered (NetworkPolicy, guest firewall) or its network is not routed from virt-api "
    "(primary UDN, secondary network): take a direct way"
)
_DIAL_TEXTS: Final = (
    (
        "connection refused",
        "port-closed",
        "is closed",
        "start sshd in the guest, give the right port, or list the port on the masquerade interface",
    ),
    ("no route to host", "no-route", "has no route from virt-api", _FILTERED_NEXT),
    ("network is unreachable", "no-route", "has no route from virt-api", _FILTERED_NEXT),
    ("timed out", "port-filtered", "is filtered, or unreachable from the cluster's virt-api", _FILTERED_NEXT),
    ("timeout", "port-filtered", "is filtered, or unreachable from the cluster's virt-api", _FILTERED_NEXT),
    ("reset by peer", "port-closed", "was reset by the guest", "look at the service that listens there"),
)


def _caller(answer: Answer, call: Call) -> BrokerError | None:
    if answer.status == 401:
        if call.is_virt_api and not answer.is_status and not answer.is_page and not answer.text.startswith("{"):
            return NotPermitted(
                f"KubeVirt's virt-api does not let you {call.verb} {_right(call)} of {call.what}",
                code="forbidden-by-virt-api",
                cause=f"virt-api says: {answer.shown}"[:256] if answer.text else "virt-api gave no reason",
                next_step=_ask_for(call),
            )
        return CredentialError(
            "the API server does not accept the credentials",
            code="unauthorized",
            cause=f"the server says: {answer.shown}"[:256] if answer.text else None,
            next_step="log in again, then try again",
        )
    if answer.status != 403:
        return None
    if not answer.is_status:
        return NotPermitted(
            "something in front of the API server refused the request",
            code="forbidden-by-proxy",
            cause=_quoted(answer),
            next_step="check the server URL and the proxy of the kubeconfig",
        )
    if 'User "system:anonymous"' in answer.text:
        return CredentialError(
            "the API server sees no credentials",
            code="anonymous",
            cause=f"the server says: {answer.shown}"[:256],
            next_step="check the user entry of this context in the kubeconfig",
        )
    if "impersonate" in answer.text:
        return NotPermitted(
            "you may not act as that user or group",
            code="impersonation-forbidden",
            cause=f"the server says: {answer.shown}"[:256],
            next_step="leave out --as and --as-group, or ask for the right to impersonate",
        )
    thing = f"{_right(call)} of {call.what}" if call.name else call.what
    return NotPermitted(
        f"you may not {clean(call.verb)} {thing}",
        code="forbidden",
        cause=f"the server says: {answer.shown}"[:256],
        next_step=_ask_for(call),
    )


def _right(call: Call) -> str:
    return clean(f"{call.resource}/{call.subresource}" if call.subresource else call.resource)


def _ask_for(call: Call) -> str:
    group = clean(call.group) or "the core group"
    where = f" in namespace {clean(call.namespace)}" if call.namespace else ""
    return f"ask for a role with verb {clean(call.verb)} on {_right(call)} ({group}){where}"[:256]


def _quoted(answer: Answer) -> str:
    kind = "a web page" if answer.is_page else "text"
    return f"HTTP {answer.status} with {kind}: {answer.shown}"[:256] if answer.text else f"HTTP {answer.status} with no text"


def _not_there(answer: Answer, call: Call) -> BrokerError | None:
    if answer.status != 404:
        return None
    if answer.is_status and "could not find the requested resource" not in answer.text:
        said = answer.shown
        kind = next((kind for kind in ("VM", "VMI") if call.what.startswith(kind + " ")), None)
        if kind and said.startswith(("virtualmachine.", "virtualmachines.")):
            kind = "VM"
        elif kind and said.startswith(("virtualmachineinstance.", "virtualmachineinstances.")):
            kind = "VMI"
        is_namespace = said.startswith("namespaces ")
        return NotFound(
            f"{call.what} is not there" if not is_namespace else f"namespace {clean(call.namespace)} is not there",
            code="namespace-not-found" if is_namespace else f"{kind.lower()}-not-found" if kind else "not-found",
            cause=f"the server says: {said}"[:256],
            next_step=clean(call.user_hint) if call.user_hint else "check name and namespace, and the context",
        )
    place = f"the server at {clean(call.prefix)}" if call.prefix else "this server"
    api = "the KubeVirt API" if call.group.endswith("kubevirt.io") else f"the API group {clean(call.group) or 'v1'}"
    return Unreachable(
        f"{place} does not know {api}",
        code="api-absent",
        cause=_quoted(answer) if not answer.is_status else f"the server says: {answer.shown}"[:256],
        next_step="check the server URL and its path in the kubeconfig, and that KubeVirt is installed"
        if call.group.endswith("kubevirt.io")
        else "check that it is installed on this cluster",
    )


def _busy(answer: Answer, call: Call) -> BrokerError | None:
    if answer.status == 429 or (answer.status == 503 and answer.retry_after_s is not None):
        return Unreachable(
            "the API server is too busy for this request",
            code="api-busy",
            cause=f"HTTP {answer.status}: {answer.shown}"[:256],
            next_step="wait a moment, then try again",
        )
    if answer.status == 504 and answer.reason == "Timeout":
        return TimedOut(
            f"the API server gave up on {call.what}",
            code="api-timeout",
            cause=f"the server says: {answer.shown}"[:256],
            next_step="try again",
        )
    if answer.status in {502, 503, 504}:
        return Unreachable(
            "the API server is not available" if answer.is_status else "something in front of the API server cannot reach it",
            code="api-unavailable",
            cause=_quoted(answer),
            next_step="try again; look at the balancer and the API server",
        )
    return None


def _refused(answer: Answer, call: Call) -> BrokerError | None:
    cause = "the answer is not shown, since it may hold secret data"
    if call.resource != "secrets":
        cause = _quoted(answer) if not answer.is_status else f"the server says: {answer.shown}"[:256]
    if "denied the request" in answer.text:
        return Refused(f"a rule of the cluster forbids it for {call.what}", code="admission-denied", cause=cause)
    if answer.status == 409 and answer.reason == "AlreadyExists":
        return Refused(f"{call.what} is there already", code="already-exists", cause=cause)
    if answer.status == 409:
        return Refused(
            f"{call.what} does not allow this now", code="conflict", cause=cause, next_step="read it again, then try again"
        )
    if answer.status == 410:
        message = f"the server no longer has that version of {call.what}"
        return Failed(message, code="expired", cause=cause, next_step="try again")
    if answer.status in {406, 415}:
        return Failed("the server does not speak the format that was asked for", code="not-acceptable", cause=cause)
    if answer.status in {400, 422}:
        return Refused(f"the server finds the request for {call.what} invalid", code="invalid", cause=cause)
    return None


def _anything(answer: Answer, call: Call) -> BrokerError:
    hidden = call.resource == "secrets"
    return Failed(
        f"the server failed on {call.what} (HTTP {answer.status})",
        code="server-error",
        cause=None if hidden else _quoted(answer) if not answer.is_status else f"the server says: {answer.shown}"[:256],
        next_step="try again; if it stays, look at the API server's log",
    )


_JUDGES: Final[tuple[Callable[[Answer, Call], BrokerError | None], ...]] = (
    _not_an_upgrade,
    _virt_api_away,
    _guest,
    _caller,
    _not_there,
    _busy,
    _refused,
)
