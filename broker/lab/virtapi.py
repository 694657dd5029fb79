"""virt-api's front as far as the lab has it: which subresource request goes where, and its error answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from broker.lab.authn import User
from broker.lab.faults import UNREACHABLE_TEXTS, Faults
from broker.lab.power import VERBS as POWER_VERBS
from broker.lab.rbac import Attributes, Decision

__all__ = ["Denial", "NotAvailable", "VirtApi", "plain", "status_answer"]

Json = dict[str, Any]
_Handler = Callable[[web.Request, str, str, str, tuple[str, ...]], Awaitable[web.StreamResponse]]
"""Takes the request, the kind's plural, namespace, name and the segments after the subresource."""

KINDS = {"virtualmachines": "virtualmachine", "virtualmachineinstances": "virtualmachineinstance"}
_INFORMATION = ("guestosinfo", "userlist", "filesystemlist")


class Denial(Exception):
    """A request that virt-api answers with an error: the response to give."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


class NotAvailable(Exception):
    """A subresource the lab does not serve (yet)."""


def plain(status: int, text: str) -> web.Response:
    """A plain text answer, as virt-api gives for some errors."""
    return web.Response(status=status, text=text, content_type="text/plain", charset="utf-8")


def status_answer(
    code: int, reason: str, message: str, *, kind: str | None = None, name: str | None = None, causes: tuple[str, ...] = ()
) -> web.Response:
    """A `metav1.Status` answer of virt-api (k8s.io/apimachinery, api/errors); `kind` and `name` fill `details`."""
    details: Json = {}
    if name is not None:
        details |= {"name": name, "group": "kubevirt.io", "kind": kind}
    if causes:
        details["causes"] = [{"message": cause} for cause in causes]
    body: Json = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
    }
    if details:
        body["details"] = details
    body["code"] = code
    return web.Response(status=code, body=json.dumps(body, indent=1).encode(), content_type="application/json")


def not_found(kind: str, name: str) -> web.Response:
    """The 404 for an object of kubevirt.io."""
    return status_answer(404, "NotFound", f'{kind}.kubevirt.io "{name}" not found', kind=kind, name=name)


def conflict(kind: str, name: str, why: str) -> web.Response:
    """The 409 for an object in a state that forbids the call."""
    message = f'Operation cannot be fulfilled on {kind}.kubevirt.io "{name}": {why}'
    return status_answer(409, "Conflict", message, kind=kind, name=name)


def internal_error(why: str, *, has_cause: bool = True) -> web.Response:
    """The 500 of apimachinery's NewInternalError."""
    return status_answer(500, "InternalError", f"Internal error occurred: {why}", causes=(why,) if has_cause else ())


class VirtApi:
    """The handler that the API server gives each subresource request to, after its own authorisation.

    `allowed` is virt-api's own SubjectAccessReview (pkg/virt-api/rest/authorizer.go). `lifecycle` answers start, stop and
    their like (verb, namespace, name, body); without it they are absent.
    """

    def __init__(
        self,
        *,
        allowed: Callable[[User, Attributes], Decision],
        portforward: _Handler,
        information: Callable[[str, str, str], web.Response],
        faults: Faults,
        lifecycle: Callable[[str, str, str, bytes], web.Response] | None = None,
    ) -> None:
        self._allowed = allowed
        self._portforward = portforward
        self._information = information
        self._lifecycle = lifecycle
        self._faults = faults

    async def answer(
        self,
        request: web.Request,
        user: User,
        resource: str,
        namespace: str,
        name: str,
        subresource: str,
        rest: tuple[str, ...],
    ) -> web.StreamResponse:
        """Answer one request; raises NotAvailable for what the lab does not have."""
        if self._faults.virt_api_unreachable is not None:
            self._faults.met("virt-api-unreachable")
            return plain(*UNREACHABLE_TEXTS[self._faults.virt_api_unreachable])
        is_stream = subresource == "portforward" and resource in KINDS and 1 <= len(rest) <= 2 and request.method == "GET"
        is_information = subresource in _INFORMATION and resource == "virtualmachineinstances" and not rest
        is_information = is_information and request.method == "GET"
        is_order = subresource in POWER_VERBS.get(resource, ()) and not rest and request.method == "PUT"
        is_order = is_order and self._lifecycle is not None
        if not (is_stream or is_information or is_order):
            raise NotAvailable
        if (is_stream or is_order) and not _accepts_anything(request):
            return plain(406, "406: Not Acceptable\n\nAvailable representations: ")
        decision = self._allowed(
            user,
            Attributes(
                verb="update" if is_order else "get",
                group="subresources.kubevirt.io",
                resource=resource,
                subresource=subresource,
                namespace=namespace,
                name=name,
            ),
        )
        if not decision.allowed:
            return plain(401, decision.reason or "no reason given")
        try:
            if is_stream:
                return await self._portforward(request, resource, namespace, name, rest)
            if is_order and self._lifecycle is not None:
                return self._lifecycle(subresource, namespace, name, await request.read())
            return self._information(namespace, name, subresource)
        except Denial as denial:
            return denial.response


def _accepts_anything(request: web.Request) -> bool:
    """A route that names no content type matches only `*/*` (go-restful), which an absent header means."""
    accept = ",".join(request.headers.getall("Accept", [])) or "*/*"
    return any(word.split(";")[0].strip() == "*/*" for word in accept.split(","))
