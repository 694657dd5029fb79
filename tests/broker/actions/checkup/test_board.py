"""Checks that wait for each other, fail, break, or get no answer in time."""

from __future__ import annotations

import asyncio

from broker.actions.checkup.board import Board
from broker.actions.checkup.check import CATALOGUE, OF_TARGET, Check, ok, unknown
from broker.errors import Unreachable

CLUSTER = [code for code in CATALOGUE if code not in OF_TARGET]


def found(board: Board, budget_s: float = 1) -> dict[str, Check]:
    return {check.code: check for check in board.finish(budget_s)}


async def test_what_depends_on_a_failure_is_not_looked_at() -> None:
    board = Board(has_target=False)

    async def connect() -> None:
        async with board.judging("tcp", "tls-trust"):
            raise Unreachable("cannot reach it", cause="refused")

    async def ask() -> None:
        async with board.judging("identity"):
            await board.need("tls-trust", by=("identity",))
            raise AssertionError("nothing may be asked")

    await board.run(("connect", connect()), ("ask", ask()), until_s=0.1)
    checks = found(board)
    assert (checks["tcp"].state, checks["tcp"].says, checks["tcp"].cause) == ("failed", "cannot reach it", "refused")
    for code in ("tls-trust", "identity"):
        assert (checks[code].state, checks[code].says) == ("unknown", "not looked at: 'TCP connection' failed")


async def test_a_passable_unknown_lets_others_go_on() -> None:
    board = Board(has_target=False)
    board.settle(unknown("tls-trust", "not checked"), is_passable=True)
    board.settle(unknown("credential", "it wants to ask"))
    await board.need("tls-trust", by=("identity",))
    async with board.judging("identity"):
        await board.need("credential", by=("identity",))
    assert found(board)["identity"].says == "not looked at: 'credential at hand' is unknown"


async def test_the_budgets_end_names_what_was_waited_for() -> None:
    board = Board(has_target=False)

    async def hang() -> None:
        async with board.judging("tls-trust", "tls-names"):
            board.waits("tls-trust", ("tls-names",))
            await asyncio.Event().wait()

    async def ask() -> None:
        async with board.judging("identity", "kubevirt"):
            board.waits("identity", ("kubevirt",))
            await board.need("tls-names", by=("identity",))

    await board.run(("hang", hang()), ("ask", ask()), until_s=0.05)
    checks = found(board, 0.05)
    assert checks["tls-trust"].says == "no answer within 0.05 s"
    for code in ("tls-names", "identity", "kubevirt"):
        assert (checks[code].state, checks[code].says) == ("unknown", "not looked at: 'TLS trusted' has no answer")


async def test_a_run_ends_as_soon_as_every_check_has_an_end() -> None:
    board = Board(has_target=False)

    async def all_at_once() -> None:
        for code in CLUSTER:
            board.settle(ok(code, "well"))

    async with asyncio.timeout(30):
        await board.run(("all", all_at_once()), until_s=3600)
    assert [check.state for check in board.finish(3600)] == ["ok"] * len(CLUSTER)


async def test_a_check_that_breaks_leaves_the_others_alone() -> None:
    board = Board(has_target=False)

    async def broken() -> None:
        async with board.judging("proxy", "upgrade"):
            raise ZeroDivisionError

    async def sound() -> None:
        async with board.judging("tcp"):
            board.settle(ok("tcp", "open"))

    await board.run(("broken", broken()), ("sound", sound()), until_s=0.05)
    checks = found(board)
    assert (checks["proxy"].state, checks["proxy"].error_code) == ("failed", "defect")
    assert checks["proxy"].says == "vmbroker met a defect of its own: ZeroDivisionError"
    assert checks["upgrade"].says == "not looked at: 'proxy' failed"
    assert checks["tcp"].state == "ok"


async def test_the_first_result_of_a_check_counts_and_a_stranger_is_dropped() -> None:
    board = Board(has_target=False)
    board.settle(ok("tcp", "first"))
    board.settle(unknown("tcp", "second"))
    board.settle(ok("vm-port", "without a target"))
    checks = found(board)
    assert checks["tcp"].says == "first"
    assert "vm-port" not in checks
