"""`vmbroker ssh`: the user's own OpenSSH takes our place, with a ProxyCommand that leads to the guest."""

from __future__ import annotations

from collections.abc import Sequence

from broker.cli.guest import become, resolve
from broker.cli.invocation import Invocation
from broker.cli.ssh_options import leading_options, taken
from broker.refs import parse_login, parse_port, parse_user


def run(invocation: Invocation) -> int:
    """Replace this process by ssh; raises BrokerError where that cannot be, returns never."""
    parsed = invocation.parsed
    options, remote = leading_options(parsed.rest)
    return into(invocation, parsed.operands[0], options=options, remote=remote)


def into(invocation: Invocation, word: str, *, options: Sequence[str], remote: Sequence[str]) -> int:
    """Replace this process by ssh into `[USER@]TARGET`; -l and -p among ssh's options hold as ours do."""
    from broker.paths.openssh import ssh_argv

    login = parse_login(word)
    options, said_user = taken(options, "l")
    options, said_port = taken(options, "p")
    user = login.user or invocation.parsed.text("user") or said_user
    port = invocation.parsed.text("port") or said_port
    reached = resolve(
        invocation,
        login.target,
        user=parse_user(user) if user else None,
        port=parse_port(port) if port else None,
    )
    program = reached.settings.ssh.program
    return become(
        ssh_argv(program, reached.origin, reached.guest, reached.files, options=options, command=remote),
        package="openssh-client",
    )
