"""Watches over TLS: against the lab, and against a server that breaks off, falls silent, forgets and refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from broker.errors import BrokerError, CredentialError, NotPermitted, Unreachable
from broker.kube.endpoint import Endpoint, open_endpoint
from broker.kube.resources import VIRTUAL_MACHINES, Scope
from broker.kube.rest import Rest
from broker.kube.session import open_session
from broker.kube.watch import Update, watch
from broker.kube.watchsteps import Timing
from broker.lab.cluster import Cluster, ClusterSettings
from broker.model.vm import VirtualMachine
from broker.tasks import Supervisor
from tests.broker.kube.streaming_api import Handler, is_watch, line, listed, status, streamed, streaming_api, vm

VMS = "virtualmachines.kubevirt.io"
SHOP = Scope(namespace="shop")
QUICK = Timing(list_gap_s=0.0, backoff_s=0.02, backoff_most_s=0.05, jitter_s=0.0, poll_s=0.02, unsynced_tries=3)
LIMIT_S = 15.0


class Seen:
    """What a watch has told, gathered by a task; `until` waits for a condition on it."""

    def __init__(self) -> None:
        self.updates: list[Update[VirtualMachine]] = []
        self._news = asyncio.Event()

    def take(self, update: Update[VirtualMachine]) -> None:
        self.updates.append(update)
        self._news.set()

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(change.kind, change.key[1]) for update in self.updates for change in update.changes]

    @property
    def states(self) -> list[str]:
        return [update.freshness.state for update in self.updates]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def watching(endpoint: Endpoint, scope: Scope = SHOP, timing: Timing = QUICK) -> AsyncIterator[Seen]:
    seen = Seen()

    async def follow(rest: Rest) -> None:
        async with aclosing(watch(rest, VIRTUAL_MACHINES, scope, timing=timing)) as updates:
            async for update in updates:
                seen.take(update)

    async with open_session(endpoint, connect_s=5) as session, Supervisor("test") as tasks:
        tasks.start(follow(Rest(session, timeout_s=5, page_size=2)), name="follow")
        yield seen


@asynccontextmanager
async def cluster(tmp_path: Path, *names: str) -> AsyncIterator[tuple[Cluster, Endpoint]]:
    async with Cluster.start(ClusterSettings(state_dir=tmp_path / "lab", has_seed=False, has_guests=False)) as running:
        for name in names:
            put(running, name)
        yield (
            running,
            open_endpoint(kubeconfig=str(running.kubeconfig()), context=None, namespace=None, as_user=None, environ={}),
        )


def put(running: Cluster, name: str, **labels: str) -> None:
    metadata = {"name": name, "namespace": "shop", "labels": labels}
    running.objects.put(VMS, {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata, "spec": {}})


# ---- against the lab ----


async def test_the_whole_list_comes_first_then_each_change(tmp_path: Path) -> None:
    async with cluster(tmp_path, "a", "b", "c") as (running, endpoint), watching(endpoint) as seen:
        await seen.until(lambda: "live" in seen.states)
        assert seen.changes == [("added", "a"), ("added", "b"), ("added", "c")]
        put(running, "d")
        put(running, "a", tier="gold")
        running.objects.delete(VMS, "shop", "b")
        await seen.until(lambda: len(seen.changes) == 6)
        assert seen.changes[3:] == [("added", "d"), ("changed", "a"), ("removed", "b")]
        assert sorted(key[1] for key in seen.updates[-1].objects) == ["a", "c", "d"]


async def test_one_object_and_a_selection_see_nothing_else(tmp_path: Path) -> None:
    one, gold = Scope(namespace="shop", name="a"), Scope(selector="tier=gold")
    async with cluster(tmp_path, "a", "b") as (running, endpoint):
        async with watching(endpoint, one) as alone, watching(endpoint, gold) as selected:
            await alone.until(lambda: "live" in alone.states)
            await selected.until(lambda: "live" in selected.states)
            put(running, "b", tier="gold")
            put(running, "b", tier="silver")
            put(running, "a", tier="gold")
            await selected.until(lambda: len(selected.changes) == 3)
            await alone.until(lambda: len(alone.changes) == 2)
    assert selected.changes == [("added", "b"), ("removed", "b"), ("added", "a")]
    assert alone.changes == [("added", "a"), ("changed", "a")]


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_a_watch_that_is_left_leaves_no_connection(tmp_path: Path, how: str) -> None:
    async with cluster(tmp_path, "a") as (running, endpoint):
        async with open_session(endpoint, connect_s=5) as session:
            if how == "closed":
                async with aclosing(watch(Rest(session), VIRTUAL_MACHINES, SHOP)) as updates:
                    async for update in updates:
                        if update.freshness.state == "live":
                            break
            else:
                async with Supervisor("test") as tasks:
                    tasks.start(_endless(Rest(session)), name="watch")
                    await _until(lambda: running.objects.watchers(VMS) == 1)
            await _until(lambda: running.objects.watchers(VMS) == 0)


async def _endless(rest: Rest) -> None:
    async with aclosing(watch(rest, VIRTUAL_MACHINES, SHOP)) as updates:
        async for _ in updates:
            pass


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  # the server has nothing that could set an event
            await asyncio.sleep(0.005)


# ---- against a server that misbehaves ----


def by_turn(lists: list[web.Response], watches: list[Handler]) -> tuple[Handler, list[web.Request]]:
    """Answer each list and each watch by the next in its row, the last one again and again."""
    asked: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        if is_watch(request):
            return await (watches.pop(0) if len(watches) > 1 else watches[0])(request)
        given = lists.pop(0) if len(lists) > 1 else lists[0]
        return web.Response(body=given.body, status=given.status, headers=given.headers)

    return handle, asked


async def holding(request: web.Request) -> web.StreamResponse:
    answer = await streamed(request)
    await asyncio.Event().wait()
    return answer


def sending(*parts: bytes) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await streamed(request, *parts)

    return handle


def answering(answer: web.Response) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)

    return handle


async def dropping(request: web.Request) -> web.StreamResponse:
    answer = await streamed(request, line("MODIFIED", vm("a", 11)), b'{"type":"MODIF')
    assert request.transport is not None
    request.transport.abort()
    return answer


async def test_what_a_watch_is_asked_for(tmp_path: Path) -> None:
    handler, asked = by_turn([listed(vm("a", 5), version=10)], [holding])
    scope = Scope(namespace="shop", name="a", selector="x=y")
    async with streaming_api(tmp_path, handler) as endpoint, watching(endpoint, scope) as seen:
        await seen.until(lambda: "live" in seen.states)
    assert dict(asked[0].query) == {"limit": "2", "labelSelector": "x=y", "fieldSelector": "metadata.name=a"}
    query = dict(asked[1].query)
    assert 261 <= int(query.pop("timeoutSeconds")) <= 319
    assert query == {
        "watch": "1",
        "allowWatchBookmarks": "true",
        "resourceVersion": "10",
        "labelSelector": "x=y",
        "fieldSelector": "metadata.name=a",
    }


async def test_an_end_is_followed_by_a_watch_from_the_last_version(tmp_path: Path) -> None:
    mark = line("BOOKMARK", {"kind": "VirtualMachine", "metadata": {"resourceVersion": "40"}})
    handler, asked = by_turn([listed(vm("a", 5), version=10)], [sending(mark), holding])
    async with streaming_api(tmp_path, handler) as endpoint, watching(endpoint) as seen:
        await _until(lambda: len(asked) == 3)
        assert "stale" not in seen.states
    assert asked[2].query["resourceVersion"] == "40"


@pytest.mark.parametrize("form", ["event", "answer"])
async def test_a_version_that_is_too_old_leads_to_a_list(tmp_path: Path, shared: Path, form: str) -> None:
    gone = json.loads((shared / "captures" / "watch-resourceversion-expired.json").read_text())["response"]["json"]
    refusal = sending(json.dumps(gone).encode() + b"\n") if form == "event" else answering(status(410, "Expired"))
    lists = [listed(vm("a", 5), version=10), listed(vm("b", 50, "u2"), version=60)]
    handler, asked = by_turn(lists, [refusal, holding])
    async with streaming_api(tmp_path, handler) as endpoint, watching(endpoint) as seen:
        await seen.until(lambda: len(seen.changes) == 3 and seen.states[-1] == "live")
    assert seen.changes == [("added", "a"), ("removed", "a"), ("added", "b")]
    assert [is_watch(request) for request in asked] == [False, True, False, True]
    assert "stale" in seen.states


async def test_a_connection_that_breaks_within_an_event_loses_nothing(tmp_path: Path) -> None:
    again = sending(line("MODIFIED", vm("a", 12)))
    handler, asked = by_turn([listed(vm("a", 5), version=10)], [dropping, again, holding])
    async with streaming_api(tmp_path, handler) as endpoint, watching(endpoint) as seen:
        await seen.until(lambda: len(seen.changes) == 3)
        assert "stale" in seen.states
        [error] = {update.freshness.error for update in seen.updates if update.freshness.state == "stale"}
        assert isinstance(error, Unreachable)
    assert asked[2].query["resourceVersion"] == "11"


@pytest.mark.parametrize("has_bookmarks", [True, False])
async def test_a_half_open_connection_is_found(tmp_path: Path, has_bookmarks: bool) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        answer = await streamed(request, line("BOOKMARK", vm("a", 11)) if has_bookmarks else b"")
        await asyncio.Event().wait()
        return answer

    timing = Timing(
        list_gap_s=0,
        backoff_s=0.02,
        jitter_s=0,
        watch_s=300 if has_bookmarks else 0.1,
        overtime_s=0.1,
        quiet_s=0.2 if has_bookmarks else 300,
    )
    handler, asked = by_turn([listed(vm("a", 5), version=10)], [silent])
    async with streaming_api(tmp_path, handler) as endpoint, watching(endpoint, timing=timing) as seen:
        await seen.until(lambda: "stale" in seen.states)
        await _until(lambda: len(asked) >= 3)
    error = next(update.freshness.error for update in seen.updates if update.freshness.state == "stale")
    assert error is not None
    assert error.code == "watch-silent"


async def test_an_event_without_end_is_an_error_and_not_memory(tmp_path: Path) -> None:
    handler, _ = by_turn([listed(vm("a", 5), version=10)], [sending(b"x" * (9 << 20)), holding])
    async with streaming_api(tmp_path, handler) as endpoint, watching(endpoint) as seen:
        await seen.until(lambda: "stale" in seen.states and seen.states[-1] == "live")
    error = next(update.freshness.error for update in seen.updates if update.freshness.state == "stale")
    assert error is not None
    assert error.code == "line-too-long"


@pytest.mark.parametrize(
    "refusal", [status(429, "TooManyRequests", Retry_After="0"), status(500, "InternalError"), status(503, "Unavailable")]
)
async def test_a_busy_or_failing_server_is_tried_again(tmp_path: Path, refusal: web.Response) -> None:
    lists = [refusal, refusal, listed(vm("a", 5), version=10)]
    handler, asked = by_turn(lists, [answering(refusal), sending(line("ERROR", json.loads(refusal.text or ""))), holding])
    async with streaming_api(tmp_path, handler) as endpoint, watching(endpoint) as seen:
        await seen.until(lambda: len(asked) >= 6 and seen.states[-1] == "live")
        assert seen.changes == [("added", "a")]


async def test_a_refused_login_is_renewed_once(tmp_path: Path) -> None:
    tokens: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers["Authorization"])
        if is_watch(request) and tokens[-1] == "Bearer token-one":
            (tmp_path / "token").write_text("token-two")
            return status(401, "Unauthorized")
        return await holding(request) if is_watch(request) else listed(vm("a", 5), version=10)

    async with streaming_api(tmp_path, handle) as endpoint, watching(endpoint) as seen:
        await seen.until(lambda: "live" in seen.states)
    assert tokens[-2:] == ["Bearer token-one", "Bearer token-two"]


@pytest.mark.parametrize(("code", "kind"), [(401, CredentialError), (403, NotPermitted)])
async def test_a_login_or_right_that_is_not_there_ends_it(tmp_path: Path, code: int, kind: type[BrokerError]) -> None:
    handler, _ = by_turn([status(code, "Unauthorized" if code == 401 else "Forbidden")], [holding])
    async with streaming_api(tmp_path, handler) as endpoint:
        with pytest.raises(kind):
            async with watching(endpoint) as seen:
                await seen.until(lambda: False)


async def test_a_server_that_is_not_there_ends_it_after_three_tries(tmp_path: Path) -> None:
    async with streaming_api(tmp_path, by_turn([listed(version=1)], [holding])[0]) as endpoint:
        pass
    with pytest.raises(Unreachable):
        async with watching(endpoint) as seen:
            await seen.until(lambda: False)


async def test_where_watching_is_denied_it_lists_again_and_says_so(tmp_path: Path) -> None:
    lists: list[Any] = [listed(vm("a", 5), version=n) for n in (10, 11)] + [listed(vm("a", 20), version=21)]
    handler, asked = by_turn(lists, [answering(status(403, "Forbidden"))])
    async with streaming_api(tmp_path, handler) as endpoint, watching(endpoint) as seen:
        await seen.until(lambda: len(seen.changes) == 2)
    assert seen.states[-1] == "polling"
    assert isinstance(seen.updates[-1].freshness.error, NotPermitted)
    assert [is_watch(request) for request in asked][:4] == [False, True, False, True]
