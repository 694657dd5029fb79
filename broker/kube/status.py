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
    NotFound,
    NotPermitted,
    Refused,
    TimedOut,
    Unreachable,
)
from broker.kube.answer import READ_BYTES, Answer, Call, read_answer

__all__ = ["READ_BYTES", "Answer", "Call", "error_from_response", "read_answer"]

VIRT_API_NEXT: Final = (
    "look at APIService v1.subresources.kubevirt.io and the virt-api pods (kubectl get pods -A -l kubevirt.io=virt-api); "
    "direct ways do not need it"
)
STRIPPED_CAUSE: Final = (
    "something between here and the API server removed the websocket upgrade (we asked, the server did not see it)"
)
STRIPPED_NEXT: Final = "use the API server's address directly, a TCP balancer, or a direct way; plain API calls keep working"
_AWAY: Final = ("error dialing backend:", "error trying to reach service:")
_LOST_UPGRADE: Final = "websocket: the client is not using the websocket protocol"
_FORBIDDEN: Final = r'\S+(?: "[^"]*")? is forbidden: User "(?P<user>(?:[^"\\]|\\.)*)" cannot (?P<verb>\S+) (?:resource|path) '
_NO_SUCH_PATH: Final = "the server could not find the requested resource"
_DENIED: Final = r'(?:Internal error occurred: )?admission webhook "[^"]*" denied the request'


def error_from_response(
    status: int, content_type: str, body: bytes, call: Call, *, retry_after: str | None = None
) -> BrokerError:
    """Return (never raise) the error that a refused answer stands for; every text in it is one clean line of ≤ 256 characters.

    `body` may be cut at `READ_BYTES`; `retry_after` is the header as received (RFC 9110 10.2.3, seconds only) and comes out as
    `retry_after_s`. `code` tells the causes apart: vm-stopped, port-refused, virt-api-unreachable, upgrade-stripped, …
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
    if answer.text.removeprefix("Bad Request").lstrip().startswith(_LOST_UPGRADE):
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
    is_away = answer.status in {502, 503, 504} and answer.reason != "Timeout"
    if answer.text.startswith(_AWAY) or (is_away and not answer.retry_after_s):
        return Unreachable(
            "the API server cannot reach KubeVirt's virt-api",
            code="virt-api-unreachable",
            cause=f"the API server says: {answer.shown or 'service unavailable'}"[:256],
            next_step=VIRT_API_NEXT,
        )
    return None


def _guest(answer: Answer, call: Call) -> BrokerError | None:
    # Loaded only where something failed: its patterns cost a start of `proxy` two milliseconds.
    from broker.kube.guest_answers import guest_error

    return guest_error(answer, call)


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
            "the API server does not accept your credential",
            code="unauthorized",
            cause="it has expired, was revoked, or was never good here: the server does not tell which",
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
    told = re.match(_FORBIDDEN, answer.text, re.DOTALL)
    if told is not None and told["user"] == "system:anonymous":
        return CredentialError(
            "the API server sees no credentials",
            code="anonymous",
            cause=f"the server says: {answer.shown}"[:256],
            next_step="check the user entry of this context in the kubeconfig",
        )
    if told is not None and told["verb"].startswith("impersonate"):
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
        cause=f"you are {clean(told['user'], 100)}, and no role of yours holds {_needed(call)}"[:256]
        if told is not None
        else f"the server says: {answer.shown}"[:256],
        next_step=_ask_for(call),
    )


def _right(call: Call) -> str:
    return clean(f"{call.resource}/{call.subresource}" if call.subresource else call.resource)


def _ask_for(call: Call) -> str:
    return f"ask for a role with {_needed(call)}"[:256]


def _needed(call: Call) -> str:
    group = clean(call.group) or "the core group"
    where = f" in namespace {clean(call.namespace)}" if call.namespace else ""
    return f"verb {clean(call.verb)} on {_right(call)} ({group}){where}"


def _quoted(answer: Answer) -> str:
    kind = "a web page" if answer.is_page else "text"
    return f"HTTP {answer.status} with {kind}: {answer.shown}"[:256] if answer.text else f"HTTP {answer.status} with no text"


def _not_there(answer: Answer, call: Call) -> BrokerError | None:
    if answer.status != 404:
        return None
    if answer.is_status and answer.text != _NO_SUCH_PATH:
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
    if re.match(_DENIED, answer.text):
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
