"""The one place where the lab, a process of its own, writes its output and its progress."""

from __future__ import annotations

import errno
import json
import sys

__all__ = ["answer", "answer_json", "complain", "progress"]


def answer(text: str) -> None:
    """Write one result line to stdout, escaped where its encoding lacks a character; OSError where it is closed."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "stdout is closed")
    try:
        sys.stdout.write(text + "\n")
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.replace("…", "...").encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def answer_json(value: object) -> None:
    """Write one JSON document to stdout."""
    answer(json.dumps(value, indent=2, sort_keys=True))


def progress(text: str) -> None:
    """Write one line of progress to stderr; a closed stderr is no failure (a lab outlives the terminal that started it)."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def complain(message: str, *, cause: str | None = None, next_step: str | None = None) -> None:
    """Write an error of two or three lines to stderr: what failed, why, what to do."""
    progress(f"vmbroker lab: {message}")
    if cause:
        progress(f"  cause: {cause}")
    if next_step:
        progress(f"  next:  {next_step}")
