"""A world in which nothing ever answers: a server, an exec plugin and an ssh that hang, for `vmbroker doctor`."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HungWorld:
    """`kubeconfig` leads to the hung server by the hung plugin; both programs write their pid into `pids` when they start."""

    kubeconfig: Path
    ssh: Path
    pids: Path

    def left_running(self) -> list[int]:
        """The programs that were started and still run."""
        found = [int(line) for line in self.pids.read_text().split()]
        assert found, "none of the programs was started"
        return [pid for pid in found if _runs(pid)]


@contextmanager
def hung_world(folder: Path, *, host: str = "127.0.0.1") -> Iterator[HungWorld]:
    """Listen and never accept while the block runs; `host` is the server's name in the kubeconfig."""
    pids = folder / "pids"
    pids.touch()
    programs = {}
    for name in ("plugin", "ssh"):
        programs[name] = folder / f"hung-{name}"
        # `exec` keeps the pid, and the child shows that the whole group is ended.
        programs[name].write_text(f"#!/bin/sh\necho $$ >> {pids}\nsleep 3600 & echo $! >> {pids}\nexec sleep 3600\n")
        programs[name].chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as server:
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(programs["plugin"]),
            "interactiveMode": "Never",
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "hung",
            "clusters": [{"name": "c", "cluster": {"server": f"https://{host}:{server.getsockname()[1]}"}}],
            "contexts": [{"name": "hung", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
            "users": [{"name": "u", "user": {"exec": plugin}}],
        }
        kubeconfig = folder / "hung.yaml"
        kubeconfig.write_text(json.dumps(document))
        yield HungWorld(kubeconfig=kubeconfig, ssh=programs["ssh"], pids=pids)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
