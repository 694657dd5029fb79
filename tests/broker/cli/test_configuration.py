"""`vmbroker config`: what the kubeconfig decides is shown with the file that it came from (cases.md C-002)."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import vmbroker

ONE = """
apiVersion: v1
kind: Config
current-context: first
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
contexts: [{name: first, context: {cluster: c, user: u, namespace: a}}]
users: [{name: u, user: {token: one-canary}}]
"""
TWO = """
apiVersion: v1
kind: Config
current-context: second
clusters: [{name: c, cluster: {server: "https://192.0.2.2:6443", tls-server-name: x.example}}]
contexts: [{name: second, context: {cluster: c, user: u, namespace: b}}]
users: [{name: u, user: {token: two-canary, as: someone}}]
"""


def shown(tmp_path: Path, *words: str) -> dict[str, tuple[str, str]]:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(ONE)
    two.write_text(TWO)
    environ = {"KUBECONFIG": f"{one}:{two}", "XDG_CONFIG_HOME": str(tmp_path)}
    done = vmbroker("config", "show", "-o", "json", *words, env=environ)
    assert done.returncode == 0, done.stderr
    assert "canary" not in done.stdout
    return {item["key"]: (item["value"], Path(item["origin"]["place"]).name) for item in json.loads(done.stdout)["items"]}


def test_c002_the_first_file_wins_and_each_value_names_its_file(tmp_path: Path) -> None:
    found = shown(tmp_path)
    assert found["kubeconfig.context"] == ("first", "one")
    assert found["kubeconfig.namespace"] == ("a", "one")
    assert found["kubeconfig.server"] == ("https://192.0.2.1:6443", "one")
    assert found["kubeconfig.user"] == ("u", "one")


def test_c002_the_other_context_keeps_the_first_files_cluster_and_user(tmp_path: Path) -> None:
    found = shown(tmp_path, "--context", "second")
    assert found["kubeconfig.context"] == ("second", "--context")
    assert found["kubeconfig.namespace"] == ("b", "two")
    assert found["kubeconfig.server"] == ("https://192.0.2.1:6443", "one")
    assert found["kubeconfig.user"] == ("u", "one")
