"""The life of one watch, decided: list, watch, bookmark, 410, ERROR, end, list again. **Pure.**

`step` says what to do now, the other methods take what came of it and return what changed; clock and dice are arguments.
Source: Kubernetes API concepts ("efficient detection of changes"), client-go tools/cache/reflector.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from broker.errors import (
    BrokerError,
    CredentialError,
    Failed,
    NotFound,
    NotPermitted,
    Refused,
    SettingsError,
    TrustError,
    Unreachable,
    UsageError,
)
from broker.kube.objectmap import Change, Key, Named, ObjectMap, key_of
from broker.kube.watchsteps import Freshness, FreshnessState, GiveUp, ListPage, OpenWatch, Pause, Step, Timing
from broker.model.events import WatchEvent
from broker.model.pages import Page

T = TypeVar("T", bound=Named)
_FINAL = (NotPermitted, CredentialError, NotFound, UsageError, SettingsError, TrustError, Refused)
_SHORT_S = 1.0
"""A watch that ended sooner and said nothing was no watch (client-go, "very short watch")."""


@dataclass(slots=True, kw_only=True)
class _Reading(Generic[T]):
    """A list that is being read page by page."""

    items: dict[Key, T] = field(default_factory=dict)
    token: str = ""
    seen: set[str] = field(default_factory=set)


class WatchState(Generic[T]):
    """One watch of one kind in one scope; not for threads. `now` is any clock of seconds, `dice` from 0 to 1."""

    def __init__(self, timing: Timing, *, now: float) -> None:
        self.timing = timing
        self.freshness = Freshness(state="listing", since_s=now)
        self.unreadable = 0
        self._objects = ObjectMap[T]()
        self._mode: Literal["list", "watch", "over"] = "list"
        self._is_streaming = self._is_whole = self._is_synced = self._has_heard = False
        self._reading = _Reading[T]()
        self._version = ""
        self._due_s = now
        self._last_list_s: float | None = None
        self._opened_s = now
        self._failures = self._error_events = self._denials = 0
        self._end: BrokerError | None = None
        self._denial: NotPermitted | None = None

    @property
    def objects(self) -> Mapping[Key, T]:
        """The objects as far as they are known, a live view."""
        return self._objects.view

    @property
    def is_synced(self) -> bool:
        """Say whether a whole list was read once."""
        return self._is_synced

    @property
    def is_streaming(self) -> bool:
        """Say whether the open watch is still to be read; False tells the shell to close it."""
        return self._is_streaming

    def step(self, now: float, dice: float) -> Step:
        """Say what to do now; call it again after each outcome was told."""
        if self._end is not None:
            return GiveUp(error=self._end)
        if now < self._due_s:
            return Pause(seconds_s=self._due_s - now)
        if self._mode == "watch":
            return OpenWatch(resource_version=self._version, timeout_s=self.timing.watch_s * (0.9 + 0.2 * dice))
        if not self._reading.token:
            self._last_list_s = now
        return ListPage(token=self._reading.token, is_whole=self._is_whole)

    # ---- outcomes of a list ----

    def listed(self, page: Page[T], now: float, dice: float) -> tuple[Change[T], ...]:
        """Take one page; changes come with the last one, against what was known before."""
        if not self._reading.token:
            self._reading = _Reading[T]()
            self.unreadable = 0
        self.unreadable += page.unreadable
        self._reading.items.update((key_of(item.metadata), item) for item in page.items)
        token = page.continue_token
        if token and token in self._reading.seen:
            self._give_up(Failed("the list never ends", code="list-endless", cause="a continue token came twice"), now)
            return ()
        self._reading.token = token
        if token:
            self._reading.seen.add(token)
            return ()
        if not page.resource_version:
            cause = "the list has no resourceVersion, so nothing can be watched from it"
            self._give_up(Failed("the API server's list cannot be used", code="unreadable-answer", cause=cause), now)
            return ()
        changes = self._objects.replace(self._reading.items)
        self._reading = _Reading[T]()
        self._is_synced, self._is_whole = True, False
        self._version = page.resource_version
        if self._denials > 1:
            self._poll_again(now, dice)
        else:
            self._mode = "watch"
            self.freshness = Freshness(state="opening", since_s=now)
            # A watch that failed before is not hurried: the list's success says nothing about it.
            self._due_s = now + (self._backoff_s(dice) if self._failures > 1 else 0.0)
        return changes

    # ---- outcomes of a watch ----

    def opened(self, now: float) -> None:
        """The server accepted the watch: events may follow."""
        self._is_streaming, self._has_heard, self._opened_s = True, False, now
        self._denials = 0
        self._fresh("live", now)

    def event(self, event: WatchEvent[T], now: float, dice: float, error: BrokerError | None = None) -> tuple[Change[T], ...]:
        """Take one event; `error` is what the Status of an ERROR stands for."""
        if event.type == "ERROR":
            self.failed(error or Failed("the API server ended the watch", code="watch-error"), now, dice)
            return ()
        self._has_heard = True
        if event.type == "BOOKMARK" and _is_before(event.meta.resource_version, self._version):
            # The server's memory went back (restored, or made anew): our version means nothing to it.
            self._relist(now, dice)
            return ()
        self._failures = self._error_events = 0
        self._version = event.meta.resource_version or self._version
        if event.type == "BOOKMARK":
            return ()
        if event.type == "DELETED" or event.obj is None:
            self.unreadable += event.obj is None
            return self._objects.remove(key_of(event.meta), event.obj)
        return self._objects.put(event.obj)

    def ended(self, now: float, dice: float) -> None:
        """The watch ended without a word, as every watch does after its time."""
        self._is_streaming = False
        self._fresh("opening", now)
        lived_s = now - self._opened_s
        if not self._has_heard and lived_s >= self.timing.silent_s:
            self._relist(now, dice)
        elif not self._has_heard and lived_s < _SHORT_S:
            self._failures += 1
            self._due_s = now + self._backoff_s(dice)
            if self._failures > 2:
                self._fresh("stale", now, Failed("the API server ends every watch at once", code="watch-error"))
        else:
            self._failures = 0
            self._due_s = now + dice * self.timing.jitter_s

    # ---- trouble ----

    def failed(self, error: BrokerError, now: float, dice: float) -> None:
        """A list, a watch's opening or its stream failed."""
        self._is_streaming = False
        if isinstance(error, NotPermitted) and self._mode == "watch":
            self._denied(error, now, dice)
            return
        if self._is_final(error):
            self._give_up(error, now)
            return
        self._fresh("stale", now, error)
        if error.code == "expired":
            self._expired(now, dice)
            return
        self._failures += 1
        # What is too long to be had whole is read in pages again.
        self._is_whole = self._is_whole and not isinstance(error, Failed)
        # An event that cannot be passed would come again: after the second one the list leads past it.
        self._error_events += self._mode == "watch" and isinstance(error, Failed)
        if not self._is_synced and isinstance(error, Unreachable) and self._is_out_of_tries(error):
            self._give_up(error, now)
            return
        delay_s = max(self._backoff_s(dice), (error.retry_after_s or 0.0) + dice * self.timing.jitter_s)
        self._due_s = now + delay_s
        is_stuck = self._mode == "watch" and self._error_events > 1
        if is_stuck or (self._mode == "list" and not self._reading.token):
            self._to_list(now + delay_s)

    def _expired(self, now: float, dice: float) -> None:
        if self._mode == "list":
            # As client-go's pager: what cannot be had in pages is asked for whole.
            self._is_whole = True
            self._failures += 1
            self._to_list(now + (dice * self.timing.jitter_s if self._failures <= 1 else self._backoff_s(dice)))
            return
        self._relist(now, dice)

    def _relist(self, now: float, dice: float) -> None:
        self._is_streaming = False
        self._failures += 1
        self._to_list(now + (dice * self.timing.jitter_s if self._failures <= 1 else self._backoff_s(dice)))

    def _denied(self, error: NotPermitted, now: float, dice: float) -> None:
        """A server that has just started may deny for a moment: only a watch denied after a fresh list is."""
        self._denials += 1
        self._denial = error
        if self._denials <= 1:
            self._fresh("stale", now, error)
            self._to_list(now + dice * self.timing.jitter_s)
        elif self.timing.poll_s is None:
            self._give_up(error, now)
        else:
            self._poll_again(now, dice)

    def _poll_again(self, now: float, dice: float) -> None:
        self._fresh("polling", now, self._denial)
        self._failures = 0
        self._to_list(now + (self.timing.poll_s or 0.0) * (1.0 + 0.1 * dice))

    def _to_list(self, due_s: float) -> None:
        self._mode, self._reading = "list", _Reading[T]()
        if self._last_list_s is not None:
            due_s = max(due_s, self._last_list_s + self.timing.list_gap_s)
        self._due_s = due_s

    def _backoff_s(self, dice: float) -> float:
        whole = min(self.timing.backoff_s * 2.0 ** min(max(self._failures - 1, 0), 20), self.timing.backoff_most_s)
        return whole * (0.5 + 0.5 * dice)

    def _is_final(self, error: BrokerError) -> bool:
        if isinstance(error, _FINAL):
            return True
        # A server that starts may not know its custom resources for a moment.
        return error.code == "redirected" or (error.code in ("api-absent", "unreadable-answer") and not self._is_synced)

    def _is_out_of_tries(self, error: BrokerError) -> bool:
        tries = self.timing.unsynced_tries
        return tries is not None and self._failures >= tries and error.retry_after_s is None

    def _give_up(self, error: BrokerError, now: float) -> None:
        self._mode, self._end, self._is_streaming = "over", error, False
        self._fresh("stale", now, error)

    def _fresh(self, state: FreshnessState, now: float, error: BrokerError | None = None) -> None:
        # What is stale after it could not be watched anew was seen last when its watch ended.
        goes_on = state == self.freshness.state or (state == "stale" and self.freshness.is_unseen)
        since_s = self.freshness.since_s if goes_on else now
        if state == "stale" and not self._is_synced:
            self.freshness = Freshness(state="listing", since_s=self.freshness.since_s, error=error)
        else:
            self.freshness = Freshness(state=state, since_s=since_s, error=error)


def _is_before(version: str | None, known: str) -> bool:
    """Say whether a version is older; versions are numbers in practice, and where they are not nothing is known."""
    return bool(version) and version is not None and version.isdecimal() and known.isdecimal() and int(version) < int(known)
