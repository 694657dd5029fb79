"""From argv to one parsed value, by the table of commands. Pure.

Own instead of argparse: the same table gives help without loading a command, our flags may stand before and after the
command, options of ssh and scp pass through untouched, and an unknown word is answered with the nearest known one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.clean import escaped
from broker.cli.command import Command, Flag
from broker.cli.commands import BY_NAME, GLOBALS, SHOWN
from broker.errors import UsageError

WORD_LIMIT = 128 * 1024
"""Characters of one argument at most, as Linux has it (MAX_ARG_STRLEN)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """One command line: flag values by their `dest`, operands, what goes to another program.

    `command` None with `wants_help` or without any word means the top-level help. `foreign` are options of scp or sftp in
    their order; `rest` is a remote command, or everything after a raw command.
    """

    command: Command | None
    values: Mapping[str, str | bool | tuple[str, ...]]
    operands: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()

    def text(self, dest: str) -> str | None:
        """Return the value of a flag that takes one; None where it was not given."""
        value = self.values.get(dest)
        return value if isinstance(value, str) else None

    def many(self, dest: str) -> tuple[str, ...]:
        """Return the values of a flag that may be repeated."""
        value = self.values.get(dest)
        return value if isinstance(value, tuple) else ()

    def has(self, dest: str) -> bool:
        """Say whether a flag without a value was given."""
        return self.values.get(dest) is True

    @property
    def output(self) -> str:
        """The format asked for by -o; `table` where none was."""
        return self.text("output") or "table"


def parse(argv: Sequence[str]) -> Parsed:
    """Read the words after the program's name; UsageError names the bad word escaped, and the nearest known one."""
    reader = _Reader(argv)
    return reader.read()


def command_word(argv: Sequence[str]) -> str | None:
    """Return the first word that is no flag and no flag's value, even where the rest is wrong; None without one."""
    valued = {name for flag in GLOBALS if flag.metavar for name in flag.names}
    words = iter(argv)
    for word in words:
        if word in valued:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def wants_json(argv: Sequence[str]) -> bool:
    """Say whether errors are to be JSON, even where the command line itself is wrong."""
    words = list(argv[: list(argv).index("--")] if "--" in argv else argv)
    names = ("--output",) if command_word(argv) in ("scp", "sftp") else ("-o", "--output")
    for here, following in zip(words, [*words, ""][1:], strict=True):
        if here in names and following == "json":
            return True
        if here in ("-ojson", "-o=json", "--output=json"):
            return True
    return False


class _Reader:
    def __init__(self, argv: Sequence[str]) -> None:
        self._words = list(argv)
        self._at = 0
        self._command: Command | None = None
        self._values: dict[str, str | bool | tuple[str, ...]] = {}
        self._operands: list[str] = []
        self._foreign: list[str] = []
        self._rest: tuple[str, ...] = ()

    def read(self) -> Parsed:
        while self._at < len(self._words) and not self._rest:
            word = self._words[self._at]
            self._at += 1
            if len(word) > WORD_LIMIT:
                raise UsageError(f"the argument {escaped(word)} is too long")
            if word == "--":
                self._dashes()
                break
            if word.startswith("--"):
                self._long(word)
            elif word.startswith("-") and word != "-":
                self._short(word)
            elif self._command is None:
                self._command = _command(word)
                if self._command.reading == "raw":
                    self._rest = tuple(self._words[self._at :])
                    break
            elif self._command.reading == "ssh" and self._operands:
                self._rest = (word, *self._words[self._at :])
            else:
                self._operands.append(word)
        parsed = Parsed(
            command=self._command,
            values=self._values,
            operands=tuple(self._operands),
            foreign=tuple(self._foreign),
            rest=self._rest,
        )
        if not parsed.has("help"):
            _check(parsed)
        return parsed

    def _dashes(self) -> None:
        following = self._words[self._at :]
        if self._command is None:
            raise UsageError("'--' stands before the command", next_step="name a command: `vmbroker --help` lists them")
        if self._command.reading == "ssh" and self._operands:
            self._rest = tuple(following)
        elif self._command.reading == "ssh":
            self._operands.extend(following[:1])
            self._rest = tuple(following[1:])
        else:
            self._operands.extend(following)

    def _flags(self) -> tuple[Flag, ...]:
        return (*(self._command.flags if self._command else ()), *GLOBALS)

    def _long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        flag = next((flag for flag in self._flags() if name in flag.names), None)
        if flag is None:
            raise _unknown_flag(name, self._command, self._flags())
        if flag.metavar is None and equals and value != "true":
            raise UsageError(f"{name} takes no value", next_step=_see(self._command))
        self._put(flag, name, value if equals and flag.metavar is not None else None)

    def _short(self, word: str) -> None:
        command = self._command
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if command is not None and command.reading == "copy" and letter in command.foreign_valued:
                self._foreign.extend(("-" + letter, letters or self._next("-" + letter)))
                return
            if command is not None and command.reading == "copy" and letter in command.foreign_plain:
                self._foreign.append("-" + letter)
                continue
            flag = next((flag for flag in self._flags() if "-" + letter in flag.names), None)
            if flag is None:
                raise _unknown_flag("-" + letter, command, self._flags())
            if flag.metavar is not None:
                self._put(flag, "-" + letter, letters.removeprefix("=") if letters else None)
                return
            self._put(flag, "-" + letter, None)

    def _next(self, name: str) -> str:
        if self._at >= len(self._words):
            raise UsageError(f"{name} needs a value", next_step=_see(self._command))
        self._at += 1
        return self._words[self._at - 1]

    def _put(self, flag: Flag, name: str, value: str | None) -> None:
        if flag.metavar is None:
            self._values[flag.dest] = True
            return
        value = self._next(name) if value is None else value
        if not value:
            raise UsageError(f"{name} needs a value", next_step=_see(self._command))
        if flag.repeats:
            old = self._values.get(flag.dest)
            self._values[flag.dest] = (*(old if isinstance(old, tuple) else ()), value)
        else:
            self._values[flag.dest] = value


