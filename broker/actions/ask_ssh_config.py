"""Ask the user's own OpenSSH what it makes of a host word: `ssh -G`, several at once, all within one limit of time."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from broker.clean import Clean, clean
from broker.paths.ssh_reading import decode

if TYPE_CHECKING:
    from pathlib import Path

Trouble = Literal["", "refused", "late", "unusable"]
"""Why ssh gave no answer: it refuses what it read, it took too long, it cannot be run."""
_PLACE: Final = re.compile(r"(/.{1,1000}?):? line ([0-9]{1,9}):? (.+)", re.DOTALL)
_NOISE: Final = "Pseudo-terminal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """What `ssh -G` said for one host word: option → value, first of each; else `error`, one clean line, and its kind."""

    options: Mapping[str, str]
    text: str = ""
    error: str | None = None
    trouble: Trouble = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What ssh refused: `file` and `line` where it names them, `says` its own words without those."""

    file: str | None
    line: int | None
    says: Clean


def effective(
    program: str, names: Sequence[str], *, file: Path | None, limit_s: float, side_by_side: int = 8
) -> dict[str, Effective]:
    """Run `ssh -G` for each host word, all within `limit_s` seconds; `file` None takes the machine's own files.

    A Match exec of the user's runs in it, as it does in every ssh. Every child is ended, with its own children, before this
    returns or raises.
    """
    ends = time.monotonic() + limit_s
    found: dict[str, Effective] = {}
    wanted = list(dict.fromkeys(names))
    for start in range(0, len(wanted), side_by_side):
        running: dict[str, subprocess.Popen[bytes]] = {}
        try:
            for name in wanted[start : start + side_by_side]:
                started = _start(program, name, file)
                if isinstance(started, Effective):
                    found[name] = started
                else:
                    running[name] = started
            for name, process in running.items():
                found[name] = _ended(process, max(ends - time.monotonic(), 0.0), limit_s)
        finally:
            for process in running.values():
                if process.returncode is None:
                    _kill(process)
    return found


def refusal(error: str) -> Refusal:
    """Divide ssh's complaint `FILE: line N: WHAT` or `FILE line N: WHAT` (OpenSSH readconf.c has both)."""
    found = _PLACE.fullmatch(error)
    if found is None:
        return Refusal(file=None, line=None, says=clean(error))
    return Refusal(file=found[1], line=int(found[2]), says=clean(found[3]))


def _start(program: str, name: str, file: Path | None) -> subprocess.Popen[bytes] | Effective:
    argv = [program, "-G", *(["-F", str(file)] if file is not None else []), "--", name]
    try:
        return subprocess.Popen(  # an argv without a shell; the program is the user's own setting
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except (OSError, ValueError) as exc:
        reason = clean(exc.strerror if isinstance(exc, OSError) else exc)
        return Effective(options={}, error=f"{clean(program)} cannot be run: {reason}", trouble="unusable")


def _ended(process: subprocess.Popen[bytes], rest_s: float, limit_s: float) -> Effective:
    try:
        out, err = process.communicate(timeout=rest_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        why = f"ssh -G gave no answer within {limit_s:.3g} s (a Match exec, or a name being looked up)"
        return Effective(options={}, error=why, trouble="late")
    text = decode(out)
    if process.returncode != 0 or not text:
        lines = [line for line in decode(err).splitlines() if line and not line.startswith(_NOISE)]
        why = clean(lines[0], 1024) if lines else f"ssh -G ended with {process.returncode}"
        return Effective(options={}, error=why, trouble="refused")
    options: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        options.setdefault(key, value)
    return Effective(options=options, text=text)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End an ssh with what its Match exec started; what left its process group cannot keep us waiting."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()
