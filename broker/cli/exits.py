"""The only writer of stderr: errors, warnings, notes, progress and the debug log.

With -o json (`speak_json`) every line is one JSON object: no progress, and of notes only those that matter.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from broker.errors import BrokerError

if TYPE_CHECKING:
    import threading

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C (128 + SIGINT)."""
BROKEN_PIPE: Final = 141
"""Exit status where stdout's reader went away (128 + SIGPIPE), as a program of C has it."""
BEFORE_SSH: Final = 255
"""Exit status of ssh, scp and sftp where we failed before they ran (ssh(1), EXIT STATUS)."""

_LINE_LIMIT: Final = 2048
"""Characters of one line of ours at most."""
_QUIET_S: Final = 1.0
_FRAME_S: Final = 0.12
_FRAMES: Final = "|/-\\"
_warned: Final[set[str]] = set()
_STANDINS: Final = (("…", "..."), ("✓", "+"), ("✗", "x"))


class _Voice:
    """How this run speaks: `is_json` after -o json."""

    is_json = False


def speak_json(is_json: bool) -> None:
    """Say whether all of stderr is to be JSON from now on."""
    _Voice.is_json = is_json


def report(error: BrokerError, *, as_json: bool, status: int | None = None) -> None:
    """Write an error: its message and code, cause and next step on up to three lines, or one JSON object on one line.

    `status` is the program's exit status where it is not the error's own (ssh and its kin).
    """
    if as_json:
        import json

        fields = {name: _line(value) if isinstance(value, str) else value for name, value in error.as_json().items()}
        document = fields | ({} if status is None else {"exitStatus": status})
        _write(json.dumps(document, ensure_ascii=True) + "\n")
        return
    lines = [f"error: {_line(error.message)} [{error.code}]"]
    if error.cause:
        lines.append(f"cause: {_line(error.cause)}")
    if error.next_step:
        lines.append(f"next: {_line(error.next_step)}")
    _write("".join(f"{line}\n" for line in lines))


def warn(texts: Iterable[str]) -> None:
    """Write each warning as one line, the same text once in a run."""
    for text in texts:
        if text not in _warned:
            _warned.add(text)
            if _Voice.is_json:
                _say("Warning", _line(text))
            else:
                _write(f"warning: {_line(text)}\n")


def note(text: str, *, matters: bool = False) -> None:
    """Write one line for a person; as JSON only where it `matters` to a script too, as a warning."""
    if not _Voice.is_json:
        _write(f"note: {_line(text)}\n")
    elif matters:
        _say("Warning", _line(text))


def failure(where: str, error: BrokerError, *, count: int = 1, since_s: float = 0.0) -> None:
    """Write one line on what failed while the command goes on: where, what, why and what to do.

    `count` says how often, `since_s` how many seconds ago the first of them was, 0 for now.
    """
    parts = [f"{error.message} [{error.code}]", error.cause, error.next_step]
    often = f" ({count} times)" if count > 1 else ""
    if since_s:
        often = f" ({count} times in the last {since_s:.1f} s)" if count > 1 else f" ({since_s:.1f} s ago)"
    text = _line(f"{where}: {'; '.join(part for part in parts if part)}{often}")
    if _Voice.is_json:
        _say("Warning", text)
    else:
        _write(text + "\n")


def event(document: Mapping[str, object]) -> None:
    """Write one JSON object on one line: what happens while a command with -o json goes on."""
    import json

    _write(json.dumps(document, ensure_ascii=True) + "\n")


@contextlib.contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """Say what is being waited for, once it takes over a second: a moving line on a terminal, else one plain line a text.

    The block gets a function that puts another text in place of it.
    """
    if _Voice.is_json:
        yield lambda other: None
        return
    import threading

    done = threading.Event()
    said = [text]
    shower = threading.Thread(target=_show_progress, args=(said, done), name="progress", daemon=True)
    shower.start()
    try:
        yield lambda other: said.__setitem__(0, other)
    finally:
        done.set()
        shower.join()


def start_debug() -> None:
    """Send what our rooms log to stderr, each record redacted and free of control characters."""
    import logging
    import time

    from broker.clean import is_shown
    from broker.cli.redact import redact

    class Redacting(logging.Handler):
        """Formats a record, traceback included, and hides secrets in the whole of it."""

        def emit(self, record: logging.LogRecord) -> None:
            text = redact(self.format(record))
            safe = "".join(char for char in text if char == "\n" or is_shown(char))
            if _Voice.is_json:
                _say("Debug", safe)
            else:
                _write(f"debug: {time.monotonic() - began:8.3f} s {safe}\n")

    began = time.monotonic()
    handler = Redacting()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logger = logging.getLogger("broker")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    logger.propagate = False


def unwritable(error: OSError) -> BrokerError | None:
    """Turn a full or broken disk behind stdout, or a closed stdout, into an error; None for an OSError of another kind."""
    import errno

    from broker.errors import Failed

    if error.errno == errno.EBADF:
        return Failed(
            "the output could not be written",
            code="output",
            cause="standard output is closed",
            next_step="send it somewhere: to a file, or to /dev/null",
        )
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
        return None
    return Failed(
        "the output could not be written",
        code="output",
        cause=os.strerror(error.errno),
        next_step="make room where stdout leads, then run it again",
    )


def defect(error: BaseException, *, debug: bool) -> BrokerError:
    """Turn an exception that nobody foresaw into an error of one line; its traceback goes to the debug log only."""
    from broker.clean import clean
    from broker.cli.redact import redact
    from broker.errors import Failed

    if debug:
        import logging

        logging.getLogger("broker.main").debug("unexpected", exc_info=error)
    return Failed(
        f"vmbroker met a defect of its own: {type(error).__name__}",
        code="defect",
        cause=clean(redact(str(error))) or None,
        next_step="run again with --debug and report what it prints",
    )


def _show_progress(said: list[str], done: threading.Event) -> None:
    if done.wait(_QUIET_S):
        return
    if not _is_terminal():
        shown = ""
        while True:
            if said[0] != shown:
                shown = said[0]
                _write(f"… {_line(shown)}\n")
            if done.wait(_FRAME_S):
                return
    turn, wide = 0, 0
    while not done.wait(_FRAME_S):
        line = _fitting(_line(said[0]))
        _write(f"\r{_FRAMES[turn % len(_FRAMES)]} {line:<{wide}}")
        turn, wide = turn + 1, len(line)
    _write("\r" + " " * (wide + 2) + "\r")


def _say(kind: str, message: str) -> None:
    import json

    _write(json.dumps({"apiVersion": "vmbroker/v1", "kind": kind, "message": message}, ensure_ascii=True) + "\n")


def _line(text: str) -> str:
    """Who raises or warns has cleaned what is foreign; this holds where somebody forgot it."""
    from broker.clean import clean

    return clean(text, _LINE_LIMIT)


def _fitting(text: str) -> str:
    """Cut a line that would wrap: a carriage return goes back to the start of the last row only."""
    import shutil

    room = max(shutil.get_terminal_size().columns - 3, 10)
    return text if len(text) <= room else text[: room - 1] + "…"


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _write(text: str) -> None:
    if sys.stderr is None:
        return
    # A closed stderr must not turn a result into a failure.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text if text.isascii() else _in_encoding(text, sys.stderr.encoding))
        sys.stderr.flush()


def _in_encoding(text: str, encoding: str | None) -> str:
    """Replace our own signs where the encoding lacks them; the rest is left to the stream, which escapes it."""
    for sign, standin in _STANDINS:
        try:
            sign.encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            text = text.replace(sign, standin)
    return text
