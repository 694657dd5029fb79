"""The one place where asyncio tasks are started: named, referenced and awaited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
_log = logging.getLogger("broker.tasks")


class Supervisor:
    """Tasks that live no longer than a block; leaving the block cancels and awaits what still runs.

    The first task that fails cancels the others and its exception leaves the block, unless the block itself failed first.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: BaseException | None = None
        self._owner: asyncio.Task[Any] | None = None
        self._is_leaving = False
        self._woke_owner = False

    async def __aenter__(self) -> Self:
        self._owner = asyncio.current_task()
        return self

    def start(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a coroutine as a task of this block; RuntimeError when the block is being left."""
        if self._is_leaving:
            coroutine.close()
            raise RuntimeError(f"{self._name} starts no more tasks")
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self._name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._is_leaving = True
        cancelled_from_outside = await self._settle()
        if self._failure is None or (error is not None and not isinstance(error, asyncio.CancelledError)):
            if cancelled_from_outside and error is None:
                raise asyncio.CancelledError
            return False
        if self._woke_owner and self._owner is not None and self._owner.uncancel() > 0:
            return False
        if error is not None and not self._woke_owner:
            return False
        raise self._failure

    async def _settle(self) -> bool:
        """Cancel and await every task; say whether we were cancelled ourselves meanwhile."""
        cancelled = False
        for task in tuple(self._tasks):
            task.cancel()
        while self._tasks:
            try:
                await asyncio.wait(tuple(self._tasks))
            except asyncio.CancelledError:
                cancelled = True
                for task in tuple(self._tasks):
                    task.cancel()
        return cancelled

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        _log.debug("task %s failed: %s", task.get_name(), type(error).__name__)
        if self._failure is None:
            self._failure = error
            if not self._is_leaving and self._owner is not None and not self._owner.done():
                self._woke_owner = True
                self._owner.cancel()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine as the program's only event loop and return its value.

    What asyncio would print of its own (a callback's traceback, foreign text in it) goes to the debug log.
    """
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(_stray)
        return runner.run(coroutine)


def _stray(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _log.debug("stray: %s", context.get("message"), exc_info=context.get("exception"))
