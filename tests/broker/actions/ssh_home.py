"""A user's ~/.ssh for tests: our aliases put into it, what it holds, what the real ssh makes of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from broker.actions.install_ssh_config import Installed, put_in
from broker.actions.locate_ssh_config import locate
from broker.errors import Refused
from broker.paths.openssh import Origin
from broker.paths.ssh_blocks import Cluster, Layout
from tests.conftest import need

ORIGIN = Origin(program=("/opt/vmbroker",), kubeconfigs=("/k",), context="prod")
LAYOUT = Layout(
    current=Cluster(label=None, origin=ORIGIN), contexts=(Cluster(label="prod", origin=ORIGIN),), labels={"prod": "prod"}
)
COMPANY = b"# mine\nHost *\n\tProxyJump bastion\n\tHostName %h.corp\n\nHost git*.example.com\n  Port 29418"


def install(file: Path, layout: Layout = LAYOUT, program: str = "ssh") -> Installed:
    """Install with the real ssh."""
    return put_in(layout, locate(file), program=program)


def shot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Names, modes and bytes of a folder; of a link, where it leads."""
    return {
        path.name: (path.lstat().st_mode, os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes())
        for path in folder.iterdir()
        if not path.is_dir()
    }


def says(file: Path, host: str) -> str:
    """Return what `ssh -G` prints for a host."""
    return subprocess.run(["ssh", "-G", "-F", str(file), "--", host], capture_output=True, text=True, check=True).stdout


def refused(file: Path) -> Refused:
    """Install, which must be refused and change nothing; return the error."""
    before = shot(file.parent) if file.parent.is_dir() else {}
    with pytest.raises(Refused) as caught:
        install(file)
    assert (shot(file.parent) if file.parent.is_dir() else {}) == before
    return caught.value


def company(folder: Path) -> str:
    """An ssh that brings a ProxyCommand of its own."""
    wrapper = folder / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {need("ssh", "openssh-client")} -o ProxyCommand=company "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)
