"""Watches objects of one kind: does what `broker.kube.watchstate` decides, and yields what changed.

The server ends a watch after its time; one that says nothing longer than it promised (bookmarks come every minute) is taken for
a half-open connection and opened anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from broker.errors import BrokerError, TimedOut
from broker.kube.objectmap import Change, Key, Named
from broker.kube.resources import Resource, Scope
from broker.kube.rest import Rest
from broker.kube.watchstate import WatchState
from broker.kube.watchsteps import Freshness, GiveUp, ListPage, OpenWatch, Pause, Timing

T = TypeVar("T", bound=Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update(Generic[T]):
    """What is new: changes in their order (none where only the freshness is new), and how it stands now.

    `objects` is a live view of everything known; `is_synced` says that a whole list was read once, `unreadable` how many
    objects or events since the last list could not be read: such an object counts as not there.
    """

    changes: tuple[Change[T], ...]
    freshness: Freshness
    is_synced: bool
    objects: Mapping[Key, T]
    unreadable: int = 0


async def watch(
    rest: Rest,
    resource: Resource[T],
    scope: Scope,
    *,
    timing: Timing | None = None,
    dice: Callable[[], float] = random.random,
) -> AsyncGenerator[Update[T]]:
    """Yield updates for ever: first the whole list, then each change, and each change of freshness between.

    Raises the error that nothing helps against: NotPermitted on the list (or the watch, by `timing`), CredentialError after
    the login was renewed, TrustError, Unreachable before the first list. Leave it by `contextlib.aclosing`.
    """
    loop = asyncio.get_running_loop()
    state = WatchState[T](timing or Timing(), now=loop.time())
    told: Freshness | None = None

    def update(changes: tuple[Change[T], ...] = ()) -> Update[T]:
        return Update(
            changes=changes,
            freshness=state.freshness,
            is_synced=state.is_synced,
            objects=state.objects,
            unreadable=state.unreadable,
        )

    while True:
        was_synced, changes = state.is_synced, tuple[Change[T], ...]()
        match state.step(loop.time(), dice()):
            case GiveUp(error=error):
                raise error
            case Pause(seconds_s=seconds_s):
                await asyncio.sleep(seconds_s)
            case ListPage(token=token, is_whole=is_whole):
                try:
                    page = await rest.list_page(resource, scope, token=token, is_whole=is_whole)
                    changes = state.listed(page, loop.time(), dice())
                except BrokerError as exc:
                    state.failed(exc, loop.time(), dice())
            case OpenWatch(resource_version=version, timeout_s=watch_s):
                # Closed here and now: one that is left to the garbage collector keeps its connection.
                async with aclosing(_streamed(rest, resource, scope, state, version, watch_s, dice)) as streamed:
                    async for seen in streamed:
                        if seen or state.freshness != told:
                            told = state.freshness
                            yield update(seen)
        if changes or state.freshness != told or state.is_synced != was_synced:
            told = state.freshness
            yield update(changes)


async def _streamed(
    rest: Rest,
    resource: Resource[T],
    scope: Scope,
    state: WatchState[T],
    version: str,
    watch_s: float,
    dice: Callable[[], float],
) -> AsyncGenerator[tuple[Change[T], ...]]:
    """Read one watch to its end, told to the state; yields the changes of events that came together as one."""
    loop = asyncio.get_running_loop()
    ends_s, has_bookmarks = loop.time() + watch_s + state.timing.overtime_s, False
    try:
        async with rest.watch(resource, scope, resource_version=version, watch_s=watch_s) as events:
            state.opened(loop.time())
            yield ()
            gathered: list[Change[T]] = []
            while state.is_streaming:
                left_s = max(ends_s - loop.time(), 0.0)
                event = await events.next(min(left_s, state.timing.quiet_s) if has_bookmarks else left_s)
                if event is None:
                    state.ended(loop.time(), dice())
                    break
                has_bookmarks = has_bookmarks or event.type == "BOOKMARK"
                gathered += state.event(event, loop.time(), dice(), events.error_of(event))
                if gathered and not (events.has_more and state.is_streaming):
                    yield tuple(gathered)
                    gathered.clear()
    except TimeoutError:
        error = TimedOut("the watch said nothing longer than it may", code="watch-silent", cause="the connection is half open")
        state.failed(error, loop.time(), dice())
    except BrokerError as exc:
        state.failed(exc, loop.time(), dice())
