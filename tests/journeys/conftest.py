"""A person for each journey."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RunningLab, need
from tests.journeys.person import Person


@pytest.fixture
def person(lab: RunningLab, tmp_path: Path) -> Person:
    """The lab's administrator with an empty home."""
    for program in ("ssh", "scp", "sftp", "ssh-keygen", "ssh-agent"):
        need(program, "openssh-client")
    return Person(lab=lab, home=tmp_path)
