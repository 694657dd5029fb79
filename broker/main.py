"""Composition root and console script: looks at argv, loads one front, and is the only place that may start the lab."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from broker.errors import BrokerError

if TYPE_CHECKING:
    from broker.cli.arguments import Parsed
    from broker.cli.invocation import LabUse


def main(argv: Sequence[str] | None = None) -> int:
    """Run vmbroker and return its exit status; no exception leaves here, whatever happens inside.

    `argv` holds the words after the program's name; None takes those of the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(words, _program())
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        return _without_reader()
    except OSError as error:  # only the last flush is left to fail
        from broker.cli import exits

        _without_reader()
        return _failed(exits.unwritable(error) or exits.defect(error, debug="--debug" in words), words)
    except KeyboardInterrupt:
        from broker.cli.exits import INTERRUPTED

        return INTERRUPTED
    return status


def _run(words: list[str], program: str) -> int:
    if not words or words in (["--help"], ["-h"], ["help"]):
        # The top-level help comes from a table, without loading a command.
        from broker.cli import output
        from broker.cli.help import overview

        output.text(overview(program))
        return 0
    from broker.cli import exits
    from broker.cli.arguments import wants_json

    exits.speak_json(wants_json(words))
    try:
        return _command(words, program)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except BrokerError as error:
        return _failed(error, words)
    except OSError as error:
        return _failed(exits.unwritable(error) or exits.defect(error, debug="--debug" in words), words)
    except Exception as error:  # the last line of defence: a traceback never reaches a user
        return _failed(exits.defect(error, debug="--debug" in words), words)


def _command(words: list[str], program: str) -> int:
    from broker.cli import output
    from broker.cli.arguments import parse
    from broker.cli.help import overview, page

    parsed = parse(words)
    if parsed.has("debug"):
        from broker.cli import exits

        exits.start_debug()
    if parsed.has("help") or parsed.command is None:
        output.text(page(parsed.command, program) if parsed.command else overview(program))
        return 0
    if parsed.command.name == "lab":
        return _lab(parsed, program)
    from broker.cli.invocation import Invocation

    invocation = Invocation(
        parsed=parsed, program=program, environ=dict(os.environ), lab=_lab_in_use() if parsed.has("lab") else None
    )
    from importlib import import_module

    command = import_module(f"broker.cli.{parsed.command.module}")
    status: int = command.run(invocation)
    return status


def _lab(parsed: Parsed, program: str) -> int:
    from broker.lab import command

    rest = list(parsed.rest)
    if parsed.text("output"):
        rest += ["-o", parsed.output]
    return command.main(rest, dict(os.environ))


def _lab_in_use() -> LabUse:
    from broker.cli.invocation import LabUse
    from broker.lab import process

    state_dir = process.default_state_dir(os.environ)
    kubeconfig = process.ensure(state_dir)
    return LabUse(
        kubeconfig=str(kubeconfig),
        identity=str(state_dir / "ssh" / "id_ed25519"),
        known_hosts=str(state_dir / "ssh" / "known_hosts"),
    )


def _failed(error: BrokerError, words: Sequence[str]) -> int:
    from broker.cli import exits
    from broker.cli.arguments import command_word, wants_json
    from broker.cli.commands import SSH_KIN

    if sys.stdout is not None:
        sys.stdout.flush()
    status = exits.BEFORE_SSH if command_word(words) in SSH_KIN else error.exit_status
    exits.report(error, as_json=wants_json(words), status=status)
    return status


def _without_reader() -> int:
    """Leave without the interpreter's own complaint about a stdout that cannot be flushed."""
    from broker.cli.exits import BROKEN_PIPE

    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _program() -> str:
    """kubectl and oc start a plugin by its file's name: our help then shows what the user types."""
    return "kubectl vmbroker" if os.path.basename(sys.argv[0]).startswith("kubectl-") else "vmbroker"  # noqa: PTH119


if __name__ == "__main__":
    sys.exit(main())
