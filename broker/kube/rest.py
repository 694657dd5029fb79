"""Reading the API: one object, lists in pages, reviews; refusals and trouble become errors once.

Every call has a limit in seconds that its repetitions (401 once, 429 and 503 with Retry-After) share. A kept
connection that the server closed meanwhile says nothing about the server: for a GET the pool itself tries once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final, TypeVar

from broker.errors import BrokerError, Failed, TimedOut
from broker.kube.eventflow import EventFlow
from broker.kube.resources import Resource, Scope, list_query, watch_query
from broker.kube.session import Flow, Reply, Session
from broker.kube.status import READ_BYTES, Call, error_from_response
from broker.model.pages import Page

T = TypeVar("T")
TRIES: Final = 3
"""How often one call is sent at most while the server asks for patience (429, 503)."""
RESTARTS: Final = 2
"""How often a list starts anew when its continue token has expired (410)."""
JSON: Final = "application/json"
"""What reads accept; virt-api's streams and lifecycle calls answer it with 406, see ANY."""
ANY: Final = "*/*"
"""What calls to subresources.kubevirt.io accept (kubevirt.md M)."""


class Rest:
    """Calls to one cluster; `timeout_s` bounds each call, `page_size` (objects) each page of a list."""

    def __init__(self, session: Session, *, timeout_s: float = 30.0, page_size: int = 500) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._page_size = page_size

    async def get(self, path: str, call: Call, *, accept: str = JSON, timeout_s: float | None = None) -> bytes:
        """Return the body of a GET; any class of `broker.errors` that the answer or the network stands for."""
        return self._good(await self._call("GET", path, call, accept=accept, timeout_s=timeout_s), call)

    async def post(self, path: str, body: bytes, call: Call) -> bytes:
        """Return the answer of a POST of JSON bytes; errors as `get`."""
        return self._good(await self._call("POST", path, call, body=body), call)

    async def read(self, resource: Resource[T], namespace: str, name: str) -> T:
        """Return one object, decoded; NotFound and others as `get`."""
        path = resource.path(namespace, name)
        call = Call(verb="get", resource=resource.plural, path=self._sent(path), namespace=namespace, name=name)
        return resource.decode(await self.get(path, call))

    async def list_pages(
        self, resource: Resource[T], namespace: str | None = None, *, selector: str | None = None
    ) -> AsyncIterator[Page[T]]:
        """Yield a list page by page; `namespace` None means the whole cluster.

        A page with `is_first` starts the list, at the beginning and again each time the server lost its place (410 Expired);
        raises as `get`, and Failed (`list-endless`) for a server that hands out one continue token twice.
        """
        path = resource.path(namespace)
        call = Call(verb="list", resource=resource.plural, path=self._sent(path), namespace=namespace)
        token, restarts, seen = "", 0, set[str]()
        while True:
            query = list_query(limit=self._page_size, continue_token=token, selector=selector)
            reply = await self._call("GET", f"{path}?{query}", call)
            if reply.status == 410 and token and restarts < RESTARTS:
                token, restarts = "", restarts + 1
                seen.clear()
                continue
            page = resource.decode_page(self._good(reply, call))
            del reply
            yield replace(page, is_first=not token)
            token = page.continue_token
            if not token:
                return
            if token in seen:
                raise Failed(
                    f"the list of {resource.plural} never ends", code="list-endless", cause="a continue token came twice"
                )
            seen.add(token)

    async def list_page(self, resource: Resource[T], scope: Scope, *, token: str = "", is_whole: bool = False) -> Page[T]:
        """Return one page, asked for once: patience (429, 503) is the caller's, a refused login is renewed once.

        `is_whole` asks for everything at once; errors as `get`, Failed (`expired`) where the token's version is gone.
        """
        path = resource.path(scope.namespace)
        call = Call(verb="list", resource=resource.plural, path=self._sent(path), namespace=scope.namespace)
        query = list_query(
            limit=0 if is_whole else self._page_size, continue_token=token, selector=scope.selector, name=scope.name
        )
        reply = await self._call("GET", f"{path}?{query}" if query else path, call, tries=1)
        return resource.decode_page(self._good(reply, call))

    @asynccontextmanager
    async def watch(
        self, resource: Resource[T], scope: Scope, *, resource_version: str, watch_s: float
    ) -> AsyncIterator[EventFlow[T]]:
        """Open a watch for the block; `watch_s` is how long the server is asked to keep it. Errors as `get`.

        A refused login is renewed once; the head must come within the time of one call.
        """
        path = resource.path(scope.namespace)
        call = Call(verb="watch", resource=resource.plural, path=self._sent(path), namespace=scope.namespace)
        query = watch_query(resource_version=resource_version, timeout_s=watch_s, selector=scope.selector, name=scope.name)
        for is_last in (False, True):
            async with self._session.flow(f"{path}?{query}", accept=JSON, open_s=self._timeout_s) as flow:
                if flow.head.status == 401 and not is_last:
                    await self._session.forget_credentials()
                    continue
                if not 200 <= flow.head.status < 300:
                    body = await _beginning(flow, self._timeout_s)
                    raise self._error(replace(flow.head, body=body), call)
                yield EventFlow(flow, resource.decode, call)
                return

    def _sent(self, path: str) -> str:
        return self._session.endpoint.prefix + path

    def _good(self, reply: Reply, call: Call) -> bytes:
        if 200 <= reply.status < 300:
            return reply.body
        raise self._error(reply, call)

    def _error(self, reply: Reply, call: Call) -> BrokerError:
        return error_from_response(
            reply.status, reply.content_type, reply.body[:READ_BYTES], call, retry_after=reply.retry_after
        )

    async def _call(
        self,
        method: str,
        path: str,
        call: Call,
        *,
        accept: str = JSON,
        body: bytes | None = None,
        timeout_s: float | None = None,
        tries: int = TRIES,
    ) -> Reply:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        is_new_login, tried = False, 1
        while True:
            left_s = deadline - loop.time()
            if left_s <= 0:
                raise TimedOut(
                    f"{call.verb} of {call.what} took longer than {limit_s:g} s",
                    code="api-timeout",
                    next_step="try again later",
                )
            reply = await self._session.exchange(method, path, accept=accept, body=body, timeout_s=left_s)
            if reply.status == 401 and not is_new_login:
                is_new_login = True
                await self._session.forget_credentials()
                continue
            wait_s = self._patience(reply, call) if reply.status in (429, 503) else None
            if wait_s is None or tried >= tries or loop.time() + wait_s >= deadline:
                return reply
            tried += 1
            await asyncio.sleep(wait_s)

    def _patience(self, reply: Reply, call: Call) -> float | None:
        """Return how many seconds the server asks us to wait, None where it does not ask."""
        return self._error(reply, call).retry_after_s


async def _beginning(flow: Flow, limit_s: float) -> bytes:
    """Return the part of a refusal's body that is looked at, as far as it comes in time."""
    body = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while len(body) < READ_BYTES and (chunk := await flow.chunk()):
                body += chunk
    return body[:READ_BYTES]
