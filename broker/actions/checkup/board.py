"""Where the checks of `doctor` meet: each is settled once, waits for those it needs, and is judged when the time is up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from broker.actions.checkup.check import CATALOGUE, OF_TARGET, Check, failed, not_looked_at, title_of, unknown
from broker.errors import BrokerError, Failed
from broker.tasks import Supervisor

_log = logging.getLogger("broker.actions")


class NotLookedAt(Exception):
    """A check cannot be made, since another one has no good end; its text says which."""


class Board:
    """The results of one run, one for each check of the catalogue; checks run side by side as tasks of one supervisor.

    `began_s` is the start by the monotonic clock, now where none is given.
    """

    def __init__(self, *, has_target: bool, began_s: float | None = None) -> None:
        self._began = time.monotonic() if began_s is None else began_s
        self._ends: dict[str, asyncio.Future[Check]] = {}
        self._waits: dict[str, str] = {}
        self._passable: set[str] = set()
        self._tasks: Supervisor | None = None
        loop = asyncio.get_running_loop()
        for code in CATALOGUE:
            if has_target or code not in OF_TARGET:
                self._ends[code] = loop.create_future()

    def settle(self, check: Check, *, is_passable: bool = False) -> None:
        """Put a check's result on the board; a second one for the same check is dropped.

        `is_passable`: those that need it go on although it is unknown.
        """
        if is_passable:
            self._passable.add(check.code)
        end = self._ends.get(check.code)
        if end is not None and not end.done():
            end.set_result(check if check.took_s else replace(check, took_s=time.monotonic() - self._began))

    def waits(self, code: str, those: Iterable[str]) -> None:
        """Note that these checks cannot begin before `code` has ended: so they are told if time runs out."""
        for each in those:
            self._waits[each] = code

    async def need(self, code: str, *others: str, by: Iterable[str]) -> None:
        """Wait until these checks have ended well, else NotLookedAt; `by` are the checks that wait for them."""
        for each in (code, *others):
            for waiter in by:
                self._waits[waiter] = each
            check = await asyncio.shield(self._ends[each])
            if check.state != "ok" and each not in self._passable:
                raise NotLookedAt(_why(check))
            for waiter in by:
                self._waits.pop(waiter, None)

    async def end_of(self, code: str) -> Check:
        """Wait for a check and return it, however it ended."""
        return await asyncio.shield(self._ends[code])

    @asynccontextmanager
    async def judging(self, *codes: str) -> AsyncIterator[None]:
        """Settle what the block leaves open: an error fails the first open check, the ones after it are not looked at."""
        try:
            yield
        except NotLookedAt as exc:
            self._give_up(codes, str(exc))
        except BrokerError as exc:
            self.fail(exc, codes)
        except Exception as exc:
            # One check that breaks must not take the others with it.
            _log.debug("a check of doctor broke", exc_info=exc)
            self.fail(_defect(exc), codes)

    def fail(self, error: BrokerError, codes: Iterable[str]) -> None:
        """Fail the first of these checks that is still open; the others are not looked at."""
        still_open = self._open(codes)
        if still_open:
            self.settle(failed(still_open[0], error))
            self._give_up(still_open[1:], f"'{title_of(still_open[0])}' failed")

    def finish(self, budget_s: float) -> tuple[Check, ...]:
        """Return every check; those without an end are unknown, and say what they waited for."""
        took_s = time.monotonic() - self._began
        still_open = self._open(self._ends)
        for code in still_open:
            root = self._root(code, still_open)
            if root != code:
                end = not_looked_at(code, f"'{title_of(root)}' has no answer")
            else:
                end = unknown(code, f"no answer within {budget_s:g} s")
            self.settle(replace(end, took_s=took_s))
        return tuple(end.result() for end in self._ends.values())

    def start(self, name: str, job: Coroutine[object, object, None]) -> None:
        """Start a job beside those that run; RuntimeError outside of `run`."""
        if self._tasks is None:
            job.close()
            raise RuntimeError("the board does not run")
        self._tasks.start(job, name=name)

    async def settled(self, codes: Iterable[str]) -> None:
        """Wait until all of these checks have an end."""
        await asyncio.wait([self._ends[code] for code in codes if code in self._ends])

    async def run(self, *jobs: tuple[str, Coroutine[object, object, None]], until_s: float) -> None:
        """Run named jobs side by side until every check is settled or `until_s` seconds have passed since the start."""
        async with Supervisor("doctor") as self._tasks:
            for name, job in jobs:
                self.start(name, job)
            left_s = until_s - (time.monotonic() - self._began)
            await asyncio.wait(self._ends.values(), timeout=max(left_s, 0.01))

    def first_failed(self, codes: Iterable[str]) -> str | None:
        """Return the first of these checks that has failed."""
        for code in codes:
            end = self._ends.get(code)
            if end is not None and end.done() and end.result().state == "failed":
                return code
        return None

    @property
    def took_s(self) -> float:
        """Seconds since the board was made."""
        return time.monotonic() - self._began

    def _open(self, codes: Iterable[str]) -> list[str]:
        return [code for code in codes if code in self._ends and not self._ends[code].done()]

    def _root(self, code: str, still_open: Iterable[str]) -> str:
        """Return the check without an answer that this one waits for in the end, itself where it waits for none."""
        among = set(still_open)
        while (needed := self._waits.get(code)) is not None and needed in among:
            among.discard(code)  # no circle can hold us
            code = needed
        return code

    def _give_up(self, codes: Iterable[str], why: str) -> None:
        for code in self._open(codes):
            self.settle(not_looked_at(code, why))


def _defect(error: Exception) -> Failed:
    return Failed(
        f"vmbroker met a defect of its own: {type(error).__name__}",
        code="defect",
        next_step="run doctor again with --debug and report what it prints",
    )


def _why(check: Check) -> str:
    if check.state == "failed":
        return f"'{check.title}' failed"
    return (
        check.says.removeprefix("not looked at: ")
        if check.says.startswith("not looked at: ")
        else f"'{check.title}' is unknown"
    )
