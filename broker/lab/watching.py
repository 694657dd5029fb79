"""Watches: a stream of events from a version on, with bookmarks, selectors and a limit of time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from aiohttp import web

from broker.lab.answers import status_body
from broker.lab.forms import Form, encoded_in, form_of
from broker.lab.list_options import check_list_options, flag_of
from broker.lab.listing import number_of, selection_of
from broker.lab.objects import Change, Compacted, Entry, Objects, Subscription
from broker.lab.resources import Resource
from broker.lab.selectors import Selection

__all__ = ["Watches", "watch_answer"]

Json = dict[str, Any]
DEFAULT_TIMEOUT_S = 1800.0
"""Seconds of a watch without timeoutSeconds; the real server draws 30 to 60 minutes."""
_INITIAL_END = {"k8s.io/initial-events-end": "true"}
_LAST_BOOKMARK_S = 2.0
"""Seconds before the end of a watch at which its last bookmark goes out (cacher/cache_watcher.go); none in a shorter one."""


class Watches:
    """The watches that run, so that all or some of them can be ended from outside."""

    def __init__(self) -> None:
        self._open: set[_End] = set()

    def __len__(self) -> int:
        return len(self._open)

    def end(self, *, path: str = "", expired: bool = False) -> int:
        """End the watches whose request path fits a shell pattern (all of them by default) and return how many.

        `expired` puts a last event in front: ERROR with a Status of code 410, as for a version that is gone.
        """
        found = [end for end in self._open if not path or fnmatchcase(end.path, path)]
        for end in found:
            end.ask(expired=expired)
        return len(found)

    @contextmanager
    def opened(self, path: str) -> Iterator[_End]:
        """Know a watch while it runs."""
        end = _End(path)
        self._open.add(end)
        try:
            yield end
        finally:
            self._open.discard(end)


class _End:
    """How one watch is told to end while it waits for changes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_asked = False
        self.is_expired = False
        self._waiting: asyncio.Timeout | None = None

    def ask(self, *, expired: bool) -> None:
        self.is_asked, self.is_expired = True, expired
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def wait(self, subscription: Subscription, seconds: float) -> bool:
        """Return whether a change came in time."""
        try:
            async with asyncio.timeout(max(seconds, 0)) as self._waiting:
                await subscription.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting = None
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    resource: Resource
    version: str
    namespace: str
    form: Form
    selection: Selection
    has_bookmarks: bool
    sends_initial: bool
    is_told_first: bool
    """Whether what is there is told first, as ADDED events."""
    since: int | None
    timeout_s: float


async def watch_answer(
    objects: Objects,
    resource: Resource,
    version: str,
    namespace: str,
    request: web.Request,
    *,
    bookmark_every_s: float,
    watches: Watches,
    name: str = "",
) -> web.StreamResponse:
    """Answer a watch request until its time is over or the client goes; ApiError 400 and 406 before it starts."""
    watch = _read(request, resource, version, namespace, name)
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    answer.enable_chunked_encoding()
    subscription: Subscription | None = None
    try:
        subscription = objects.subscribe(resource.name, watch.since)
        initial = list(objects.entries(resource.name, namespace or None)) if watch.is_told_first else []
        marked = objects.resource_version
        await answer.prepare(request)
        with watches.opened(request.path) as end:
            async for event in _events(watch, subscription, initial, marked, objects, bookmark_every_s, end):
                await answer.write(event)
            if end.is_expired:
                await answer.write(_gone(marked, objects.resource_version))
    except Compacted as exc:
        await answer.prepare(request)
        await answer.write(_gone(exc.asked, exc.oldest))
    finally:
        if subscription is not None:
            objects.unsubscribe(resource.name, subscription)
    await answer.write_eof()
    return answer


def _read(request: web.Request, resource: Resource, version: str, namespace: str, name: str) -> _Watch:
    query = request.query
    sends_initial = flag_of(query, "sendInitialEvents")
    check_list_options(query, is_watch=True)
    since = number_of(request, "resourceVersion")
    selection = selection_of(request, resource)
    if name:
        selection = Selection(tests=(*selection.tests, lambda obj: obj["metadata"]["name"] == name))
    return _Watch(
        resource=resource,
        version=version,
        namespace=namespace,
        form=form_of(request),
        selection=selection,
        has_bookmarks=flag_of(query, "allowWatchBookmarks"),
        sends_initial=sends_initial,
        since=None if sends_initial or not since else since,
        is_told_first=sends_initial or (not since and "sendInitialEvents" not in query),
        timeout_s=float(number_of(request, "timeoutSeconds") or DEFAULT_TIMEOUT_S),
    )


