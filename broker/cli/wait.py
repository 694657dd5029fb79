"""`vmbroker wait`: until a VM runs, has an address, has its agent, or answers ssh."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from broker.clean import clean, escaped
from broker.cli import exits, output
from broker.cli.guest import opened
from broker.cli.invocation import Invocation
from broker.errors import UsageError
from broker.refs import parse_login, parse_port, shown

if TYPE_CHECKING:
    from broker.actions.readiness import Aim

_SECONDS: Final = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,3})?s?\Z", re.ASCII)
_MOST_S: Final = 7 * 86_400


def run(invocation: Invocation) -> int:
    """Wait and print one line or one JSON object; raises as `actions.wait_for` does."""
    from broker.actions.context import open_broker
    from broker.actions.wait_for import wait_for
    from broker.actions.wait_result import WaitResult
    from broker.tasks import run as run_loop

    parsed = invocation.parsed
    # A user, as ssh takes one in front, has no part in waiting.
    target = parse_login(parsed.operands[0]).target
    aim = _aim(parsed.text("aim") or "ssh")
    given, port = parsed.text("timeout"), parsed.text("port")
    limit_s = None if given is None else _seconds(given)
    wanted_port = parse_port(port) if port else None
    endpoint, settings = opened(invocation, target, stdin_is_ours=True)
    timeout_s = settings.wait.timeout_s if limit_s is None else limit_s

    with exits.progress(f"waiting for {aim} of {target}") as say:

        async def waited() -> WaitResult:
            async with open_broker(endpoint, settings) as broker:
                return await wait_for(broker, target, aim, timeout_s=timeout_s, port=wanted_port, say=say)

        result = run_loop(waited())
    exits.warn(result.warnings)
    if parsed.output == "json":
        output.json(result.as_json())
    else:
        output.text(clean(f"{shown(result.name, result.namespace)}: {result.seen}, {result.seconds_s:.1f} s", 800))
    return 0


def _aim(word: str) -> Aim:
    from broker.actions.readiness import AIMS

    for aim in AIMS:
        if word == aim:
            return aim
    one_of = ", ".join(AIMS)
    raise UsageError(f"`vmbroker wait` cannot wait for {escaped(word)}", next_step=f"use --for with one of {one_of}")


def _seconds(text: str) -> float:
    if not _SECONDS.match(text) or float(text.rstrip("s")) > _MOST_S:
        raise UsageError(f"--timeout {escaped(text)} is not a number of seconds", next_step=f"use 0 (look once) to {_MOST_S}")
    return float(text.rstrip("s"))
