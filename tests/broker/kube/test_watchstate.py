"""The watch state against a simulated server: whatever happens, it ends up knowing what is there, and never lists too often."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import (
    BrokerError,
    CredentialError,
    Failed,
    NotPermitted,
    Refused,
    TimedOut,
    TrustError,
    Unreachable,
)
from broker.kube.watchstate import WatchState
from broker.kube.watchsteps import GiveUp, ListPage, OpenWatch, Pause, Timing
from broker.model.events import WatchEvent
from broker.model.meta import Meta
from broker.model.pages import Page
from tests.broker.kube.watched_server import Server, Thing, thing

EXPIRED = Failed("too old", code="expired")
AWAY = Unreachable("the API server cannot be reached")
DENIED = NotPermitted("you may not watch")
BROKEN = Failed("the server failed", code="server-error")


def page(*things: Thing, version: str = "10", token: str = "") -> Page[Thing]:
    return Page(items=list(things), continue_token=token, resource_version=version, is_first=True)


def bookmark(version: str) -> WatchEvent[Thing]:
    return WatchEvent(type="BOOKMARK", meta=Meta(resource_version=version))


def event(kind: Literal["ADDED", "MODIFIED", "DELETED"], each: Thing) -> WatchEvent[Thing]:
    return WatchEvent(type=kind, meta=each.metadata, obj=each)


def synced(*things: Thing, timing: Timing | None = None) -> WatchState[Thing]:
    """A state whose list is read and whose watch is open, at second 0."""
    state = WatchState[Thing](timing or Timing(), now=0)
    assert state.step(0, 0) == ListPage(token="", is_whole=False)
    state.listed(page(*things), 0, 0)
    assert isinstance(state.step(0, 0), OpenWatch)
    state.opened(0)
    return state


def after_pauses(state: WatchState[Thing], now: float, dice: float = 0.5) -> tuple[object, float]:
    """Follow pauses; returns the first step that is none, and when it came."""
    for _ in range(10):
        step = state.step(now, dice)
        if not isinstance(step, Pause):
            return step, now
        now += step.seconds_s
    raise AssertionError("pauses without end")


# ---- the straight way ----


def test_a_list_in_pages_counts_when_it_is_whole() -> None:
    state = WatchState[Thing](Timing(), now=0)
    state.step(0, 0)
    assert state.listed(page(thing("a", 1, "u1"), version="10", token="t"), 0, 0) == ()
    assert not state.is_synced
    assert state.step(0, 0) == ListPage(token="t", is_whole=False)
    changes = state.listed(page(thing("b", 2, "u2"), version="10"), 0, 0)
    assert [(change.kind, change.key[1]) for change in changes] == [("added", "a"), ("added", "b")]
    step = state.step(0, 0.5)
    assert isinstance(step, OpenWatch)
    assert (step.resource_version, round(step.timeout_s)) == ("10", 290)


def test_events_and_bookmarks_move_the_version_from_which_the_next_watch_begins() -> None:
    state = synced(thing("a", 5, "u1"))
    [changed] = state.event(event("MODIFIED", thing("a", 12, "u1")), 1, 0)
    assert (changed.kind, changed.obj.metadata.resource_version) == ("changed", "12")
    assert state.event(bookmark("40"), 2, 0) == ()
    state.ended(3, 0)
    step, now = after_pauses(state, 3)
    assert isinstance(step, OpenWatch)
    assert (step.resource_version, now) == ("40", 3)


def test_an_end_is_no_reason_to_list_again_and_does_not_make_stale() -> None:
    state = synced(thing("a", 5, "u1"))
    state.event(bookmark("11"), 100, 0)
    state.ended(290, 1)
    step, now = after_pauses(state, 290)
    assert isinstance(step, OpenWatch)
    assert now == pytest.approx(290.5)
    assert (state.freshness.state, state.freshness.since_s, state.freshness.is_unseen) == ("opening", 290, True)
    state.failed(AWAY, 320, 0)
    # Since the watch ended nothing was seen, whatever the way to a new one meets.
    assert (state.freshness.state, state.freshness.since_s) == ("stale", 290)
    state.opened(330)
    assert (state.freshness.state, state.freshness.since_s, state.freshness.is_unseen) == ("live", 330, False)


def test_a_deletion_carries_its_last_state_with_the_new_version() -> None:
    state = synced(thing("a", 5, "u1"))
    [gone] = state.event(event("DELETED", thing("a", 13, "u1")), 1, 0)
    assert (gone.kind, gone.obj.metadata.resource_version) == ("removed", "13")
    assert dict(state.objects) == {}


def test_a_name_taken_by_another_object_is_a_removal_and_an_arrival() -> None:
    state = synced(thing("a", 5, "u1"))
    changes = state.event(event("MODIFIED", thing("a", 13, "u2")), 1, 0)
    assert [(change.kind, change.obj.metadata.uid) for change in changes] == [("removed", "u1"), ("added", "u2")]


def test_an_object_that_cannot_be_read_is_not_there_and_is_counted() -> None:
    state = synced(thing("a", 5, "u1"))
    changes = state.event(WatchEvent(type="MODIFIED", meta=thing("a", 9, "u1").metadata), 1, 0)
    assert ([change.kind for change in changes], state.unreadable) == (["removed"], 1)


# ---- trouble ----


def test_an_expired_version_leads_to_a_list_at_once_that_tells_only_what_differs() -> None:
    state = synced(thing("a", 5, "u1"), thing("b", 6, "u2"), timing=Timing(list_gap_s=0))
    state.event(WatchEvent(type="ERROR", status_code=410), 100, 0, EXPIRED)
    assert not state.is_streaming
    assert state.freshness.state == "stale"
    assert state.step(100, 0) == ListPage(token="", is_whole=False)
    changes = state.listed(page(thing("a", 5, "u1"), thing("c", 8, "u3"), version="90"), 100, 0)
    assert [(change.kind, change.key[1]) for change in changes] == [("removed", "b"), ("added", "c")]


def test_a_list_whose_token_expired_is_asked_for_whole() -> None:
    state = WatchState[Thing](Timing(), now=0)
    state.step(0, 0)
    state.listed(page(thing("a", 1, "u1"), token="t"), 0, 0)
    state.step(0, 0)
    state.failed(EXPIRED, 400, 0)
    assert state.step(400, 0) == ListPage(token="", is_whole=True)
    state.listed(page(thing("b", 2, "u2")), 400, 0)
    assert [key[1] for key in state.objects] == ["b"]


def test_a_page_that_failed_is_asked_for_again_and_not_the_whole_list() -> None:
    state = WatchState[Thing](Timing(), now=0)
    state.step(0, 0)
    state.listed(page(thing("a", 1, "u1"), token="t"), 0, 0)
    state.step(0, 0)
    state.failed(TimedOut("slow"), 30, 0)
    step, _ = after_pauses(state, 30)
    assert step == ListPage(token="t", is_whole=False)


def test_back_off_doubles_stays_under_its_bound_and_forgets_after_success() -> None:
    state = synced(thing("a", 5, "u1"))
    now, waits = 0.0, []
    for _ in range(8):
        state.failed(AWAY, now, 1.0)
        step, later = after_pauses(state, now, 1.0)
        assert isinstance(step, OpenWatch)
        waits.append(later - now)
        now = later
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    state.opened(now)
    state.event(bookmark("11"), now, 0)
    assert state.freshness.state == "live"
    state.failed(AWAY, now, 1.0)
    assert after_pauses(state, now, 1.0)[1] - now == pytest.approx(1)


def test_a_server_that_asks_for_patience_gets_it() -> None:
    state = synced(thing("a", 5, "u1"))
    state.failed(Unreachable("busy", code="api-busy", retry_after_s=45), 10, 0.0)
    step, now = after_pauses(state, 10)
    assert isinstance(step, OpenWatch)
    assert now == pytest.approx(55)


def test_watches_that_end_at_once_are_slowed_down_and_told() -> None:
    state, now = synced(thing("a", 5, "u1")), 0.0
    opened = []
    for _ in range(6):
        state.ended(now, 1.0)
        step, now = after_pauses(state, now, 1.0)
        assert isinstance(step, OpenWatch)
        opened.append(now)
        told = state.freshness.state
        state.opened(now)
    assert opened == [1, 3, 7, 15, 31, 61]
    assert told == "stale"


def test_an_error_event_that_comes_again_is_passed_by_a_list() -> None:
    state = synced(thing("a", 5, "u1"))
    state.event(WatchEvent(type="ERROR", status_code=500), 10, 0, BROKEN)
    step, now = after_pauses(state, 10)
    assert isinstance(step, OpenWatch)
    state.opened(now)
    state.event(WatchEvent(type="ERROR", status_code=500), now, 0, BROKEN)
    assert isinstance(after_pauses(state, now)[0], ListPage)


def test_a_bookmark_from_before_means_that_the_server_began_anew() -> None:
    state = synced(thing("a", 5, "u1"))
    state.event(bookmark("3"), 60, 0)
    assert not state.is_streaming
    assert after_pauses(state, 60)[0] == ListPage(token="", is_whole=False)


def test_a_watch_that_never_said_a_word_is_not_believed() -> None:
    state = synced(thing("a", 5, "u1"))
    state.ended(290, 0)
    assert isinstance(after_pauses(state, 290)[0], ListPage)


# ---- what ends it, and what does not ----


@pytest.mark.parametrize(
    "error",
    [DENIED, CredentialError("log in"), TrustError("not trusted"), Refused("bad selector", code="invalid")],
    ids=lambda error: type(error).__name__,
)
def test_a_list_that_nothing_helps_against_is_given_up(error: BrokerError) -> None:
    state = WatchState[Thing](Timing(), now=0)
    state.step(0, 0)
    state.failed(error, 0, 0)
    assert state.step(0, 0) == GiveUp(error=error)


def test_a_login_that_expires_later_ends_it_too() -> None:
    state, error = synced(), CredentialError("log in")
    state.failed(error, 100, 0)
    assert state.step(100, 0) == GiveUp(error=error)
    assert state.freshness.error is error


def test_a_server_that_cannot_be_reached_at_first_is_tried_so_often_and_later_for_ever() -> None:
    state = WatchState[Thing](Timing(unsynced_tries=3, list_gap_s=0), now=0)
    now, steps = 0.0, []
    for _ in range(4):
        step, now = after_pauses(state, now)
        steps.append(type(step))
        state.failed(AWAY, now, 0.5)
    assert steps == [ListPage, ListPage, ListPage, GiveUp]
    patient = synced(timing=Timing(unsynced_tries=3))
    now = 0.0
    for _ in range(20):
        patient.failed(AWAY, now, 0.5)
        step, now = after_pauses(patient, now)
        assert not isinstance(step, GiveUp)


def test_a_missing_api_is_final_before_the_first_list_only() -> None:
    absent = Unreachable("no KubeVirt", code="api-absent")
    fresh = WatchState[Thing](Timing(), now=0)
    fresh.step(0, 0)
    fresh.failed(absent, 0, 0)
    assert isinstance(fresh.step(0, 0), GiveUp)
    state = synced()
    state.failed(absent, 100, 0)
    assert isinstance(after_pauses(state, 100)[0], OpenWatch)


def test_a_denied_watch_is_listed_slowly_and_says_so() -> None:
    state, now, lists = synced(timing=Timing(poll_s=20)), 100.0, []
    state.failed(DENIED, now, 0)
    for _ in range(2):
        step, now = after_pauses(state, now, 0)
        if isinstance(step, ListPage):
            state.listed(page(version="20"), now, 0)
        else:
            state.failed(DENIED, now, 0)
    assert state.freshness.state == "polling"
    assert state.freshness.error is DENIED
    for _ in range(3):
        step, now = after_pauses(state, now, 0)
        assert isinstance(step, ListPage)
        lists.append(now)
        state.listed(page(version="20"), now, 0)
    assert [b - a for a, b in pairwise(lists)] == [20, 20]
    assert state.freshness.state == "polling"


def test_a_denied_watch_is_an_error_where_polling_is_not_wanted() -> None:
    state, now = synced(timing=Timing(poll_s=None)), 100.0
    for _ in range(3):
        step, now = after_pauses(state, now)
        if isinstance(step, GiveUp):
            break
        if isinstance(step, ListPage):
            state.listed(page(version="20"), now, 0)
        else:
            state.failed(DENIED, now, 0)
    assert state.step(now, 0) == GiveUp(error=DENIED)


def test_a_server_that_denies_for_a_moment_after_its_start_is_forgiven() -> None:
    state = synced()
    state.failed(DENIED, 100, 0)
    step, now = after_pauses(state, 100)
    assert isinstance(step, ListPage)
    state.listed(page(version="20"), now, 0)
    assert isinstance(after_pauses(state, now)[0], OpenWatch)
    state.opened(now)
    assert state.freshness.state == "live"


def test_a_list_without_version_or_end_is_an_error() -> None:
    for pages in ([page(version="")], [page(version="1", token="t"), page(version="1", token="t")]):
        state = WatchState[Thing](Timing(), now=0)
        for each in pages:
            state.step(0, 0)
            state.listed(each, 0, 0)
        assert isinstance(state.step(0, 0), GiveUp)


# ---- whatever happens ----

Act = tuple[str, int]
ACTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["put", "leave", "delete", "compact", "deliver", "deliver", "bookmark", "end", "error", "fail", "busy", "wait"]
        ),
        st.integers(0, 5),
    ),
    min_size=10,
    max_size=60,
)


@given(
    acts=ACTS,
    page_size=st.integers(1, 4),
    seed=st.integers(0, 2**16),
    gap_s=st.sampled_from([0.0, 1.0, 5.0]),
    begins_synced=st.booleans(),
)
@settings(max_examples=max(300, settings().max_examples))
def test_whatever_happens_the_objects_are_the_servers_and_lists_keep_their_distance(
    acts: list[Act], page_size: int, seed: int, gap_s: float, begins_synced: bool
) -> None:
    run = _Run(page_size=page_size, seed=seed, gap_s=gap_s)
    if begins_synced:
        run.settle()
    for act, number in acts:
        run.act(act, number)
    run.settle()
    assert {key: obj.metadata.resource_version for key, obj in run.state.objects.items()} == run.server.selected
    assert run.told == run.server.selected
    assert run.state.freshness.state == "live"
    assert all(later - earlier >= gap_s - 1e-6 for earlier, later in pairwise(run.lists))
    assert max(run.pauses, default=0) <= 30 + gap_s


class _Run:
    """One state and one server; what the changes told is kept apart from what the state knows."""

    def __init__(self, *, page_size: int, seed: int, gap_s: float) -> None:
        self.server = Server()
        self.state = WatchState[Thing](Timing(list_gap_s=gap_s, poll_s=None), now=0)
        self.told: dict[tuple[str, str], str | None] = {}
        self.lists: list[float] = []
        self.pauses: list[float] = []
        self._dice = random.Random(seed)
        self._size = page_size
        self._now = 0.0
        self._watch_version: str | None = None

    def act(self, act: str, number: int) -> None:
        name = f"vm-{number}"
        match act:
            case "put" | "leave":
                self.server.put(name, is_selected=act == "put")
            case "delete":
                self.server.delete(name)
            case "compact":
                self.server.compact()
            case "wait":
                self._now += number * 20
            case "deliver":
                self._go_on()
            case "bookmark" if self._is_open:
                self._deliver()
                if self._is_open:
                    self._event(bookmark(str(self.server.version)))
            case "end" if self._is_open:
                self.state.ended(self._now, self._roll())
            case "error" if self._is_open:
                self._event(WatchEvent(type="ERROR", status_code=500), BROKEN)
            case "fail" if self._is_open:
                self.state.failed(AWAY, self._now, self._roll())
            case "fail" | "busy":
                self._go_on(trouble=AWAY if act == "fail" else Unreachable("busy", code="api-busy", retry_after_s=2))

    def settle(self) -> None:
        for _ in range(40):
            self._go_on()
            if self._is_open and not self._behind():
                self._deliver()
                return
        raise AssertionError("it never comes to rest")

    @property
    def _is_open(self) -> bool:
        return self.state.is_streaming

    def _behind(self) -> bool:
        return bool(self.server.since(self._watch_version or "0")) if self._can_read() else True

    def _can_read(self) -> bool:
        return int(self._watch_version or "0") >= self.server.oldest

    def _roll(self) -> float:
        return self._dice.random()

    def _go_on(self, trouble: BrokerError | None = None) -> None:
        if self._is_open:
            self._deliver()
            return
        match self.state.step(self._now, self._roll()):
            case Pause(seconds_s=seconds_s):
                self.pauses.append(seconds_s)
                self._now += seconds_s
            case ListPage(token=token, is_whole=is_whole):
                if not token:
                    self.lists.append(self._now)
                self._list(token, 100 if is_whole else self._size, trouble)
            case OpenWatch(resource_version=version):
                self._watch_version = version
                if trouble is not None:
                    self.state.failed(trouble, self._now, self._roll())
                else:
                    self.state.opened(self._now)
                    self._deliver()
            case GiveUp(error=error):
                raise AssertionError(error)

    def _list(self, token: str, size: int, trouble: BrokerError | None) -> None:
        self._now += 0.01
        if trouble is not None:
            self.state.failed(trouble, self._now, self._roll())
            return
        try:
            found = self.server.page(token, size)
        except ValueError:
            self.state.failed(EXPIRED, self._now, self._roll())
            return
        self._told(self.state.listed(found, self._now, self._roll()))

    def _deliver(self) -> None:
        if not self._can_read():
            self._event(WatchEvent(type="ERROR", status_code=410), EXPIRED)
            return
        for each in self.server.since(self._watch_version or "0"):
            self._event(each)

    def _event(self, each: WatchEvent[Thing], error: BrokerError | None = None) -> None:
        self._now += 0.01
        self._watch_version = each.meta.resource_version or self._watch_version
        self._told(self.state.event(each, self._now, self._roll(), error))

    def _told(self, changes: object) -> None:
        assert isinstance(changes, tuple)
        for change in changes:
            if change.kind == "removed":
                del self.told[change.key]
            else:
                assert (change.key in self.told) is (change.kind == "changed")
                self.told[change.key] = change.obj.metadata.resource_version
