"""The lab as a process of its own: starting, finding and stopping it, for a user (`lab up`) or for one command (`--lab`).

A state directory belongs to at most one running lab, which holds a lock on it. A lab that was started for commands ends
when the last process that asked for it has ended; `lab up` asks for it for good.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from broker.errors import Failed, SettingsError, TimedOut
from broker.lab.running import RunningLab, find, holder, is_locked_by_us, note_holder, process_identity, write_description

__all__ = [
    "FOR_GOOD",
    "RunningLab",
    "bring_up",
    "default_state_dir",
    "ensure",
    "find",
    "hold",
    "is_abandoned",
    "is_held",
    "owned",
    "process_identity",
    "release",
    "start",
    "stop",
    "write_description",
]

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 10.0
FOR_GOOD = "up"
"""Name of the holder that `lab up` is."""
_LOOK_EVERY_S = 0.02


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Return where the user's own lab lies: `$XDG_STATE_HOME/vmbroker/lab`, by default below `~/.local/state`."""
    base = environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return root / "vmbroker" / "lab"


def ensure(state_dir: Path) -> Path:
    """Return the kubeconfig of the lab of a state directory, started for this process where none runs.

    The lab stays while this process lives, also after it became ssh by exec. Raises Failed, TimedOut or SettingsError.
    """
    lab, _ = bring_up(state_dir, str(os.getpid()), [])
    return lab.kubeconfig


def bring_up(state_dir: Path, by: str, options: Sequence[str]) -> tuple[RunningLab, bool]:
    """Return the lab of a state directory, held by somebody (see `hold`), and whether it had to be started (with `options`).

    Raises Failed, TimedOut or SettingsError.
    """
    _prepare(state_dir)
    with _starting(state_dir):
        hold(state_dir, by)
        lab = find(state_dir)
        if lab is not None:
            return lab, False
        if by != FOR_GOOD:
            # What `lab up` noted went with the lab that it started.
            release(state_dir, FOR_GOOD)
        try:
            return start(state_dir, options), True
        except BaseException:
            release(state_dir, by)
            raise


def is_abandoned(state_dir: Path) -> bool:
    """Say whether nobody wants the lab any more; from then on `find` no longer shows it, so that nobody comes by it."""
    if is_held(state_dir):
        return False
    with (state_dir / "start.lock").open("w") as lock:
        if not is_locked_by_us(lock) or is_held(state_dir):
            return False
        (state_dir / "lab.json").unlink(missing_ok=True)
        return True


def start(state_dir: Path, options: Sequence[str]) -> RunningLab:
    """Start a lab as a detached process and wait until it serves; Failed with its last words, TimedOut after 30 s."""
    _prepare(state_dir)
    log = state_dir / "lab.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    words = [sys.executable, "-P", "-m", "broker.main", "lab", "run", "--held", "--state-dir", str(state_dir), *options]
    with os.fdopen(descriptor, "wb") as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        return _ready(process, state_dir, log)
    except BaseException:  # Ctrl-C too: what does not serve yet is not left behind
        if process.poll() is None:
            process.terminate()
        raise


def _ready(process: subprocess.Popen[bytes], state_dir: Path, log: Path) -> RunningLab:
    until = time.monotonic() + READY_WITHIN_S
    while True:
        lab = find(state_dir)
        if lab is not None and lab.pid == process.pid:
            return lab
        if process.poll() is not None:
            raise Failed(
                "the lab ended while it started",
                code="lab-start",
                cause=_last_words(log),
                next_step="run `vmbroker lab run` to see all that it says",
            )
        if time.monotonic() > until:
            process.kill()
            raise TimedOut(
                f"the lab was not ready within {READY_WITHIN_S:g} s",
                code="lab-start",
                cause=_last_words(log),
                next_step="run `vmbroker lab run` to see all that it says",
            )
        time.sleep(_LOOK_EVERY_S)


