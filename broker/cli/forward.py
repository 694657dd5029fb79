"""`vmbroker forward`: local ports that lead to ports of a guest, until a signal or idleness ends it."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from broker.clean import clean, escaped
from broker.cli import exits, output
from broker.cli.guest import opened
from broker.cli.invocation import Invocation
from broker.errors import UsageError
from broker.facts.commands import again
from broker.paths.forward_spec import parse_forwards
from broker.refs import Target, parse_target

if TYPE_CHECKING:
    import asyncio

    from broker.actions.forward import Ready
    from broker.actions.forwarding.reports import ClientFailure, Listening, Tally
    from broker.kube.endpoint import Endpoint

_IDLE_LIMIT_S: Final = 7 * 86_400
_UNITS: Final = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(invocation: Invocation) -> int:
    """Listen, say where, and serve; 130 after SIGINT, 0 after SIGTERM, SIGHUP or `--exit-when-idle`.

    Raises as `actions.forward` does until the ports are open; afterwards a client's trouble is told on stderr and goes by.
    """
    import asyncio

    from broker.actions.forward import Fronts, forward
    from broker.tasks import run as run_loop

    parsed = invocation.parsed
    target = _target(parsed.operands[0])
    specs = parse_forwards(parsed.operands[1:], address=parsed.text("address"))
    idle_s = _seconds(parsed.text("exit_when_idle"))
    endpoint, settings = opened(invocation, target, stdin_is_ours=True)
    as_json = parsed.output == "json"

    def reopen() -> Endpoint:
        # The context by name: another one may have become current since.
        return invocation.endpoint(stdin_is_ours=False, context=endpoint.context or None)

    async def serve() -> Tally | None:
        stop = asyncio.Event()
        with ending.watching(stop), ExitStack() as waiting:
            waiting.enter_context(exits.progress(f"reading {target}"))

            def ready(found: Ready) -> None:
                waiting.close()
                ending.is_serving = True
                _say_ready(found, as_json=as_json)

            fronts = Fronts(
                on_ready=ready, on_failure=lambda failure: _say_failure(failure, as_json=as_json), reopen=reopen, stop=stop
            )
            try:
                return await forward(endpoint, settings, target, specs, fronts, exit_when_idle_s=idle_s)
            except asyncio.CancelledError:
                return None  # a signal before the ports were open, or a second one

    ending = _Ending()
    tally = run_loop(serve())
    if tally is None:
        return exits.INTERRUPTED
    _say_end(tally, as_json=as_json)
    return ending.status


def _target(word: str) -> Target:
    _, at, rest = word.rpartition("@")
    if not at:
        return parse_target(word)
    parse_target(rest)  # so that the word is fit for a command line
    raise UsageError(
        f"forward takes no user: {escaped(word)}",
        cause="its ports are open to whoever may connect to them; who logs in says so to the program behind",
        next_step=f"leave the user out: {again('forward', rest)}",
    )


class _Ending:
    """Signals that end a forward: the first in order, the second at once, and so the first before the ports are open."""

    def __init__(self) -> None:
        self.status = 0
        self.is_serving = False
        self._stop: asyncio.Event | None = None
        self._task: asyncio.Task[object] | None = None
        self._taken: list[signal.Signals] = []

    def watching(self, stop: asyncio.Event) -> Self:
        """Set the event that the first signal sets."""
        self._stop = stop
        return self

    def __enter__(self) -> Self:
        import asyncio

        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for each in _SIGNALS:
            # Who started us in the background or under nohup said so by ignoring it.
            if signal.getsignal(each) is not signal.SIG_IGN:
                loop.add_signal_handler(each, self._signalled, each)
                self._taken.append(each)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        for each in self._taken:
            loop.remove_signal_handler(each)

    def _signalled(self, number: signal.Signals) -> None:
        assert self._stop is not None
        assert self._task is not None
        if self._stop.is_set() or not self.is_serving:
            self._task.cancel()
            return
        self.status = exits.INTERRUPTED if number == signal.SIGINT else 0
        self._stop.set()


def _say_ready(found: Ready, *, as_json: bool) -> None:
    reading = found.reading
    exits.warn(clean(warning) for warning in reading.warnings)
    if as_json:
        output.json_line(
            {
                "apiVersion": output.API_VERSION,
                "kind": "Forward",
                "target": {"kind": reading.kind, "namespace": reading.namespace, "name": reading.name},
                "forwards": [_as_json(each) for each in found.listening],
            }
        )
    else:
        guest = f"{reading.namespace}/{reading.name}"
        output.names([clean(f"{each.local} -> {guest}:{each.remote_port} ({each.protocol})", 600) for each in found.listening])
    if sys.stdout is not None:
        sys.stdout.flush()
    for error in found.obstacles:
        if as_json:
            exits.event(_event("guest-unready", **_reasons(error.as_json())))
        else:
            parts = (f"{error.message} [{error.code}]", error.cause, error.next_step)
            exits.warn(["; ".join(part for part in parts if part)])


def _say_failure(failure: ClientFailure, *, as_json: bool) -> None:
    listening, error = failure.listening, failure.error
    if as_json:
        fields = _reasons(error.as_json())
        since_s = round(failure.since_s, 3)
        exits.event(_event("client-failed", forward=_as_json(listening), count=failure.count, sinceS=since_s, **fields))
        return
    where = listening.local if listening.protocol == "tcp" else f"udp {listening.local}"
    exits.failure(clean(where, 100), error, count=failure.count, since_s=failure.since_s)


def _say_end(tally: Tally, *, as_json: bool) -> None:
    traffic = tally.traffic
    if as_json:
        exits.event(
            _event(
                "ended",
                connections=tally.connections,
                failed=tally.failed,
                fromGuestBytes=traffic.from_guest_bytes,
                toGuestBytes=traffic.to_guest_bytes,
                droppedDatagrams=tally.dropped_datagrams,
            )
        )
        return
    dropped = f", {tally.dropped_datagrams} datagrams dropped" if tally.dropped_datagrams else ""
    exits.note(
        f"{tally.connections} connection{'' if tally.connections == 1 else 's'}, {tally.failed} failed,"
        f" {_size(traffic.from_guest_bytes)} down, {_size(traffic.to_guest_bytes)} up{dropped}"
    )


def _event(event: str, **fields: object) -> dict[str, object]:
    return {"apiVersion": output.API_VERSION, "kind": "ForwardEvent", "event": event, **fields}


def _reasons(error: dict[str, object]) -> dict[str, object]:
    return {name: error[name] for name in ("code", "message", "cause", "nextStep")}


def _as_json(each: Listening) -> dict[str, object]:
    return {"protocol": each.protocol, "address": each.address, "port": each.port, "remotePort": each.remote_port}


def _size(count: int) -> str:
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    from broker.config.keys import Key
    from broker.config.values import BadValue, read_value

    key = Key(name="--exit-when-idle", kind="duration", default=None, low=0.1, high=_IDLE_LIMIT_S, help="")
    try:
        value = read_value(key, text)
    except BadValue as exc:
        raise UsageError(str(exc), next_step="`vmbroker forward --help` lists the flags") from exc
    assert isinstance(value, float)
    return value
