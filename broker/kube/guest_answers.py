"""What virt-api says of a guest, as one error each, from its text alone. **Pure.**

Sources: KubeVirt pkg/virt-api/rest/{streamer,dialers,portforward,subresource}.go and the captures `portforward-*`. Names of
objects stand inside these texts, so each text is matched as a whole, not by words that a name may carry.
"""

from __future__ import annotations

import re
from typing import Final

from broker.clean import clean
from broker.errors import BrokerError, GuestUnready, Unreachable, UsageError
from broker.kube.answer import Answer, Call

_AGENT_SUBRESOURCES: Final = frozenset({"guestosinfo", "userlist", "filesystemlist"})
_DIALING: Final = re.compile(r"(?:Internal error occurred: )?dialing VM: (.*)\Z", re.DOTALL)
_DIAL: Final = re.compile(r"dial \S+ (?P<address>\[[0-9A-Fa-f:.%]*\]|[^\s:]*):(?P<port>[0-9]+): (?P<why>.*)\Z", re.DOTALL)
_BAD_PORT: Final = re.compile(r"dial \S+ address \S+: invalid port\Z|dial \S+ lookup \S+: unknown port\Z")
_BAD_NETWORK: Final = re.compile(r"dial \S+ unknown network \S+\Z")
_NO_AGENT: Final = re.compile(r'virtualmachineinstance\.kubevirt\.io "[^"]*" not found\Z')

_STATES: Final = (
    (
        re.compile(r"(?:[^\n]*: )?VMI is not started\Z"),
        "vm-stopped", "is not started", "start it: virtctl start NAME -n NAMESPACE",
    ),
    (
        re.compile(r"(?:[^\n]*: )?VMI is paused\Z"),
        "vm-paused", "is paused", "unpause it: virtctl unpause vm NAME -n NAMESPACE",
    ),
    (
        re.compile(r"(?:Internal error occurred: )?no network interfaces are present\Z"),
        "no-interface", "shows no network interface", "wait until it runs; if it shows none then, look at its spec",
    ),
    (
        re.compile(r"(?:Internal error occurred: )?unable to retrieve vmi \[[^\]]*\] for vm: .*\Z"),
        "vmi-foreign", "does not own the instance of its name", "name the instance itself: vmi/NAME/NAMESPACE",
    ),
    (
        re.compile(r"No virt-handler on node \S+ found\Z"),
        "virt-handler-absent", "runs on a node whose virt-handler does not answer", "look at the virt-handler pod of that node",
    ),
)  # fmt: skip


def guest_error(answer: Answer, call: Call) -> BrokerError | None:
    """Return the error that virt-api's answer about a guest stands for, None for an answer of another kind.

    What a dial failed by is told without its cause (codes port-refused, port-filtered, no-route, port-reset, no-address,
    dial-failed): only `broker.paths.diagnosis`, which knows more, names that.
    """
    if not call.is_virt_api or answer.status not in {400, 409, 500}:
        return None
    text = answer.text.strip()
    dialing = _DIALING.match(text)
    if dialing is not None and answer.status == 500:
        return _dial_error(dialing[1].strip(), call)
    for pattern, code, says, next_step in _STATES:
        if pattern.match(text):
            cause = f"KubeVirt says: {answer.shown}"[:256]
            return GuestUnready(f"{call.what} {says}", code=code, cause=cause, next_step=_with_names(next_step, call))
    if call.subresource in _AGENT_SUBRESOURCES and answer.status == 500 and _NO_AGENT.match(text):
        return GuestUnready(
            f"{call.what} has no guest agent that answers",
            code="agent-absent",
            cause="KubeVirt has no information of a guest agent about it",
            next_step="install qemu-guest-agent in the guest",
        )
    if answer.status == 500 and not text:
        return Unreachable(
            "KubeVirt's virt-api could not check the caller's rights",
            code="access-check-failed",
            cause="virt-api answered 500 with no text: its SubjectAccessReview call failed",
            next_step="try again; look at the log of the virt-api pods",
        )
    return None


