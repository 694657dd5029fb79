"""The copies that stay beside the user's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import Failed
from tests.broker.actions.ssh_home import company, install, shot


def test_every_edit_of_our_file_is_kept_beside(home: Path) -> None:
    file = home / "config"
    install(file)
    own = home / "vmbroker.conf"
    text, kept = own.read_bytes(), []
    for seconds in (b"5", b"6", b"5"):
        edited = text.replace(b"ServerAliveInterval 30", b"ServerAliveInterval " + seconds)
        own.write_bytes(edited)
        done = install(file)
        assert done.saved_edit is not None
        assert done.saved_edit.read_bytes() == edited
        kept.append(done.saved_edit.name)
    assert kept == [".vmbroker.conf.edited", ".vmbroker.conf.edited-2", ".vmbroker.conf.edited"]


def test_an_edit_is_kept_once_when_the_installation_fails(home: Path) -> None:
    file, own = home / "config", home / "vmbroker.conf"
    install(file)
    own.write_bytes(own.read_bytes().replace(b"ServerAliveInterval 30", b"ServerAliveInterval 5"))
    before = shot(home)
    with pytest.raises(Failed):
        install(file, program=company(home.parent))
    assert shot(home) == before
