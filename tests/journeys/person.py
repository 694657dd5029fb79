"""A person at a keyboard: vmbroker and OpenSSH as processes, against the session's lab."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, RunningLab

WEB = "vm/web/shop"
LIMIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One user of the lab, with a home of its own; `options` are what the user would write into ~/.ssh/config."""

    lab: RunningLab
    home: Path
    user: str = "admin"

    @property
    def identity(self) -> Path:
        """The private key that the seed's cloud-init authorises."""
        return self.lab.state_dir / "ssh" / "id_ed25519"

    @property
    def environ(self) -> dict[str, str]:
        """The environment: no agent, a private home, the lab's kubeconfig."""
        kept = {name: value for name, value in os.environ.items() if name not in ("SSH_AUTH_SOCK", "KUBECONFIG")}
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "KUBECONFIG": str(self.lab.kubeconfig(self.user)),
            "PYTHONPATH": str(ROOT),
        }

    @property
    def options(self) -> list[str]:
        """Options of ssh, scp and sftp: this lab's key and a known_hosts of our own."""
        hosts = self.home / "known_hosts"
        return [
            *("-F", "none", "-o", f"IdentityFile={self.identity}", "-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={hosts}", "-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes"),
        ]

    def vmbroker_argv(self, *words: str) -> list[str]:
        """The argv that starts vmbroker."""
        return [sys.executable, "-m", "broker.main", *words]

    def run(self, argv: list[str], **extra: str) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end."""
        return subprocess.run(
            argv,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_S,
            env={**self.environ, **extra},
            cwd=self.home,
            check=False,
        )

    def vmbroker(self, *words: str, **extra: str) -> subprocess.CompletedProcess[bytes]:
        """Run vmbroker to its end."""
        return self.run(self.vmbroker_argv(*words), **extra)

    def ssh(self, *words: str, target: str = WEB, **extra: str) -> subprocess.CompletedProcess[bytes]:
        """Run `vmbroker ssh` with this person's options and further words for ssh."""
        return self.vmbroker("ssh", target, "--", *self.options, *words, **extra)

    def address(self, target: str) -> str:
        """The address that the cluster tells of a VM."""
        name, namespace = target.split("/")[1:]
        done = self.vmbroker("vms", "-n", namespace, "-o", "json")
        assert done.returncode == 0, done.stderr
        (item,) = [each for each in json.loads(done.stdout)["items"] if each["name"] == name]
        found = [each["address"] if isinstance(each, dict) else each for each in item["addresses"]]
        return str(found[0])

    @contextmanager
    def background(self, *words: str, **extra: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run `vmbroker ssh … WORDS` while the block runs."""
        process = subprocess.Popen(
            self.vmbroker_argv("ssh", WEB, "--", *self.options, *words),
            env={**self.environ, **extra},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End an ssh: one that gets SIGTERM just before it polls sleeps on (OpenSSH 9.2), so it is killed in the end."""
    process.terminate()
    try:
        process.communicate(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def until(is_done: Callable[[], bool], what: str) -> None:
    """Wait for a condition; AssertionError naming it past the limit."""
    end = time.monotonic() + LIMIT_S
    while not is_done():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


def connected(port: int) -> socket.socket:
    """A connection to a port of loopback, waited for."""
    found: list[socket.socket] = []

    def is_open() -> bool:
        try:
            found.append(socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S))
        except OSError:
            return False
        return True

    until(is_open, f"port {port}")
    return found[0]
