"""A real TLS API server of a few prepared answers, which remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from broker.config.settings import Settings, built_in
from broker.kube.endpoint import Endpoint, open_endpoint
from broker.lab.certificates import Authority, server_context


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One prepared answer; `closes` drops the connection without a word instead, `delay_s` waits before it."""

    status: int = 200
    body: bytes = b"{}"
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = False
    delay_s: float = 0


Script = Callable[[Asked], Answer]


def answer(value: object, status: int = 200, **headers: str) -> Answer:
    """Return a JSON answer; header names are written with `_` for `-`."""
    return Answer(status=status, body=json.dumps(value).encode(), headers={k.replace("_", "-"): v for k, v in headers.items()})


def refused(status: int, reason: str, message: str, **headers: str) -> Answer:
    """Return a Status as the API server writes it."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status,
    }
    return answer(body, status, **headers)


def captured(shared: Path, name: str) -> Answer:
    """Return what the real server answered (`captures/NAME.json`)."""
    response: dict[str, Any] = json.loads((shared / "captures" / f"{name}.json").read_text())["response"]
    content_type = response["headers"].get("Content-Type", "application/json")
    body = json.dumps(response["json"]) if "json" in response else response["text"]
    return Answer(status=response["status"], body=body.encode(), content_type=content_type)


@dataclass(slots=True, kw_only=True)
class RecordedApi:
    """The running server: its port, what it was asked, and the script that a test may change."""

    folder: Path
    authority: Authority
    script: Script
    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    def endpoint(
        self, *, prefix: str = "", ca: bytes | None = None, server: str | None = None, server_name: str | None = None
    ) -> Endpoint:
        """Write a kubeconfig for this server and open it as the program does."""
        cluster = {
            "server": server or f"https://127.0.0.1:{self.port}{prefix}",
            "certificate-authority-data": b64encode(ca or self.authority.certificate_pem).decode(),
            **({"tls-server-name": server_name} if server_name else {}),
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"tokenFile": str(self.token_file)}}],
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        }
        path = self.folder / "kubeconfig.yaml"
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return open_endpoint(kubeconfig=str(path), context=None, namespace=None, as_user=None, environ={})

    @property
    def token_file(self) -> Path:
        """The file that holds the bearer token."""
        path = self.folder / "token"
        if not path.exists():
            path.write_text("token-one")
        return path

    @property
    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [asked.path for asked in self.asked]


def settings() -> Settings:
    """The settings of a machine that has none."""
    return built_in()


@contextmanager
def recorded_api(folder: Path, script: Script) -> Iterator[RecordedApi]:
    """Run the server in a thread of its own until the block ends."""
    authority = Authority.create()
    api = RecordedApi(folder=folder, authority=authority, script=script)
    context = server_context(authority, authority.server(), folder)
    started = threading.Event()
    stop: list[Callable[[], object]] = []
    ending: list[asyncio.Future[None]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = Asked(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=dict(request.headers),
            body=await request.read(),
        )
        api.asked.append(asked)
        given = api.script(asked)
        if given.delay_s:
            await asyncio.wait([ending[0]], timeout=given.delay_s)
        if given.closes and request.transport is not None:
            request.transport.abort()
        headers = {"Content-Type": given.content_type, **given.headers}
        return web.Response(status=given.status, body=given.body, headers=headers)

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 22)
        app.router.add_route("*", "/{tail:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        api.port = runner.addresses[0][1]
        loop = asyncio.get_running_loop()
        ending.append(loop.create_future())
        stop.append(lambda: loop.call_soon_threadsafe(ending[0].set_result, None))
        started.set()
        await ending[0]
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield api
    finally:
        stop[0]()
        thread.join(10)
