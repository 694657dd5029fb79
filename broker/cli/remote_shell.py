"""`vmbroker rsync-e`: one word that rsync splits into our argv again, and the command that rsync then runs."""

from __future__ import annotations

from collections.abc import Sequence

from broker.cli import output
from broker.cli.invocation import Invocation, own_words

# Options of ssh that take a value (ssh(1)); rsync itself passes -l only, users add others after our word.
_VALUED = frozenset("BbcDEeFIiJLlmOoPpQRSWw")


def run(invocation: Invocation) -> int:
    """Print the word, or behave as ssh does towards a program that starts it; does not return in the second case."""
    command = invocation.parsed.command
    if command is not None and command.name == "ssh-for-rsync":
        from broker.cli.secure_shell import into

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
    from broker.errors import UsageError

    options: list[str] = []
    rest = list(words)
    while rest:
        each = rest.pop(0)
        if each == "--":
            break
        if not each.startswith("-") or each == "-":
            rest.insert(0, each)
            break
        options.append(each)
        letters = each[1:]
        valued = next((index for index, letter in enumerate(letters) if letter in _VALUED), None)
        if valued == len(letters) - 1 and rest:
            options.append(rest.pop(0))
    if not rest:
        raise UsageError("no TARGET stands among the arguments", next_step="usage: vmbroker ssh-for-rsync TARGET COMMAND…")
    return tuple(options), rest[0], tuple(rest[1:])


def _quoted(each: str) -> str:
    if each and not any(char in " '\"" for char in each):
        return each
    return "'" + each.replace("'", "''") + "'"
