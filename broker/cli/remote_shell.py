"""`vmbroker rsync-e`: one word that rsync splits into our argv again, and the command that rsync then runs."""

from __future__ import annotations

from collections.abc import Sequence

from broker.cli import output
from broker.cli.invocation import Invocation, own_words
from broker.cli.secure_shell import into
from broker.cli.ssh_options import leading_options


def run(invocation: Invocation) -> int:
    """Print the word, or behave as ssh does towards a program that starts it; does not return in the second case."""
    command = invocation.parsed.command
    if command is not None and command.name == "ssh-for-rsync":
        options, target, remote = split(invocation.parsed.rest)
        return into(invocation, target, options=options, remote=remote)
    output.text(word((*own_words(), *invocation.carried(), "ssh-for-rsync")))
    return 0


def word(argv: Sequence[str]) -> str:
    """Join an argv so that rsync splits it into the same words: only blanks divide, quotes hold, a doubled quote is one.

    rsync(1), --rsh: backslashes mean nothing; quotes may also be given by the other kind.
    """
    return " ".join(_quoted(each) for each in argv)


def split(words: Sequence[str]) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Divide ssh's own argv into its options, the host word and the remote command; UsageError without a host word."""
    options, rest = leading_options(words)
    if not rest:
        from broker.errors import UsageError

        raise UsageError("no TARGET stands among the arguments", next_step="usage: vmbroker ssh-for-rsync TARGET COMMAND…")
    return options, rest[0], rest[1:]


def _quoted(each: str) -> str:
    if each and not any(char in " '\"" for char in each):
        return each
    return "'" + each.replace("'", "''") + "'"
