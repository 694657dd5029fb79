"""`vmbroker proxy`: stdin and stdout become one TCP connection to a guest. No word of ours ever reaches stdout."""

from __future__ import annotations

import os

from broker.cli import exits
from broker.cli.guest import opened
from broker.cli.invocation import Invocation
from broker.errors import UsageError
from broker.refs import parse_port, parse_target

_STDIN, _STDOUT = 0, 1


def run(invocation: Invocation) -> int:
    """Connect and copy until the guest or our reader ends; raises as `actions.connect` does.

    A stream that ended by a limit of ours raises too, after every byte it held was handed over.
    """
    from broker.actions.connect import login_of, open_guest, read_guest
    from broker.kube.cold import ColdClient
    from broker.paths.relay import relay_descriptors

    words = invocation.parsed.operands
    target = parse_target(words[0])
    port = parse_port(words[1]) if len(words) > 1 else None
    _need_open_descriptors()
    endpoint, settings = opened(invocation, target, stdin_is_ours=False)
    with ColdClient(endpoint, connect_s=settings.api.connect_s, request_s=settings.api.timeout_s) as client:
        reading = read_guest(client, target, default_namespace=endpoint.namespace)
        if not invocation.parsed.has("unwarned"):
            exits.warn(reading.warnings)
        port = port or login_of(reading, settings).port
        stream = open_guest(client, reading, port, stream=settings.stream)
    relayed = relay_descriptors(stream, _STDIN, _STDOUT, grace_s=settings.stream.grace_s)
    error = relayed.end.error() or (exits.unwritable(relayed.unwritten) if relayed.unwritten is not None else None)
    if error is not None:
        raise error
    return 0


def _need_open_descriptors() -> None:
    """A closed stdin or stdout would be taken by our own socket, and its TLS records by the reader."""
    for fd, name in ((_STDIN, "stdin"), (_STDOUT, "stdout")):
        try:
            os.fstat(fd)
        except OSError as exc:
            raise UsageError(f"{name} is closed", next_step="run proxy with stdin and stdout open, as ssh does") from exc
