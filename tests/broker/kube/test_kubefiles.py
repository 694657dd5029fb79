"""Which file a path means, from wherever the program was started."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import SettingsError
from broker.kube.kubefiles import absolute, read_files


def test_a_relative_path_from_a_directory_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    asked: tuple[tuple[str | None, dict[str, str]], ...] = (("kc.yaml", {}), (None, {"KUBECONFIG": "kc.yaml"}))
    for file, environ in asked:
        with pytest.raises(SettingsError) as caught:
            read_files(file, environ)
        assert (caught.value.code, caught.value.exit_status) == ("directory-gone", 2)
        assert "current directory no longer exists" in (caught.value.cause or "")
    assert absolute("/etc/kc.yaml") == Path("/etc/kc.yaml")