def stop(state_dir: Path) -> int | None:
    """Stop the lab of a state directory, one that still starts too, wait for its end and return its pid.

    None where none runs, TimedOut where it does not end.
    """
    lab = find(state_dir)
    release(state_dir, FOR_GOOD)
    held = (lab.pid, lab.started) if lab is not None else holder(state_dir)
    if held is None:
        return None
    pid, started = held
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return pid
    until = time.monotonic() + STOP_WITHIN_S
    while process_identity(pid) == started:
        if time.monotonic() > until:
            raise TimedOut(
                f"the lab (process {pid}) did not end within {STOP_WITHIN_S:g} s", next_step=f"end it: kill -9 {pid}"
            )
        _reap(pid)
        time.sleep(_LOOK_EVERY_S)
    return pid


def hold(state_dir: Path, by: str) -> None:
    """Note a process (its pid as text) or FOR_GOOD as a reason for the lab to go on."""
    folder = state_dir / "held-by"
    folder.mkdir(mode=0o700, exist_ok=True)
    told = "" if by == FOR_GOOD else process_identity(int(by)) or ""
    (folder / by).write_text(told)


def release(state_dir: Path, by: str) -> None:
    """Take one reason back."""
    (state_dir / "held-by" / by).unlink(missing_ok=True)


def is_held(state_dir: Path) -> bool:
    """Say whether anybody still wants the lab; notes of dead processes are removed on the way."""
    held = False
    for note in list((state_dir / "held-by").glob("*")):
        try:
            is_alive = note.name == FOR_GOOD or process_identity(int(note.name)) == note.read_text()
        except (OSError, ValueError):
            is_alive = False
        if is_alive:
            held = True
        else:
            note.unlink(missing_ok=True)
    return held


@contextmanager
def owned(state_dir: Path) -> Iterator[None]:
    """Own a state directory while a lab runs in it; Failed where another one does."""
    _prepare(state_dir)
    with (state_dir / "lock").open("a+") as lock:
        until = time.monotonic() + STOP_WITHIN_S
        while not is_locked_by_us(lock):
            # A lab that shows no description any more is about to end.
            if find(state_dir) is not None or time.monotonic() > until:
                raise Failed(
                    "a lab runs in this state directory already",
                    code="lab-running",
                    next_step="see it with `vmbroker lab status`, or name another --state-dir",
                )
            time.sleep(_LOOK_EVERY_S)
        note_holder(lock)
        try:
            yield
        finally:
            (state_dir / "lab.json").unlink(missing_ok=True)


@contextmanager
def _starting(state_dir: Path) -> Iterator[None]:
    """Let one process at a time look for a lab and start it."""
    with (state_dir / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prepare(state_dir: Path) -> None:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = state_dir.stat()
        names = {entry.name for entry in state_dir.iterdir()}
    except OSError as exc:
        raise SettingsError(
            f"the lab's state directory {state_dir} cannot be used", cause=exc.strerror, next_step="name another --state-dir"
        ) from exc
    if found.st_uid != os.geteuid():
        raise SettingsError(
            f"the lab's state directory {state_dir} belongs to somebody else", next_step="name another --state-dir"
        )
    if names and not names & {"start.lock", "lock", "lab.log", "held-by", "ca.key", "guests"}:
        # Its mode would change and files be written among foreign ones: /etc and a home are no state directories.
        raise SettingsError(f"{state_dir} holds files that are no lab's", next_step="name a new or empty --state-dir")
    state_dir.chmod(0o700)


def _reap(pid: int) -> None:
    """A lab that this very process started is our child, and stays a zombie until we ask."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def _last_words(log: Path) -> str:
    """The cause that a lab gave before it ended, else its last line, in printable characters."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    told = [line for line in lines if line.startswith(("cause:", "error:"))] or lines or ["it said nothing"]
    return "".join(char for char in told[-1].removeprefix("cause:").strip()[:200] if char.isprintable())
