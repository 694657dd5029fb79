"""Wait until a VM runs, has an address, has its agent, or answers ssh: by watching its VM and VMI, never by asking again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from broker.actions.connect import login_of, obstacle
from broker.actions.context import Broker
from broker.actions.guest_watch import GuestWatch
from broker.actions.readiness import Aim, Sight, bars, guide, lacks, reached, seen
from broker.actions.reading import Reading, reading_of
from broker.actions.ssh_answer import SshAnswer
from broker.actions.wait_result import WaitResult
from broker.clean import Clean, clean
from broker.errors import BrokerError, NotFound, TimedOut
from broker.kube.resources import VIRTUAL_MACHINES
from broker.kube.session import in_thread
from broker.refs import Kind, Target, dotted_reading, shown
from broker.tasks import Supervisor

_MEANT_S: Final = 3.0
_UNSEEN_S: Final = 1.0
"""Seconds without a watch after which it is said that what is told may be old: a watch that ends is opened again sooner."""
_LOOK: Final = "see whether the API server runs, and the network, VPN and proxy on the way to it: vmbroker doctor"


async def wait_for(
    broker: Broker, target: Target, aim: Aim, *, timeout_s: float, port: int | None, say: Callable[[str], None]
) -> WaitResult:
    """Wait at most `timeout_s` seconds (0: look once, within the limits of one call); `say` takes each new line of progress.

    Raises NotFound where nothing of that name is there, or is deleted meanwhile, NotPermitted, TimedOut (code `wait-timeout`)
    with what was seen last, and whatever `watch` and a dial cannot mend. `port` None leaves it to the VM and the settings.
    """
    waiting: _Waiting | None = None
    try:
        async with Supervisor("wait") as tasks:
            waiting = _Waiting(broker, target, aim, timeout_s=timeout_s, port=port, say=say, tasks=tasks)
            result = await waiting.until()
        return result  # noqa: RET504  # a block that may swallow is no end to mypy
    except BrokerError as exc:
        if waiting is None or isinstance(exc, TimedOut):
            raise
        found = await waiting.explained(exc)
        if found is exc:
            raise
        raise found from exc


class _Waiting:
    """One wait: two watches and the dials stir it, and it judges anew each time."""

    def __init__(
        self,
        broker: Broker,
        target: Target,
        aim: Aim,
        *,
        timeout_s: float,
        port: int | None,
        say: Callable[[str], None],
        tasks: Supervisor,
    ) -> None:
        self._broker = broker
        self._target = target
        self._aim: Aim = aim
        self._namespace = target.namespace or broker.namespace
        self._timeout_s = timeout_s
        self._port = port
        self._say = say
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._stirred = asyncio.Event()
        self._watch = GuestWatch(broker, namespace=self._namespace, name=target.name, kind=target.kind, stir=self._stirred.set)
        self._ssh = SshAnswer(broker, tasks, self._stirred.set)
        self._judged = -1
        self._known: BrokerError | None = None
        self._said = ""

    async def until(self) -> WaitResult:
        """Wait until the aim is reached."""
        self._watch.start(self._tasks)
        while True:
            self._stirred.clear()
            wake_s = float("inf")
            if self._watch.is_decided:
                found, wake_s = await self._judge()
                if found is not None:
                    return self._result(found)
                if self._timeout_s == 0 and not self._ssh.is_dialling:
                    raise self._timed_out()
            self._tell()
            if (unseen_s := self._watch.unseen_since_s) is not None and self._loop.time() < unseen_s + _UNSEEN_S:
                wake_s = min(wake_s, unseen_s + _UNSEEN_S)
            await self._pause(wake_s)

    async def explained(self, error: BrokerError) -> BrokerError:
        """Return what ended the wait with its true cause, as far as the cluster tells it (2 s at most)."""
        from broker.actions.explain_wait import explain_dial, explain_list

        endpoint = self._broker.endpoint
        if self._ssh.trouble is error:
            reading = self._as_reading()
            port = self._port_of(reading)
            return await in_thread(lambda: explain_dial(endpoint, error, reading=reading, port=port))
        kind: Kind = "vm" if error is self._watch.vm.denied else "vmi"
        target, namespace = self._target, self._namespace
        return await in_thread(lambda: explain_list(endpoint, error, target=target, namespace=namespace, kind=kind))

    async def _pause(self, wake_s: float) -> None:
        """Wait for news, at most until `wake_s` (loop time); TimedOut where the whole time is over."""
        if self._timeout_s == 0 and not self._watch.is_decided and (trouble := self._watch.trouble) is not None:
            raise trouble
        ends_s = self._ends_s()
        if self._loop.time() >= ends_s:
            raise self._timed_out()
        try:
            async with asyncio.timeout_at(None if (until_s := min(wake_s, ends_s)) == float("inf") else until_s):
                await self._stirred.wait()
        except TimeoutError:
            if self._loop.time() >= ends_s:
                raise self._timed_out() from None

    def _ends_s(self) -> float:
        """Return when the time is over (loop time). One look: the lists have the time of one call, a dial its own limits."""
        if self._timeout_s:
            return self._began_s + self._timeout_s
        return float("inf") if self._watch.is_decided else self._began_s + self._broker.settings.api.timeout_s

    async def _judge(self) -> tuple[Clean | None, float]:
        """Return what reached the aim, or when to look again; raises what ends the wait."""
        if self._watch.vmi.denied is not None and (self._aim != "ssh" or self._target.kind == "vmi"):
            raise self._watch.vmi.denied
        self._check_deleted()
        reading = await self._reading()
        found = reached(self._aim, self._sight)
        if found is not None or self._aim != "ssh":
            return found, float("inf")
        if self._ssh.greeting is not None:
            return clean(f"ssh answers ({self._ssh.greeting})"), float("inf")
        changes = self._watch.changes
        has_changed, self._judged = changes != self._judged, changes
        port = self._port_of(reading)
        self._known = obstacle(reading, port)
        if self._known is not None:
            self._ssh.leave()
            return None, float("inf")
        return None, self._ssh.pursue(reading, port, has_changed=has_changed)

    def _check_deleted(self) -> None:
        """A VM that went is not waited for, even if another takes its name; an instance without a VM neither."""
        is_vmi = self._target.kind != "vm" and not self._watch.vm.was_here and self._watch.vm.denied is None
        view = self._watch.vmi if is_vmi else self._watch.vm
        if view.is_gone and view.was_here:
            raise NotFound(
                f"the {'VMI' if is_vmi else 'VM'} {self._name} was deleted while it was waited for",
                code="vmi-deleted" if is_vmi else "vm-deleted",
                next_step=f"see what is there: vmbroker vms -n {self._namespace}",
            )

    async def _reading(self) -> Reading:
        if self._watch.vm.was_here or (self._target.kind != "vm" and self._watch.vmi.was_here):
            return self._as_reading()
        lacking = self._watch.lacking
        meant = None if lacking else await self._meant()
        vmi = self._watch.vmi.obj
        return reading_of(self._target, self._namespace, None, vmi, lacking, meant=lambda: meant, verb="wait")

    def _as_reading(self) -> Reading:
        return Reading(
            target=self._target,
            namespace=self._namespace,
            name=self._target.name,
            vm=self._watch.vm.obj,
            vmi=self._watch.vmi.obj,
            may_lack=self._watch.lacking,
        )

    async def _meant(self) -> Target | None:
        """Return what virtctl before 1.7 took a dotted name for, where that is there."""
        meant = dotted_reading(self._target) if self._target.namespace is None else None
        if meant is None or meant.namespace is None:
            return None
        try:
            async with asyncio.timeout_at(min(self._loop.time() + _MEANT_S, self._ends_s())):
                await self._broker.rest.read(VIRTUAL_MACHINES, meant.namespace, meant.name)
        except (BrokerError, TimeoutError):
            return None
        return meant

    def _port_of(self, reading: Reading) -> int:
        return self._port or login_of(reading, self._broker.settings).port

    # ---- words ----

    @property
    def _sight(self) -> Sight:
        return Sight(vm=self._watch.vm.obj, vmi=self._watch.vmi.obj)

    @property
    def _name(self) -> Clean:
        return shown(self._target.name, self._namespace)

    @property
    def _word(self) -> str:
        kind = self._target.kind or ("vm" if self._watch.vm.was_here or self._watch.vm.denied else "vmi")
        return f"{kind}/{self._target.name}/{self._namespace}"

    def _tell(self) -> None:
        line = f"waiting for {self._aim} of {self._name}: {self._seen()}"
        if line != self._said:
            self._said = line
            self._say(line)

    def _seen(self, *, is_last: bool = False) -> str:
        trouble = self._watch.trouble
        if not self._watch.is_decided:
            return f"nothing seen yet ({trouble.message})" if trouble is not None else "nothing seen yet"
        words = str(seen(self._aim, self._sight)) if self._watch.vmi.denied is None else "its VMI may not be read"
        # What is in the way comes first: a terminal cuts the line's end.
        if self._known is not None and bars(self._known):
            words = f"{self._known.message}; {words}"
        elif self._known is None and self._ssh.trouble is not None:
            words = f"{self._ssh.trouble.message}; {words}"
        elif self._ssh.is_dialling:
            words = f"dialled, no answer yet; {words}"
        return words + self._doubt(trouble, is_last=is_last)

    def _doubt(self, trouble: BrokerError | None, *, is_last: bool) -> str:
        """Say that what is told was seen before; `is_last` counts the seconds, which a line of progress does not."""
        unseen_s = self._watch.unseen_since_s
        ago_s = 0.0 if unseen_s is None else self._loop.time() - unseen_s
        if trouble is None and ago_s < _UNSEEN_S:
            return ""
        ago = f" {max(ago_s, 1.0):.0f} s ago" if is_last and unseen_s is not None else ""
        return f" (as last seen{ago}: {trouble.message if trouble is not None else 'the API server has not answered since'})"

    def _timed_out(self) -> TimedOut:
        waited = f"after {self._timeout_s:g} s of waiting" if self._timeout_s else "now"
        trouble = self._watch.trouble
        if not self._watch.is_decided:
            return TimedOut(
                f"nothing could be seen of {self._name} in {self._loop.time() - self._began_s:.3g} s",
                code="wait-timeout",
                cause=f"waited for {self._aim}; {self._silence(trouble)}",
                next_step=_LOOK if trouble is None else trouble.next_step,
            )
        reading = self._as_reading()
        port = self._port_of(reading)
        known = obstacle(reading, port) or self._ssh.trouble
        return TimedOut(
            f"{self._name} {lacks(self._aim, port)} {waited}",
            code="wait-timeout",
            cause=f"seen last: {self._seen(is_last=True)}"[:400],
            next_step=guide(self._aim, known, self._word),
        )

    def _silence(self, trouble: BrokerError | None) -> str:
        if trouble is None:
            return f"the API server {clean(self._broker.endpoint.host_header)} gave no answer"
        return clean(trouble.message + (f": {trouble.cause}" if trouble.cause else ""), 400)

    def _result(self, found: Clean) -> WaitResult:
        return WaitResult(
            target=self._word,
            namespace=self._namespace,
            name=self._target.name,
            aim=self._aim,
            seconds_s=self._loop.time() - self._began_s,
            seen=found,
            warnings=self._watch.warnings,
        )
