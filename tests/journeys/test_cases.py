"""Cases that users met (cases.md), from the command line to the lab and back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import RunningLab, vmbroker

PREFIX = "/k8s/clusters/c-m-abc12"


def changed(lab: RunningLab, tmp_path: Path, **cluster: Any) -> str:
    """A copy of the administrator's kubeconfig with other fields in its cluster; `server` may begin with {url}."""
    body = yaml.safe_load(lab.kubeconfig().read_text())
    there = body["clusters"][0]["cluster"]
    for name, value in cluster.items():
        key = name.replace("_", "-")
        there[key] = value.replace("{url}", there["server"]) if isinstance(value, str) else value
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(body))
    return str(path)


def banner(config: str) -> subprocess.CompletedProcess[str]:
    return vmbroker("--kubeconfig", config, "proxy", "vm/web/shop", stdin="\r\n")


@pytest.mark.parametrize("ending", ["", "/"])
def test_c001_a_path_prefix_is_kept_for_lists_and_for_the_websocket(lab: RunningLab, tmp_path: Path, ending: str) -> None:
    config = changed(lab, tmp_path, server="{url}" + PREFIX + ending)
    assert "vm/web/shop" in vmbroker("--kubeconfig", config, "vms", "-o", "name").stdout.split()
    assert banner(config).stdout.startswith("SSH-2.0-")


@pytest.mark.parametrize("words", [("vms",), ("proxy", "vm/web/shop"), ("show", "web")])
def test_c001_a_prefix_that_leads_nowhere_is_no_missing_vm(lab: RunningLab, tmp_path: Path, words: tuple[str, ...]) -> None:
    config = changed(lab, tmp_path, server="{url}/k8s/clusters/other")
    done = vmbroker("--kubeconfig", config, *words)
    assert done.returncode == 5, done.stderr
    assert "does not know the KubeVirt API" in done.stderr
    assert "not-found" not in done.stderr


def test_c007_tls_server_name_reaches_the_websocket_too(lab: RunningLab, tmp_path: Path) -> None:
    config = changed(lab, tmp_path, tls_server_name="kube.lab.example")
    assert "vm/web/shop" in vmbroker("--kubeconfig", config, "vms", "-o", "name").stdout.split()
    assert banner(config).stdout.startswith("SSH-2.0-")


@pytest.mark.parametrize("words", [("vms",), ("proxy", "vm/web/shop")])
def test_c007_a_wrong_name_is_named_with_those_of_the_certificate(
    lab: RunningLab, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = vmbroker("--kubeconfig", changed(lab, tmp_path, tls_server_name="kube.other.example"), *words)
    assert done.returncode == 5
    assert "kube.other.example" in done.stderr
    assert "kube.lab.example" in done.stderr


def faulty(state: Path, fault: str) -> Iterator[RunningLab]:
    started = vmbroker("lab", "up", "--fault", fault, "--state-dir", str(state))
    assert started.returncode == 0, started.stderr
    try:
        yield RunningLab(state_dir=state)
    finally:
        vmbroker("lab", "down", "--state-dir", str(state))


@pytest.mark.parametrize("kind", ["no-route", "bad-certificate", "unavailable"])
def test_c008_an_unreachable_virt_api_is_not_the_vms_fault(tmp_path: Path, kind: str) -> None:
    for lab in faulty(tmp_path / "state", f"virt-api-unreachable={kind}"):
        done = banner(str(lab.kubeconfig()))
        assert done.returncode == 5
        assert "virt-api-unreachable" in done.stderr
        assert "v1.subresources.kubevirt.io" in done.stderr
        assert "vm/web/shop" in vmbroker("--kubeconfig", str(lab.kubeconfig()), "vms", "-o", "name").stdout.split()


def test_c009_a_stripped_upgrade_is_told_as_such_and_rest_goes_on(tmp_path: Path) -> None:
    for lab in faulty(tmp_path / "state", "strip-upgrade"):
        done = banner(str(lab.kubeconfig()))
        assert done.returncode == 5
        assert "upgrade-stripped" in done.stderr
        assert "vm/web/shop" in vmbroker("--kubeconfig", str(lab.kubeconfig()), "vms", "-o", "name").stdout.split()
