"""Tasks end with their block, and a failure is heard."""

from __future__ import annotations

import asyncio

import pytest

from broker.tasks import Supervisor


async def test_leaving_the_block_cancels_and_awaits() -> None:
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    started = asyncio.Event()
    async with Supervisor("room") as tasks:
        task = tasks.start(wait(), name="waiter")
        asyncio.get_running_loop().call_soon(started.set)
        await started.wait()
        assert task.get_name() == "room/waiter"
        assert len(tasks) == 1
    assert ended.is_set()
    assert task.cancelled()


async def test_a_failing_task_ends_the_block_with_its_error() -> None:
    async def fail() -> None:
        raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        async with Supervisor("room") as tasks:
            tasks.start(fail(), name="failing")
            await asyncio.Event().wait()
    current = asyncio.current_task()
    assert current is not None and current.cancelling() == 0


async def test_the_error_of_the_block_itself_wins() -> None:
    async with Supervisor("outer"):
        with pytest.raises(KeyError):
            async with Supervisor("room") as tasks:
                tasks.start(asyncio.Event().wait(), name="waiter")
                raise KeyError("block")


async def test_cancelling_from_outside_stays_a_cancellation() -> None:
    inside = asyncio.Event()

    async def hold() -> None:
        async with Supervisor("room") as tasks:
            tasks.start(asyncio.Event().wait(), name="waiter")
            inside.set()
            await asyncio.Event().wait()

    async with Supervisor("test") as tasks:
        task = tasks.start(hold(), name="holder")
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_no_task_starts_while_the_block_is_left() -> None:
    tasks = Supervisor("room")
    async with tasks:
        pass
    with pytest.raises(RuntimeError):
        tasks.start(asyncio.Event().wait(), name="late")
