"""What a forward tells: a reason at once, one that repeats with its count, and the idle clock of the tally."""

from __future__ import annotations

import asyncio

from broker.actions.forwarding.reports import EVERY_S, ClientFailure, Complaints, Listening, Tally
from broker.errors import BrokerError, Failed, GuestUnready

WEB = Listening(word="8080:80", protocol="tcp", address="127.0.0.1", port=8080, remote_port=80)
SIX = Listening(word="udp/[::1]:53", protocol="udp", address="::1", port=53, remote_port=53)


def refused() -> BrokerError:
    return GuestUnready("nothing listens", code="nothing-listens")


async def test_a_reason_is_told_at_once_and_its_repetitions_with_a_count() -> None:
    told: list[ClientFailure] = []
    again = asyncio.Event()

    def tell(failure: ClientFailure) -> None:
        told.append(failure)
        if len(told) > 1:
            again.set()

    complaints = Complaints(tell)
    for _ in range(5):
        complaints.note(WEB, refused())
    assert [(each.listening, each.error.code, each.count) for each in told] == [(WEB, "nothing-listens", 1)]
    async with asyncio.timeout(5 * EVERY_S):
        await again.wait()
    assert told[1].count == 4
    assert told[0].since_s == 0
    assert EVERY_S / 2 < told[1].since_s < 5 * EVERY_S


async def test_what_is_held_back_is_told_with_its_newest_cause() -> None:
    told: list[ClientFailure] = []
    complaints = Complaints(told.append)
    for cause in ("it boots", "it hangs", "it stopped"):
        complaints.note(WEB, GuestUnready("nothing listens", code="nothing-listens", cause=cause))
    complaints.flush()
    assert [(each.error.cause, each.count) for each in told] == [("it boots", 1), ("it stopped", 2)]


async def test_other_reasons_and_other_ports_are_told_beside_it() -> None:
    told: list[ClientFailure] = []
    complaints = Complaints(told.append)
    complaints.note(WEB, refused())
    complaints.note(SIX, refused())
    complaints.note(WEB, Failed("something else"))
    assert len(told) == 3


async def test_what_is_held_back_comes_before_what_happened_later() -> None:
    told: list[ClientFailure] = []
    complaints = Complaints(told.append)
    for listening in (WEB, WEB, SIX, SIX):
        complaints.note(listening, refused())
    complaints.note(WEB, Failed("something else"))
    assert [(each.listening, each.error.code, each.count) for each in told] == [
        (WEB, "nothing-listens", 1),
        (SIX, "nothing-listens", 1),
        (WEB, "nothing-listens", 1),
        (WEB, "failed", 1),
    ]


async def test_the_end_tells_what_was_held_back() -> None:
    told: list[ClientFailure] = []
    complaints = Complaints(told.append)
    for _ in range(3):
        complaints.note(WEB, refused())
    complaints.flush()
    assert [each.count for each in told] == [1, 2]


async def test_ever_new_reasons_are_bounded() -> None:
    told: list[ClientFailure] = []
    complaints = Complaints(told.append)
    for number in range(2000):
        complaints.note(WEB, Failed(f"reason {number}"))
    assert len(told) < 1000


def test_a_place_is_shown_as_it_is_typed() -> None:
    assert (WEB.local, SIX.local) == ("127.0.0.1:8080", "[::1]:53")


async def test_the_tally_knows_since_when_nobody_is_there() -> None:
    tally = Tally()
    tally.opened()
    tally.opened()
    tally.closed(10.0)
    assert not tally.empty.is_set()
    tally.closed(12.0)
    assert tally.empty.is_set()
    assert (tally.empty_since, tally.connections, tally.open) == (12.0, 2, 0)
