"""What each light command loads, proved in a subprocess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT

HEAVY = {
    "kubernetes_asyncio",
    "aiohttp",
    "asyncssh",
    "cryptography",
    "textual",
    "rich",
    "msgspec",
    "websockets",
    "yaml",
    "hypothesis",
}
NETWORK = {"asyncio", "ssl", "http.client", "urllib.request"}

PROBE = """
import json, os, sys
sys.argv = ["vmbroker", *json.loads(os.environ["WORDS"])]
status = None
try:
    from broker.main import main
    status = main()
except SystemExit as ended:
    status = ended.code
finally:
    with open(os.environ["SEEN"], "w") as out:
        json.dump(sorted(sys.modules), out)
sys.exit(status)
"""


def loaded_by(tmp_path: Path, *words: str) -> set[str]:
    """The modules that are loaded when `vmbroker WORDS` ends."""
    seen = tmp_path / "seen.json"
    environment = {
        **os.environ,
        "WORDS": json.dumps(words),
        "SEEN": str(seen),
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "none"),
    }
    subprocess.run([sys.executable, "-c", PROBE], env=environment, cwd=ROOT, capture_output=True, timeout=30, check=False)
    return set(json.loads(seen.read_text()))


@pytest.mark.parametrize("words", [("--help",), ("version",), ("completion", "bash"), ("ssh", "--help"), ("nonsense",)])
def test_words_alone_load_nothing_heavy(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert loaded_by(tmp_path, *words) & (HEAVY | NETWORK) == set()


@pytest.mark.parametrize("words", [("config", "show"), ("config", "path"), ("config", "check")])
def test_settings_load_no_network(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert loaded_by(tmp_path, *words) & ((HEAVY - {"yaml"}) | NETWORK) == set()


@pytest.mark.parametrize("words", [("proxy", "vm/web/shop", "22"), ("ssh", "vm/web/shop", "--", "true")])
def test_cold_paths_load_no_loop_and_no_generated_client(tmp_path: Path, words: tuple[str, ...]) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n"
    )
    loaded = loaded_by(tmp_path, "--kubeconfig", str(config), *words)
    assert "broker.kube.cold" in loaded
    assert (
        loaded & {"asyncio", "kubernetes_asyncio", "aiohttp", "asyncssh", "cryptography", "textual", "rich", "python_socks"}
        == set()
    )
