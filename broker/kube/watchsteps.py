"""What a watch is told to do next, how patient it is, how fresh its objects are: for `broker.kube.watchstate`. **Pure.**"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from broker.errors import BrokerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How patient a watch is, in seconds.

    `list_gap_s`: between the starts of two lists at least. `backoff_s` doubles up to `backoff_most_s`; `jitter_s` is spread
    over watches that end or expire together. `watch_s`: what the server is asked for, a tenth less or more. `poll_s`: between
    lists where watching is denied; None makes that an error. `unsynced_tries`: how often a server that cannot be reached is
    tried before the first list succeeded; None for ever. `silent_s`: a watch that said nothing that long is not believed.
    `overtime_s`: how much longer than asked a watch may live, `quiet_s`: how long one that sends bookmarks may be silent (the
    server sends one a minute); past either the connection counts as half open.
    """

    list_gap_s: float = 5.0
    backoff_s: float = 1.0
    backoff_most_s: float = 30.0
    jitter_s: float = 0.5
    watch_s: float = 290.0
    poll_s: float | None = 30.0
    unsynced_tries: int | None = None
    silent_s: float = 150.0
    overtime_s: float = 10.0
    quiet_s: float = 120.0


FreshnessState = Literal["listing", "live", "opening", "polling", "stale"]
_UNSEEN: Final = ("opening", "stale")


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How far the objects can be trusted, and since when.

    `listing` (none yet), `live`, `opening` (listed or watched until then, the next watch is not accepted yet), `polling`
    (watch denied), `stale`; `error` is what makes them stale, or what denies the watch.
    """

    state: FreshnessState
    since_s: float
    error: BrokerError | None = None

    @property
    def is_unseen(self) -> bool:
        """Say whether the objects are as they were seen at `since_s`, and nothing was seen of them after that."""
        return self.state in _UNSEEN


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """Fetch one page: from the beginning where `token` is empty; `is_whole` asks for everything in one page."""

    token: str
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWatch:
    """Watch from a version (empty: from any, with what is there sent first), for `timeout_s` seconds."""

    resource_version: str
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Do nothing for so many seconds, then ask again."""

    seconds_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Nothing helps any more: raise the error."""

    error: BrokerError


Step = ListPage | OpenWatch | Pause | GiveUp
