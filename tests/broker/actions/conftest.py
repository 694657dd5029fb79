"""Fixtures of the actions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import need


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's ~/.ssh, 0700 and empty, on a machine that has ssh."""
    need("ssh", "openssh-client")
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    return folder
