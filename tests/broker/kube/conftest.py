"""One TLS tunnel server for each test of this room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.kube.tunnelserver import TunnelServer, running


@pytest.fixture
def tunnel_server(tmp_path: Path) -> Iterator[TunnelServer]:
    """A server that upgrades, refuses or misbehaves as the test says."""
    with running(tmp_path) as server:
        yield server
