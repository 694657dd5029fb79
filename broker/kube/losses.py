"""Why no answer came, in words for a person: what sockets, TLS, http.client and aiohttp raise says it in their own.

Both ways of asking, the blocking one and the pool, take their errors from here, so that one fault has one answer.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from typing import Final

from broker.clean import clean
from broker.errors import TimedOut, Unreachable

_MIDDLE: Final = "the connection was lost in the middle of the answer"
_NO_ANSWER: Final = "the connection was closed before an answer came"
_BROKEN: Final = "the connection broke off"
_LONG: Final = "a line of its answer's head is too long"
_NOT_HTTP: Final = {
    "LineTooLong": _LONG,
    "BadStatusLine": "its answer does not begin as HTTP does",
    "UnknownProtocol": "its answer is of another version of HTTP",
}
_SAID: Final = (("Got more than", _LONG), ("Bad status line", _NOT_HTTP["BadStatusLine"]))
"""How aiohttp's words for the same begin."""


def lost(error: BaseException) -> Unreachable:
    """Return the error for a connection to the API server that broke."""
    return Unreachable(
        "the connection to the API server was lost",
        code="connection-lost",
        cause=reason_of(error),
        next_step="try again; look at the network and the balancer before the API server",
    )


def closed_early() -> Unreachable:
    """Return the error for a connection that ended before the head of an answer was whole."""
    return lost(ConnectionAbortedError())


def late(server: str, limit_s: float) -> TimedOut:
    """Return the error for an answer that was not whole within `limit_s` seconds; `server` is `the API server HOST`, clean."""
    return TimedOut(
        f"{server} gave no whole answer within {limit_s:.3g} s",
        code="api-timeout",
        cause="it was reached; it is slow or hangs, or the network loses packets",
        next_step="try again; if it needs longer, raise api.timeout_s",
    )


def not_http(error: BaseException) -> Unreachable:
    """Return the error for an answer that is no HTTP, or no HTTP that is taken."""
    name = type(error).__name__
    said = str(getattr(error, "message", error))
    many = said.startswith(("got more than 100 headers", "Too many headers"))
    named = _NOT_HTTP.get(name) or next((words for start, words in _SAID if said.startswith(start)), None)
    return Unreachable(
        "what answers at the server's address does not speak HTTP as a Kubernetes API server does",
        code="not-http",
        cause="its answer has more than 100 headers" if many else named or "its answer's head cannot be read",
        next_step="check the server URL in the kubeconfig",
    )


def reason_of(error: BaseException) -> str:
    """Say in one clean line why a connection broke; no class, function or file of a library is named."""
    inner = getattr(error, "os_error", None) or error
    names = {each.__name__ for each in type(inner).__mro__}
    if "ClientPayloadError" in names or "IncompleteRead" in names:
        is_packed = isinstance(inner.__cause__, Exception) and type(inner.__cause__).__name__ == "ContentEncodingError"
        return "the answer is packed in a way that cannot be unpacked" if is_packed else _MIDDLE
    if "ServerDisconnectedError" in names or "RemoteDisconnected" in names or isinstance(inner, ConnectionAbortedError):
        return _NO_ANSWER
    if isinstance(inner, ssl.SSLError):
        told = getattr(inner, "verify_message", None) or (inner.reason or "failed").replace("_", " ").lower()
        return f"TLS: {clean(told, 120)}"
    if isinstance(inner, socket.gaierror):
        return clean(inner.strerror or "the name cannot be looked up")
    if isinstance(inner, OSError) and inner.errno and inner.errno > 0:
        return os.strerror(inner.errno)
    if isinstance(inner, ConnectionResetError | BrokenPipeError):
        return "the connection was reset"
    return _BROKEN if _is_of_library(inner) else clean(inner) or _BROKEN


def _is_of_library(error: BaseException) -> bool:
    """Say whether aiohttp or asyncio worded it: then it speaks of its own insides."""
    aiohttp = sys.modules.get("aiohttp")
    return isinstance(error, OSError) or (aiohttp is not None and isinstance(error, aiohttp.ClientError))
