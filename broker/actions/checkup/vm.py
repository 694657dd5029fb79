"""`doctor` and one VM: read it, judge it, dial its port and listen for an SSH banner, by the same steps as `ssh`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from broker.actions.checkup.board import Board
from broker.actions.checkup.check import Check, failed, not_looked_at, ok, title_of
from broker.actions.checkup.vm_facts import FACTS, after_dial, check_of, elsewhere, existing, from_guest, from_objects
from broker.actions.connect import login_of, open_guest, read_guest
from broker.actions.explain_failure import BUDGET_S
from broker.actions.reading import Reading
from broker.errors import BrokerError, GuestUnready
from broker.kube.session import in_thread
from broker.paths.greeting import GreetingReader
from broker.refs import shown

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from broker.kube.cold import ColdClient, ColdStream
    from broker.refs import Target

CODES: Final = ("vm-exists", *FACTS, "vm-port", "vm-banner", "vm-agent", "vm-user", "upgrade")
"""What this module settles."""
_GREETING_S: Final = 5.0
_LEAST_DIAL_S: Final = 1.0
_EXPLAIN_S: Final = BUDGET_S + 0.2
_LOST_UPGRADE: Final = frozenset({"upgrade-stripped", "upgrade-ignored", "upgrade-refused"})


async def check_vm(
    board: Board,
    client: ColdClient,
    target: Target,
    settings: Settings,
    *,
    namespace: str,
    user: str | None,
    port: int | None,
    budget_s: float,
) -> None:
    """Settle every check of the VM and the upgrade; `namespace` is that of the context, `user` and `port` the flags."""
    async with board.judging(*CODES):
        await board.need("tls-names", "identity", "kubevirt", by=CODES)
        board.waits("vm-exists", CODES[1:])
        reading = await in_thread(lambda: read_guest(client, target, default_namespace=namespace, verb="doctor"))
        board.settle(existing(reading), is_passable=True)
        login = login_of(reading, settings, user=user, port=port)
        for check in (*from_guest(reading, login), *from_objects(reading, login.port)):
            board.settle(check)
        broken = board.first_failed(FACTS)
        if broken is not None:
            for code in ("vm-port", "vm-banner", "upgrade"):
                board.settle(not_looked_at(code, f"'{title_of(broken)}' failed"))
            return
        await board.need("virt-api", by=("vm-port", "vm-banner", "upgrade"))
        board.waits("vm-port", ("vm-banner", "upgrade"))
        await _dial(board, client, reading, login.port, settings, budget_s=budget_s)


async def _dial(board: Board, client: ColdClient, reading: Reading, port: int, settings: Settings, *, budget_s: float) -> None:
    left_s = budget_s - board.took_s
    limit_s = round(max(left_s - _EXPLAIN_S, left_s * 0.5), 1)
    # Too little time left to call a port filtered: then the budget's end says unknown.
    handshake_s = min(settings.stream.handshake_s, limit_s) if limit_s >= _LEAST_DIAL_S else settings.stream.handshake_s
    limits = replace(settings.stream, handshake_s=handshake_s)
    try:
        stream = await in_thread(lambda: open_guest(client, reading, port, stream=limits))
    except BrokerError as exc:
        _settle_refusal(board, reading, port, exc)
        return
    board.settle(ok("upgrade", "the websocket opened"))
    for check in after_dial(reading, port, None):
        board.settle(check)
    wait_s = min(_GREETING_S, max((budget_s - board.took_s) * 0.7, 0.1))
    board.settle(await in_thread(lambda: listen(stream, shown(reading.name, reading.namespace), port, wait_s=wait_s)))


def listen(stream: ColdStream, name: str, port: int, *, wait_s: float) -> Check:
    """Wait for an SSH greeting and close the stream; `name` is the guest in words; blocking, at most `wait_s` seconds."""
    deadline = time.monotonic() + wait_s
    reader, found, is_late = GreetingReader(), None, False
    try:
        while found is None and (data := stream.read(1024, timeout_s=max(deadline - time.monotonic(), 0.001))):
            found = reader.feed(data)
    except TimeoutError:
        is_late = True
    stream.close(linger_s=0.2)
    if found is not None and found.kind == "ssh":
        return ok("vm-banner", found.text)
    return failed("vm-banner", _no_greeting(name, port, found.text if found else reader.heard, wait_s if is_late else None))


def _no_greeting(name: str, port: int, heard: str, waited_s: float | None) -> GuestUnready:
    where = f"port {port} of {name}"
    if heard:
        return GuestUnready(
            f"{where} answers, but not as an SSH server",
            code="not-ssh",
            cause=f"it said: {heard}",
            next_step="give the port of sshd with -p",
        )
    if waited_s is not None:
        return GuestUnready(
            f"{where} is open but says nothing",
            code="no-greeting",
            cause=f"no SSH greeting came within {waited_s:.1f} s",
            next_step="see whether that port is sshd's, and whether the guest is busy",
        )
    return GuestUnready(
        f"{where} was closed before a greeting",
        code="no-greeting",
        cause="the guest took the connection and ended it",
        next_step="look at sshd in the guest",
    )


def _settle_refusal(board: Board, reading: Reading, port: int, error: BrokerError) -> None:
    error.next_step = elsewhere(error.next_step)
    if error.code in _LOST_UPGRADE:
        board.settle(failed("upgrade", error))
        board.settle(not_looked_at("vm-port", f"'{title_of('upgrade')}' failed"))
    for check in after_dial(reading, port, error):
        board.settle(check)
    board.settle(not_looked_at("upgrade", f"'{title_of(check_of(error, 'vm-port'))}' failed"))
    board.settle(not_looked_at("vm-banner", "the port did not open"))
