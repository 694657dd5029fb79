"""Lets requests meet the faults in force: late, never, failed as a real server fails, or cut off in the middle."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import web

from broker.lab.answers import ApiError, absent_page, forbidden
from broker.lab.authn import User
from broker.lab.fault_rules import Asked, Rule
from broker.lab.faults import Faults
from broker.lab.rbac import Attributes

__all__ = ["FaultGate"]

_TOO_MANY = "Too many requests, please try again later.\n"
"""Priority and fairness (apiserver/pkg/server/filters/priority-and-fairness.go), in plain text."""
_NOT_READY = "the request has been made before all known HTTP paths have been installed, please retry"
"""The 503 of a kube-apiserver that starts (apiserver/pkg/util/notfoundhandler/not_found_handler.go)."""
_NO_STORAGE = "etcdserver: request timed out"
_LOOK_AGAIN_S = 0.01


class FaultGate:
    """Stands between authentication and authorisation of every request."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def pass_through(self, request: web.Request, user: User, asked: Attributes, path: str) -> web.Response | None:
        """Let a request meet its faults; returns the failure to answer with, None where it goes on. ApiError as well."""
        transport: object = request.protocol.transport
        if isinstance(transport, _CutTransport):
            # The answer before was shorter than its fault: the count does not go on over this one.
            request.protocol.transport = transport.whole
        if not self._faults.rules:
            return None
        answer: web.Response | None = None
        for rule in self._faults.take(Asked(path=path, verb=asked.verb, user=user.name)):
            if rule.name == "latency":
                await asyncio.sleep(rule.value)
            elif rule.name == "hang":
                await self._faults.until_gone(rule)
            elif rule.name == "drop":
                _cut_later(request, int(rule.value))
            elif answer is None:
                answer = _failure(rule, user, asked)
        return answer


def _failure(rule: Rule, user: User, asked: Attributes) -> web.Response:
    status = int(rule.value)
    if status == 401:
        answer = ApiError(401, "Unauthorized", "Unauthorized").response()
    elif status == 403:
        answer = forbidden(user, asked).response()
    elif status == 404:
        answer = absent_page()
    elif status == 429:
        answer = web.Response(status=429, text=_TOO_MANY, headers={"X-Content-Type-Options": "nosniff", "Retry-After": "1"})
    elif status == 500:
        answer = ApiError(500, "", _NO_STORAGE).response()
    else:
        details = {"retryAfterSeconds": 5}
        answer = ApiError(503, "ServiceUnavailable", _NOT_READY, details=details, retry_after_s=5).response()
    if rule.retry_after_s is not None:
        answer.headers["Retry-After"] = str(rule.retry_after_s)
    return answer


def _cut_later(request: web.Request, after_bytes: int) -> None:
    """Give the request's connection a transport that ends after so many bytes; at once for none."""
    protocol, transport = request.protocol, request.transport
    if transport is None:
        return
    if after_bytes == 0:
        transport.abort()
        return
    protocol.transport = cast(asyncio.Transport, _CutTransport(transport, after_bytes))


class _CutTransport:
    """A connection that breaks off: passes `left_bytes` on, then aborts; everything else is the real transport's."""

    def __init__(self, transport: asyncio.Transport, left_bytes: int) -> None:
        self._transport = transport
        self._left_bytes = left_bytes
        self._is_cut = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def whole(self) -> asyncio.Transport:
        """The transport behind."""
        return self._transport

    def is_closing(self) -> bool:
        """Whether the connection is cut or closes."""
        return self._is_cut or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Pass on what may still pass."""
        if self._is_cut:
            return
        passed = memoryview(data)[: self._left_bytes]
        self._left_bytes -= len(passed)
        self._transport.write(bytes(passed))
        if self._left_bytes == 0:
            self._is_cut = True
            self._cut()

    def writelines(self, parts: list[bytes]) -> None:
        """The same for several parts."""
        self.write(b"".join(parts))

    def _cut(self) -> None:
        if self._transport.get_write_buffer_size() and not self._transport.is_closing():
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._cut)
        else:
            self._transport.abort()
