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
    options, rest = leading_options(words)
    if not rest:
        from broker.errors import UsageError

        raise UsageError("no TARGET stands among the arguments", next_step="usage: vmbroker ssh-for-rsync TARGET COMMAND…")
    return options, rest[0], rest[1:]


def leading_options(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide words into ssh's options, each with its value, and what stands after them (getopt(3), ssh(1))."""
    at = 0
    options: list[str] = []
    while at < len(words):
        each = words[at]
        if each == "--":
            return tuple(options), tuple(words[at + 1 :])
        if not each.startswith("-") or each == "-":
            break
        options.append(each)
        at += 1
        valued = next((index for index, letter in enumerate(each[1:], start=1) if letter in _VALUED), None)
        if valued == len(each) - 1 and at < len(words):
            options.append(words[at])
            at += 1
    return tuple(options), tuple(words[at:])


def taken(options: Sequence[str], letter: str) -> tuple[tuple[str, ...], str | None]:
    """Take the first value of one valued option out of options that `leading_options` divided; later ones go as well."""
    kept: list[str] = []
    value: str | None = None
    rest = list(options)
    while rest:
        each = rest.pop(0)
        if each.startswith("-" + letter):
            said = each[2:] or (rest.pop(0) if rest else "")
            value = said if value is None else value
        else:
            kept.append(each)
            if each[-1:] in _VALUED and each.startswith("-") and not any(c in _VALUED for c in each[1:-1]) and rest:
                kept.append(rest.pop(0))
    return tuple(kept), value


def _quoted(each: str) -> str:
    if each and not any(char in " '\"" for char in each):
        return each
    return "'" + each.replace("'", "''") + "'"