def _command(word: str) -> Command:
    command = BY_NAME.get(word)
    if command is not None:
        return command
    near = _nearest(word, [command.name for command in SHOWN])
    raise UsageError(
        f"unknown command {escaped(word)}",
        code="unknown-command",
        next_step=f"did you mean '{near}'?" if near else "`vmbroker --help` lists the commands",
    )


def _unknown_flag(name: str, command: Command | None, flags: Sequence[Flag]) -> UsageError:
    known = [each for flag in flags if not flag.hidden for each in flag.names if each.startswith("--")]
    near = _nearest(name, known) if name.startswith("--") else None
    elsewhere = next((c for c in SHOWN if any(name in flag.names for flag in c.flags)), None)
    if command is None and elsewhere is not None:
        step = f"{name} is a flag of `vmbroker {elsewhere.name}`: put it after that word"
    else:
        step = f"did you mean {near}?" if near else _see(command)
    if command is not None and command.reading == "ssh":
        step = f"{step}; options for ssh itself go after the target and `--`"
    return UsageError(f"unknown flag {escaped(name)}", code="unknown-flag", next_step=step)


def _check(parsed: Parsed) -> None:
    command = parsed.command
    if command is None:
        if parsed.values:
            raise UsageError("no command stands there", next_step="`vmbroker --help` lists the commands")
        return
    _check_output(parsed, command)
    if command.reading != "raw":
        _check_operands(parsed, command)
    if parsed.has("all_namespaces") and (command.name != "vms" or parsed.text("namespace")):
        why = "-A is for lists only" if command.name != "vms" else "-A and -n exclude each other"
        raise UsageError(why, next_step=_see(command))
    if parsed.has("lab") and parsed.text("kubeconfig"):
        raise UsageError("--lab and --kubeconfig exclude each other", next_step=_see(command))


def _check_operands(parsed: Parsed, command: Command) -> None:
    count = len(parsed.operands)
    if count < command.least:
        missing = command.operands[min(count, len(command.operands) - 1)][0]
        raise UsageError(f"{missing} is missing", next_step=f"usage: vmbroker {_usage(command)}")
    if command.most is not None and count > command.most:
        bad = escaped(parsed.operands[command.most])
        raise UsageError(f"{bad} is one argument too many", next_step=f"usage: vmbroker {_usage(command)}")


def _check_output(parsed: Parsed, command: Command) -> None:
    if parsed.output not in command.formats and command.reading != "raw":
        near = _nearest(parsed.output, command.formats)
        one_of = ", ".join(command.formats)
        if command.reading == "ssh" and near is None:
            one_of += "; options for ssh itself go after the target and `--`"
        raise UsageError(
            f"`vmbroker {command.name}` has no output {escaped(parsed.output)}",
            code="unknown-output",
            next_step=f"did you mean {near}? ({one_of})" if near else f"use one of {one_of}",
        )


def _usage(command: Command) -> str:
    return command.usage.split(" | ")[0] if command.reading == "ssh" else command.usage


def _nearest(word: str, known: Sequence[str]) -> str | None:
    import difflib  # only when something is wrong

    found = difflib.get_close_matches(word.lower()[:64], known, n=1, cutoff=0.55)
    return found[0] if found else None


def _see(command: Command | None) -> str:
    return f"`vmbroker {command.name} --help` lists the flags" if command else "`vmbroker --help` lists the flags"
