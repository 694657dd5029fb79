"""A real TLS API server in the test's own loop, whose answers may come bit by bit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from broker.kube.endpoint import Endpoint
from broker.lab.certificates import Authority, server_context
from tests.broker.kube.recorded_api import Answer, RecordedApi

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def streaming_api(folder: Path, handler: Handler) -> AsyncIterator[Endpoint]:
    """Serve until the block ends."""
    authority = Authority.create()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(authority, authority.server(), folder)).start()
    recorded = RecordedApi(folder=folder, authority=authority, script=lambda asked: Answer(), port=runner.addresses[0][1])
    try:
        yield recorded.endpoint()
    finally:
        await runner.cleanup()


def is_watch(request: web.Request) -> bool:
    """Say whether a request asks for a watch."""
    return request.query.get("watch") == "1"


def vm(name: str, version: int, uid: str = "u1") -> dict[str, Any]:
    """A VirtualMachine of the namespace shop."""
    return {"metadata": {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": str(version)}, "spec": {}}


def listed(*items: dict[str, Any], version: int) -> web.Response:
    """A whole list."""
    return web.json_response({"metadata": {"resourceVersion": str(version)}, "items": list(items)})


def status(code: int, reason: str, **headers: str) -> web.Response:
    """A refusal."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code}
    return web.json_response(body, status=code, headers={k.replace("_", "-"): v for k, v in headers.items()})


def line(kind: str, obj: dict[str, Any]) -> bytes:
    """One event."""
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


async def streamed(request: web.Request, *parts: bytes) -> web.StreamResponse:
    """Begin a stream with these bytes; the caller goes on or ends it."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    answer.enable_chunked_encoding()
    await answer.prepare(request)
    for part in parts:
        await answer.write(part)
    return answer
