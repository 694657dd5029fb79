"""The process behind one session of an asyncssh guest: pipes or a terminal, relayed byte by byte as sshd does it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from broker.tasks import Supervisor

__all__ = ["Command", "run_command"]

_READ_BYTES = 64 * 1024
# For systems without setsid(1): become the terminal's session, then the shell.
_TAKE_TERMINAL = "import fcntl,os,sys,termios;os.setsid();fcntl.ioctl(0,termios.TIOCSCTTY,0);os.execv(sys.argv[1],sys.argv[1:])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, where, with which environment, and under which uid (None: the lab's own)."""

    words: tuple[str, ...]
    home: Path
    environ: dict[str, str]
    uid: int | None


async def run_command(process: asyncssh.SSHServerProcess[bytes], command: Command) -> int:
    """Run a command for a session and return its status as subprocess has it; OSError when it cannot be started.

    A client that goes away hangs the command up. Returns once all that it wrote is on its way.
    """
    if process.term_type is None:
        return await _in_pipes(process, command)
    return await _in_terminal(process, command)


async def _in_pipes(process: asyncssh.SSHServerProcess[bytes], command: Command) -> int:
    child = await _started(command, command.words, (subprocess.PIPE, subprocess.PIPE), has_session=True)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        async with Supervisor("session") as tasks:
            tasks.start(_feed(process, child.stdin, child, None), name="stdin")
            outputs = [
                tasks.start(_drain(child.stdout, process.stdout), name="stdout"),
                tasks.start(_drain(child.stderr, process.stderr), name="stderr"),
            ]
            await _until_over(process, child, outputs, tasks)
    finally:
        child.stdin.close()
        _hang_up(child)
    return await child.wait()


async def _in_terminal(process: asyncssh.SSHServerProcess[bytes], command: Command) -> int:
    master, slave = pty.openpty()
    loop = asyncio.get_running_loop()
    screen = asyncio.StreamReader()
    with os.fdopen(master, "rb", 0) as reading, os.fdopen(os.dup(master), "wb", 0) as writing:
        _set_size(master, process.term_size)
        if command.uid is not None:
            os.fchown(slave, command.uid, command.uid)
        try:
            child = await _started(command, _taking_terminal(command.words), (slave, slave), has_session=False)
        finally:
            os.close(slave)
        heard, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(screen), reading)
        spoken, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, writing)
        keyboard = asyncio.StreamWriter(spoken, protocol, None, loop)
        try:
            async with Supervisor("session") as tasks:
                tasks.start(_feed(process, keyboard, child, master), name="keyboard")
                outputs = [tasks.start(_drain(screen, process.stdout), name="screen")]
                await _until_over(process, child, outputs, tasks)
        finally:
            _hang_up(child)
            spoken.abort()
            heard.close()
    return await child.wait()


async def _started(
    command: Command, words: tuple[str, ...], ends: tuple[int, int], *, has_session: bool
) -> asyncio.subprocess.Process:
    uid = command.uid
    return await asyncio.create_subprocess_exec(
        *_mortal(words),
        stdin=ends[0],
        stdout=ends[1],
        stderr=ends[1],
        cwd=command.home,
        env=command.environ,
        start_new_session=has_session,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
    )


async def _until_over(
    process: asyncssh.SSHServerProcess[bytes],
    child: asyncio.subprocess.Process,
    outputs: list[asyncio.Task[None]],
    tasks: Supervisor,
) -> None:
    gone = tasks.start(process.channel.wait_closed(), name="channel")
    ended = tasks.start(child.wait(), name="child")
    await asyncio.wait({gone, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not gone.done():
        rest = tasks.start(_all(outputs), name="rest")
        await asyncio.wait({gone, rest}, return_when=asyncio.FIRST_COMPLETED)


async def _all(outputs: list[asyncio.Task[None]]) -> None:
    for output in outputs:
        await output


async def _drain(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    """Pass on what the child writes; a terminal whose last user is gone ends with EIO."""
    try:
        while data := await source.read(_READ_BYTES):
            target.write(data)
            await target.drain()
    except OSError:
        return


async def _feed(
    process: asyncssh.SSHServerProcess[bytes],
    target: asyncio.StreamWriter,
    child: asyncio.subprocess.Process,
    terminal: int | None,
) -> None:
    """Pass on what the client types, and what it says beside it: signals, breaks, window sizes."""
    while True:
        try:
            data = await process.stdin.read(_READ_BYTES)
            if not data:
                break
            target.write(data)
            await target.drain()
        except asyncssh.TerminalSizeChanged as change:
            if terminal is not None:
                _set_size(terminal, change.term_size)
        except asyncssh.SignalReceived as told:
            _signal(child, getattr(signal, f"SIG{told.signal}", signal.SIGTERM))
        except asyncssh.BreakReceived:
            _signal(child, signal.SIGINT)
        except OSError:
            return
    if terminal is None:
        target.close()


def _set_size(terminal: int, size: tuple[int, int, int, int]) -> None:
    columns, rows, width, height = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))


def _signal(child: asyncio.subprocess.Process, number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        if child.returncode is None:
            child.send_signal(number)


def _hang_up(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        _signal(child, signal.SIGHUP)


def _mortal(words: tuple[str, ...]) -> tuple[str, ...]:
    """Let a process end with the lab, however that ends, where the system can (Linux)."""
    setpriv = shutil.which("setpriv")
    return words if setpriv is None else (setpriv, "--pdeathsig", "HUP", *words)


def _taking_terminal(words: tuple[str, ...]) -> tuple[str, ...]:
    taker = shutil.which("setsid")
    if taker is not None:
        return (taker, "--ctty", *words)
    return (sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, *words)
