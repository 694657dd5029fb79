"""How a running lab is found: what it writes about itself, which process holds its state directory, and is that one alive."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from broker.errors import BrokerError

__all__ = ["RunningLab", "find", "holder", "is_locked_by_us", "note_holder", "process_identity", "write_description"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLab:
    """What a running lab wrote about itself: process, API address, loopback range, how its guests run."""

    pid: int
    started: str
    url: str
    network: str
    guests: str
    vms: int
    state_dir: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state_dir / "kubeconfigs" / "admin.yaml"

    @property
    def description(self) -> dict[str, str | int]:
        """What `lab.json` holds."""
        names = ("pid", "started", "url", "network", "guests", "vms")
        return {name: getattr(self, name) for name in names}


def find(state_dir: Path) -> RunningLab | None:
    """Return the lab that runs in a state directory, None where there is none (a file left by a dead one counts as none)."""
    try:
        text = (state_dir / "lab.json").read_text(errors="replace")
    except OSError:
        return None
    try:
        lab = _described(json.loads(text), state_dir)
    except (ValueError, KeyError, TypeError):
        return _behind_damage(state_dir)
    return lab if process_identity(lab.pid) == lab.started else None


def _described(told: Mapping[str, Any], state_dir: Path) -> RunningLab:
    """Read a description; ValueError, KeyError or TypeError for what is none."""
    return RunningLab(
        pid=int(told["pid"]),
        started=str(told["started"]),
        url=str(told["url"]),
        network=str(told["network"]),
        guests=str(told["guests"]),
        vms=int(told["vms"]),
        state_dir=state_dir,
    )


def _behind_damage(state_dir: Path) -> RunningLab | None:
    """The lab whose description cannot be read: asked for it, and its file written again; else what the lock tells of it."""
    from broker.lab.control import ask

    held = holder(state_dir)
    if held is None:
        return None
    pid, started = held
    try:
        lab = _described(ask(state_dir).lab, state_dir)
        write_description(lab)
        return lab
    except (BrokerError, OSError, ValueError, KeyError, TypeError):
        return RunningLab(
            pid=pid, started=started, url="unknown", network="unknown", guests="unknown", vms=0, state_dir=state_dir
        )


def holder(state_dir: Path) -> tuple[int, str] | None:
    """Return pid and identity of the process that holds a state directory, also while its lab starts or ends; None without."""
    try:
        with (state_dir / "lock").open("r+") as lock:
            if is_locked_by_us(lock):
                return None
            told = json.loads(lock.read())
            pid, started = int(told["pid"]), str(told["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (pid, started) if process_identity(pid) == started else None


def process_identity(pid: int) -> str | None:
    """Return when a process started, as text that no later process of the same pid has; None where it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _identity_by_ps(pid)
    return None if fields[0] in ("Z", "X") else fields[19]


def write_description(lab: RunningLab) -> None:
    """Write what `find` reads, in one step."""
    beside = lab.state_dir / ".lab.json"
    beside.write_text(json.dumps(lab.description))
    beside.replace(lab.state_dir / "lab.json")


def note_holder(lock: TextIO) -> None:
    """Write into a state directory's lock, which this process holds, who holds it."""
    lock.truncate(0)
    lock.write(json.dumps({"pid": os.getpid(), "started": process_identity(os.getpid()) or ""}))
    lock.flush()


def is_locked_by_us(file: TextIO) -> bool:
    """Take a lock where it is free, and say whether it is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _identity_by_ps(pid: int) -> str | None:
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