def unanswered(call: Call, limit_s: float) -> GuestUnready:
    """Return the error for an upgrade not answered in `limit_s` seconds: virt-api dials the guest with no limit of its own."""
    return GuestUnready(
        f"{_where(call, '')} gave no answer within {limit_s:g} s",
        code="port-filtered",
        cause="its packets are dropped, or virt-api has no way to its network: unknown which",
        next_step=_look(call),
    )


_LOOK: Final = "look for what is in the way: vmbroker doctor TARGET"
_WHY: Final = (
    (
        re.compile(r"(?:connect: )?connection refused\Z"),
        "port-refused", "refuses connections",
        "nothing listens there, or the interface's list of ports leaves it out: unknown which",
    ),
    (
        re.compile(r"(?:connect: )?(?:no route to host|host is unreachable|network is unreachable|host is down)\Z"),
        "no-route", "cannot be routed to",
        "something on the way rejects it, or virt-api has no way to its network: unknown which",
    ),
    (
        re.compile(r"(?:connect: )?(?:connection timed out|operation timed out|i/o timeout)\Z"),
        "port-filtered", "gives no answer",
        "its packets are dropped, or virt-api has no way to its network: unknown which",
    ),
    (
        re.compile(r"(?:connect: |read: )?connection reset by peer\Z"),
        "port-reset", "resets connections",
        "something in the guest or before it ends each connection at once",
    ),
)  # fmt: skip


def _dial_error(text: str, call: Call) -> BrokerError:
    """What virt-api's own net.Dial said (Go net package, OpError: `dial NETWORK ADDRESS: WHY`)."""
    if _BAD_PORT.match(text):
        return UsageError(
            "no such port on any machine",
            code="bad-port",
            cause=f"virt-api says: {clean(text)}"[:256],
            next_step="give a port from 1 to 65535",
        )
    if _BAD_NETWORK.match(text):
        return UsageError(
            "KubeVirt forwards tcp and udp only",
            code="bad-protocol",
            cause=f"virt-api says: {clean(text)}"[:256],
            next_step="leave the protocol out, or write udp/PORT",
        )
    found = _DIAL.match(text)
    if found is None:
        return _dial_failed(text, call)
    address = found["address"].strip("[]")
    if not address:
        return GuestUnready(
            f"{call.what} has no address yet",
            code="no-address",
            cause="its first interface has none in the status: virt-api dialled its own pod instead",
            next_step=_with_names("wait until it has one: vmbroker wait TARGET --for address", call),
        )
    for pattern, code, says, why in _WHY:
        if pattern.match(found["why"]):
            where = _where(call, found["port"])
            return GuestUnready(f"{where} {says}", code=code, cause=f"at {clean(address, 64)}: {why}", next_step=_look(call))
    return _dial_failed(text, call)


def _dial_failed(text: str, call: Call) -> GuestUnready:
    return GuestUnready(
        f"virt-api could not connect to {_where(call, '')}",
        code="dial-failed",
        cause=f"virt-api says: {clean(text)}"[:256],
        next_step=_look(call),
    )


def _where(call: Call, port: str) -> str:
    number = call.port or port
    return f"port {clean(number, 16)} of {call.what}" if number else str(call.what)


def _look(call: Call) -> str:
    return _with_names(_LOOK, call)


def _with_names(text: str, call: Call) -> str:
    """Put the names that were asked for into a command; they passed our own grammar, or stay placeholders."""
    name, namespace = call.name or "", call.namespace or ""
    if not (re.fullmatch(r"[a-z0-9.-]{1,253}", name) and re.fullmatch(r"[a-z0-9-]{1,63}", namespace)):
        return text
    kind = "vmi" if call.resource == "virtualmachineinstances" else "vm"
    if kind == "vmi":
        text = text.replace("unpause vm ", "unpause vmi ")
    return text.replace("NAMESPACE", namespace).replace("NAME", name).replace("TARGET", f"{kind}/{name}/{namespace}")
