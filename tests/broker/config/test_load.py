"""Files on disk: where they are looked for, and which are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.config.load import Places, check_settings, load_settings, places
from broker.errors import SettingsError


def _places(folder: Path) -> Places:
    return Places(system=folder / "system.toml", user=folder / "user.toml")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_nothing_on_disk_gives_the_built_in_values(tmp_path: Path) -> None:
    settings = load_settings({}, at=_places(tmp_path))
    assert settings.stream.limit_bytes == 32 * 1024 * 1024
    assert settings.origin("stream.limit_bytes").layer == "built-in"


def test_the_users_place_follows_xdg_and_home() -> None:
    assert places({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}).user == Path("/x/vmbroker/vmbroker.toml")
    assert places({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}).user == Path("/h/.config/vmbroker/vmbroker.toml")


def test_user_beats_system_and_context_beats_both(tmp_path: Path) -> None:
    at = _places(tmp_path)
    _write(at.system, "[api]\npage_size = 100\ntimeout_s = 1\n")
    _write(at.user, '[api]\npage_size = 200\n[contexts."a b"]\napi.page_size = 300\n')
    assert load_settings({}, at=at).api.page_size == 200
    settings = load_settings({}, context="a b", at=at)
    assert (settings.api.page_size, settings.api.timeout_s) == (300, 1.0)
    assert settings.origin("api.page_size").place == f"{at.user}:4"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    at = _places(tmp_path)
    _write(at.user, "", mode)
    with pytest.raises(SettingsError) as caught:
        load_settings({}, at=at)
    assert "may be written by other users" in caught.value.message
    assert caught.value.next_step == f"run: chmod go-w {at.user}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.platform
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    at = _places(tmp_path)
    _write(at.user, "")
    os.chown(at.user, 12345, 12345)
    with pytest.raises(SettingsError, match="belongs to another user"):
        load_settings({}, at=at)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"#" * (1024 * 1024 + 1)])
def test_a_file_that_is_no_small_text_is_refused(tmp_path: Path, body: bytes) -> None:
    at = _places(tmp_path)
    at.user.write_bytes(body)
    with pytest.raises(SettingsError):
        load_settings({}, at=at)


def test_a_directory_in_the_files_place_is_refused(tmp_path: Path) -> None:
    at = _places(tmp_path)
    at.user.mkdir()
    with pytest.raises(SettingsError):
        load_settings({}, at=at)


def test_check_tells_everything_at_once(tmp_path: Path) -> None:
    at = _places(tmp_path)
    _write(at.system, "[api]\npage_sise = 1\n")
    _write(at.user, "[stream]\nhandshake_s = -1\n[contexts.c.stream]\nlimit_bytes = '64 KiB'\n")
    places_named = [problem.place for problem in check_settings({"VMBROKER_SSH_PORT": "x"}, at=at)]
    assert places_named == [f"{at.system}:2", f"{at.user}:2", "VMBROKER_SSH_PORT", "merged"]
