"""The API server's error answers: `metav1.Status` bodies with the texts of k8s.io/apimachinery, and its plain 404."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from broker.lab.authn import User
from broker.lab.rbac import Attributes

__all__ = ["ApiError", "absent_page", "answer_json", "bad_request", "expired", "forbidden", "not_found", "status_body"]

Json = dict[str, Any]


class ApiError(Exception):
    """A request that ends with a Status: HTTP code, reason ("" for none), message, details, list metadata, `Retry-After`."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.body = status_body(code, reason, message, details=details, metadata=metadata)
        self.retry_after_s = retry_after_s

    def response(self) -> web.Response:
        """The answer to send."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return answer_json(self.body, status=self.code, headers=headers)


def status_body(
    code: int,
    reason: str,
    message: str,
    *,
    details: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Json:
    """Return a failure Status in the field order of the real server."""
    body: Json = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": dict(metadata or {}),
        "status": "Failure",
        "message": message,
    }
    if reason:
        body["reason"] = reason
    if details:
        body["details"] = dict(details)
    body["code"] = code
    return body


def answer_json(
    body: object, *, status: int = 200, headers: Mapping[str, str] | None = None, content_type: str = "application/json"
) -> web.Response:
    """Return a JSON answer; a string or bytes body is JSON text already."""
    raw = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    return web.Response(status=status, body=raw, headers={"Content-Type": content_type, **(headers or {})})


def absent_page() -> web.Response:
    """The answer for a path that no API group serves (kube-apiserver's last handler)."""
    return web.Response(status=404, body=b"404 page not found\n", headers={"Content-Type": "text/plain; charset=utf-8"})


def not_found(group: str, plural: str, name: str) -> ApiError:
    """The 404 for an object."""
    qualified = f"{plural}.{group}" if group else plural
    details = {"name": name, **({"group": group} if group else {}), "kind": plural}
    return ApiError(404, "NotFound", f'{qualified} "{name}" not found', details=details)


def bad_request(message: str) -> ApiError:
    """The 400 without details."""
    return ApiError(400, "BadRequest", message)


def expired(message: str, *, metadata: Mapping[str, Any] | None = None) -> ApiError:
    """The 410 for a version that is gone."""
    return ApiError(410, "Expired", message, metadata=metadata)


def forbidden(user: User, asked: Attributes) -> ApiError:
    """The 403 of the RBAC authoriser (apiserver/pkg/endpoints/handlers/responsewriters/errors.go)."""
    if asked.path:
        message = f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"'
        return ApiError(403, "Forbidden", message, details={})
    resource = asked.resource + (f"/{asked.subresource}" if asked.subresource else "")
    qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    named = f'{qualified} "{asked.name}"' if asked.name else qualified
    place = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    what = f'resource "{resource}" in API group "{asked.group}" {place}'
    message = f'{named} is forbidden: User "{user.name}" cannot {asked.verb} {what}'
    details = {
        **({"name": asked.name} if asked.name else {}),
        **({"group": asked.group} if asked.group else {}),
        "kind": asked.resource,
    }
    return ApiError(403, "Forbidden", message, details=details)
