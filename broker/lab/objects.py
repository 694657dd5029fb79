"""The pretend cluster's memory: every object as encoded JSON bytes, one counter of versions, a bounded history.

Objects stay encoded because ten thousand VirtualMachines as dicts would take hundreds of MiB; a list answer is
then a join of bytes. The history serves watches from a version and lists of a past version, as etcd's does.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

__all__ = ["Change", "Compacted", "Entry", "Objects", "Subscription", "object_key", "timestamp"]

Json = dict[str, Any]
ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

HISTORY_CHANGES = 4096
"""Changes kept for each resource; older ones count as compacted."""
BACKLOG_CHANGES = 16384
"""Changes a subscriber may leave untaken before it is cut off, as a slow watcher of a real server is."""

_sorted_json = msgspec.json.Encoder(order="sorted")
_decode = msgspec.json.decode


class Compacted(Exception):
    """The version asked for is older than what is kept; `oldest` is the first version that still can be served."""

    def __init__(self, *, asked: int, oldest: int) -> None:
        super().__init__(f"version {asked} is gone, the oldest is {oldest}")
        self.asked = asked
        self.oldest = oldest


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One stored object: its JSON text (with its resourceVersion in it) and that version as a number."""

    key: str
    encoded: bytes
    resource_version: int

    def decode(self) -> Json:
        """Return the object as a fresh dict, which the caller may change."""
        return _as_object(_decode(self.encoded))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one object: what it is now (for DELETED the last state, with the deletion's version) and what it was."""

    type: ChangeType
    resource: str
    resource_version: int
    entry: Entry
    previous: Entry | None


def object_key(namespace: str | None, name: str) -> str:
    """Return the key an object is stored and sorted under: `namespace/name`, or the name alone without a namespace."""
    return f"{namespace}/{name}" if namespace else name


def timestamp(seconds: float | None = None) -> str:
    """Return a moment (seconds since 1970, default now) as Kubernetes writes it: `2026-11-25T03:06:20Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Subscription:
    """The changes of one resource from a version on, in order; made by `Objects.subscribe`, ended by `close`."""

    def __init__(self, backlog: list[Change], *, is_own: bool = False) -> None:
        self.is_own = is_own
        self._pending: deque[Change] = deque(backlog)
        self._stirred = asyncio.Event()
        self.overflowed = False
        if backlog:
            self._stirred.set()

    def push(self, change: Change) -> None:
        """Append a change (called by the store); past the limit the subscription is cut off and keeps nothing."""
        if self.overflowed:
            return
        if len(self._pending) >= BACKLOG_CHANGES:
            self._pending.clear()
            self.overflowed = True
        else:
            self._pending.append(change)
        self._stirred.set()

    def take(self) -> list[Change]:
        """Return and forget every pending change."""
        changes = list(self._pending)
        self._pending.clear()
        if not self.overflowed:
            self._stirred.clear()
        return changes

    async def wait(self) -> None:
        """Return once a change is pending or the subscription was cut off."""
        await self._stirred.wait()


class _Shelf:
    """The objects of one resource: by key, with the keys in etcd's order, and their last changes."""

    __slots__ = ("by_key", "history", "keys", "newest", "oldest", "subscriptions")

    def __init__(self, *, oldest: int) -> None:
        self.by_key: dict[str, Entry] = {}
        self.keys: list[str] = []
        self.history: deque[Change] = deque()
        self.newest = 0
        self.oldest = oldest
        self.subscriptions: set[Subscription] = set()

    def place(self, entry: Entry) -> None:
        if entry.key not in self.by_key:
            if not self.keys or entry.key > self.keys[-1]:
                self.keys.append(entry.key)
            else:
                insort(self.keys, entry.key)
        self.by_key[entry.key] = entry

    def drop(self, key: str) -> None:
        del self.by_key[key]
        del self.keys[bisect_left(self.keys, key)]

    def record(self, change: Change) -> None:
        self.newest = change.resource_version
        self.history.append(change)
        while len(self.history) > HISTORY_CHANGES:
            self.oldest = self.history.popleft().resource_version
        for subscription in self.subscriptions:
            subscription.push(change)


class Objects:
    """All objects of the pretend cluster. Resources are named `virtualmachines.kubevirt.io`, in the core group `pods`.

    Not for threads: everything happens on the event loop's thread.
    """

    def __init__(self, *, first_version: int = 1000) -> None:
        self._version = first_version
        self._first_version = first_version
        self._shelves: dict[str, _Shelf] = {}

    @property
    def resource_version(self) -> int:
        """The version of the newest change of any resource."""
        return self._version

    def put(self, resource: str, obj: Mapping[str, Any]) -> Json:
        """Create or replace one object and return what was stored.

        Fills in uid, creationTimestamp and generation where they are missing, always the resourceVersion; a changed
        `spec` of an object that has a generation raises it, and so does its mark of deletion. Raises ValueError for an
        object without a name.
        """
        metadata = dict(obj.get("metadata") or {})
        name = metadata.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"an object of {resource} without metadata.name")
        key = object_key(metadata.get("namespace"), name)
        shelf = self._shelf(resource)
        previous = shelf.by_key.get(key)
        self._fill_metadata(metadata, resource, obj, previous)
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        stored = {**obj, "metadata": metadata}
        entry = Entry(key=key, encoded=_encode(stored, resource), resource_version=self._version)
        shelf.place(entry)
        shelf.record(
            Change(
                type="ADDED" if previous is None else "MODIFIED",
                resource=resource,
                resource_version=self._version,
                entry=entry,
                previous=previous,
            )
        )
        return entry.decode()

    def get(self, resource: str, namespace: str | None, name: str) -> Json | None:
        """Return one object as a fresh dict, or None."""
        entry = self.entry(resource, namespace, name)
        return None if entry is None else entry.decode()

    def entry(self, resource: str, namespace: str | None, name: str) -> Entry | None:
        """Return one object as stored, or None."""
        shelf = self._shelves.get(resource)
        return None if shelf is None else shelf.by_key.get(object_key(namespace, name))

    def delete(self, resource: str, namespace: str | None, name: str) -> None:
        """Remove one object; nothing happens when it is not there."""
        shelf = self._shelves.get(resource)
        key = object_key(namespace, name)
        if shelf is None or key not in shelf.by_key:
            return
        previous = shelf.by_key[key]
        self._version += 1
        last = previous.decode()
        last["metadata"]["resourceVersion"] = str(self._version)
        shelf.drop(key)
        shelf.record(
            Change(
                type="DELETED",
                resource=resource,
                resource_version=self._version,
                entry=Entry(key=key, encoded=_encode(last, resource), resource_version=self._version),
                previous=previous,
            )
        )

    def select(self, resource: str, namespace: str | None = None) -> Iterator[Json]:
        """Yield the objects of a resource (of one namespace, or all) as fresh dicts, in key order."""
        for entry in list(self.entries(resource, namespace)):
            yield entry.decode()

    def entries(
        self, resource: str, namespace: str | None = None, *, at: int | None = None, start: str = ""
    ) -> Iterator[Entry]:
        """Yield entries in key order, from the key `start` on, as they were at version `at` (default now).

        Raises Compacted when that version is no longer kept. The store must not change while one iterates.
        """
        shelf = self._shelves.get(resource)
        if shelf is None:
            if at is not None and at < self._first_version:
                raise Compacted(asked=at, oldest=self._first_version)
            return
        past = self._past(shelf, at)
        keys = sorted({*shelf.keys, *past}) if past else shelf.keys
        prefix = f"{namespace}/" if namespace else ""
        for index in range(bisect_left(keys, max(prefix, start)), len(keys)):
            key = keys[index]
            if not key.startswith(prefix):
                break
            entry = past[key] if key in past else shelf.by_key.get(key)
            if entry is not None:
                yield entry

    def newest(self, resource: str) -> int:
        """Return the version of the newest change of a resource, 0 where it never had one."""
        shelf = self._shelves.get(resource)
        return 0 if shelf is None else shelf.newest

    def count(self, resource: str) -> int:
        """Return how many objects of a resource there are."""
        shelf = self._shelves.get(resource)
        return 0 if shelf is None else len(shelf.keys)

    def subscribe(self, resource: str, since: int | None = None, *, is_own: bool = False) -> Subscription:
        """Return the changes of a resource after version `since` (default: from now on). End it with `unsubscribe`.

        `is_own` is for the lab's own listeners, which are no watchers.
        A version from the future is silence until then. Raises Compacted when `since` is no longer kept.
        """
        shelf = self._shelf(resource)
        if since is not None and since < shelf.oldest:
            raise Compacted(asked=since, oldest=shelf.oldest)
        backlog = [] if since is None else [c for c in shelf.history if c.resource_version > since]
        subscription = Subscription(backlog, is_own=is_own)
        shelf.subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, resource: str, subscription: Subscription) -> None:
        """End a subscription; harmless when it has ended."""
        self._shelf(resource).subscriptions.discard(subscription)

    def watchers(self, resource: str) -> int:
        """Return how many watchers' subscriptions to a resource are open."""
        shelf = self._shelves.get(resource)
        return 0 if shelf is None else sum(not subscription.is_own for subscription in shelf.subscriptions)

    def compact(self) -> None:
        """Forget every past version, so that watches and pages from before now get 410; running watches go on."""
        for shelf in self._shelves.values():
            shelf.history.clear()
            shelf.oldest = self._version
        self._first_version = self._version

    def _shelf(self, resource: str) -> _Shelf:
        shelf = self._shelves.get(resource)
        if shelf is None:
            shelf = self._shelves[resource] = _Shelf(oldest=self._first_version)
        return shelf

    def _past(self, shelf: _Shelf, at: int | None) -> dict[str, Entry | None]:
        """Return, for each key changed after `at`, what it was at that version."""
        if at is None or at >= self._version:
            return {}
        if at < shelf.oldest:
            raise Compacted(asked=at, oldest=shelf.oldest)
        past: dict[str, Entry | None] = {}
        for change in reversed(shelf.history):
            if change.resource_version <= at:
                break
            past[change.entry.key] = change.previous
        return past

    def _fill_metadata(self, metadata: Json, resource: str, obj: Mapping[str, Any], previous: Entry | None) -> None:
        if previous is None:
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata.setdefault("creationTimestamp", timestamp())
            if "." in resource and "spec" in obj:
                metadata.setdefault("generation", 1)
            return
        before = previous.decode()
        for field in ("uid", "creationTimestamp"):
            metadata.setdefault(field, before["metadata"].get(field))
        generation = before["metadata"].get("generation")
        if isinstance(generation, int):
            is_marked = bool(metadata.get("deletionTimestamp")) and not before["metadata"].get("deletionTimestamp")
            metadata["generation"] = generation + (is_marked or before.get("spec") != obj.get("spec"))


def _encode(obj: Mapping[str, Any], resource: str) -> bytes:
    """Encode with apiVersion and kind in front, so that they can be cut off or exchanged without decoding."""
    del resource
    head = {"apiVersion": obj.get("apiVersion", ""), "kind": obj.get("kind", "")}
    rest = {key: value for key, value in obj.items() if key not in head}
    tail = _sorted_json.encode(rest)
    return msgspec.json.encode(head)[:-1] + b"," + tail[1:] if rest else msgspec.json.encode(head)


def _as_object(value: object) -> Json:
    if not isinstance(value, dict):
        raise TypeError("a stored object is a JSON object")
    return value