async def _events(
    watch: _Watch,
    subscription: Subscription,
    initial: list[Entry],
    marked: int,
    objects: Objects,
    bookmark_every_s: float,
    end: _End,
) -> AsyncIterator[bytes]:
    writer = _Writer(watch)
    for entry in initial:
        if watch.selection.is_whole or watch.selection.matches(entry.decode()):
            yield writer.event("ADDED", entry)
    if watch.sends_initial and watch.has_bookmarks:
        yield writer.bookmark(marked, _INITIAL_END)
    began = time.monotonic()
    ends = began + watch.timeout_s
    next_mark = _next_mark(began, ends, bookmark_every_s)
    while (now := time.monotonic()) < ends:
        if now >= next_mark:
            if watch.has_bookmarks:
                yield writer.bookmark(objects.resource_version, {})
            next_mark = _next_mark(now, ends, bookmark_every_s)
        came = not end.is_asked and await end.wait(subscription, min(next_mark, ends) - time.monotonic())
        if end.is_asked:
            return
        if not came:
            continue
        for change in subscription.take():
            line = writer.change(change)
            if line is not None:
                yield line
        if subscription.overflowed:
            return


def _next_mark(now: float, ends: float, every_s: float) -> float:
    last = ends - _LAST_BOOKMARK_S
    return last if now < last < now + every_s else now + every_s


class _Writer:
    """Events as lines; remembers whether the column definitions of a Table went out."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        self._has_columns = False

    def change(self, change: Change) -> bytes | None:
        """One change as the watcher sees it through its selectors; None where it does not."""
        watch = self._watch
        if watch.namespace and not change.entry.key.startswith(f"{watch.namespace}/"):
            return None
        if watch.selection.is_whole:
            return self.event(change.type, change.entry)
        is_in = change.type != "DELETED" and watch.selection.matches(change.entry.decode())
        was_in = change.previous is not None and watch.selection.matches(change.previous.decode())
        if is_in:
            return self.event("MODIFIED" if was_in else "ADDED", change.entry)
        if not was_in or change.previous is None:
            return None
        # Left the selection: the old object with the new version.
        last = change.previous.decode()
        last["metadata"]["resourceVersion"] = str(change.resource_version)
        return self.object("DELETED", last)

    def event(self, kind: str, entry: Entry) -> bytes:
        """One stored object as an event."""
        watch = self._watch
        if watch.form.kind == "object":
            text = encoded_in(entry, watch.resource, watch.version)
            return b'{"type":"' + kind.encode() + b'","object":' + text + b"}\n"
        return self.object(kind, entry.decode())

    def object(self, kind: str, obj: Mapping[str, Any]) -> bytes:
        """One decoded object as an event in the watch's form."""
        watch = self._watch
        if watch.form.kind == "table":
            metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            body = watch.form.table(watch.resource, [obj], metadata, has_columns=not self._has_columns)
            self._has_columns = True
            return _line(kind, body)
        return _line(kind, watch.form.of_object(watch.resource, watch.version, obj))

    def bookmark(self, version: int, annotations: Mapping[str, str]) -> bytes:
        """A bookmark in the watch's form."""
        watch = self._watch
        metadata: Json = {**({"annotations": dict(annotations)} if annotations else {}), "resourceVersion": str(version)}
        api_version = watch.resource.api_version(watch.version)
        if not watch.resource.is_custom:
            metadata["creationTimestamp"] = None
        body: Json = {"apiVersion": api_version, "kind": watch.resource.kind, "metadata": metadata}
        if watch.form.kind == "table":
            columns: list[Json] | None = None if self._has_columns else []
            body = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": str(version)}}
            partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
            body |= {"columnDefinitions": columns, "rows": [{"cells": [], "object": partial}]}
        elif watch.form.kind == "metadata":
            body = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        return _line("BOOKMARK", body)


def _gone(asked: int, oldest: int) -> bytes:
    return _line("ERROR", status_body(410, "Expired", f"too old resource version: {asked} ({oldest})"))


def _line(kind: str, body: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, "object": body}) + b"\n"
