"""One hostile cluster and one forking vmbroker for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile.poison import HostileLab, hostile_lab
from tests.hostile.terminal import Crew, Zygote, zygote


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLab]:
    """A pretend cluster with a hostile text in every string of every object; tests do not change it."""
    with hostile_lab(tmp_path_factory.mktemp("hostile")) as lab:
        yield lab


@pytest.fixture(scope="session")
def runner() -> Iterator[Zygote]:
    """A vmbroker that is loaded already."""
    with zygote() as running:
        yield running


@pytest.fixture(scope="session")
def crew(runner: Zygote) -> Iterator[Crew]:
    """Three of them."""
    with zygote() as second, zygote() as third:
        yield Crew((runner, second, third))


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A person's machine: a home of its own, ssh and its kin that only say that they ran, a cluster."""

    home: Path
    env: dict[str, str]


@pytest.fixture
def desk(hostile: HostileLab, tmp_path: Path) -> Desk:
    """A fresh home, where a file named `canary` would prove that something ran."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("ssh", "scp", "sftp"):
        program = folder / name
        program.write_text("#!/bin/sh\nexit 42\n")
        program.chmod(0o755)
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
    env = {
        **kept,
        "PATH": f"{folder}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(hostile.kubeconfig),
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TERM": "xterm-256color",
    }
    return Desk(home=tmp_path, env=env)
