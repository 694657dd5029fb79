"""`vms` and the names that completion learns from it, over a small API server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from broker.cli import snapshot
from tests.broker.cli.api_server import serving
from tests.conftest import vmbroker


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose kubeconfig leads to a server with the VMs `db` and `web` in the namespace `shop`."""
    with serving(tmp_path, "lab-like") as kubeconfig:
        yield {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(tmp_path),
            "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }


def test_the_table_has_the_namespace_where_several_may_be_meant(env: dict[str, str]) -> None:
    here = vmbroker("vms", env=env)
    assert here.returncode == 0, here.stderr
    assert [line.split()[0] for line in here.stdout.splitlines()] == ["NAME", "db", "web"]
    everywhere = vmbroker("vms", "-A", env=env)
    assert [line.split()[:2] for line in everywhere.stdout.splitlines()] == [
        ["NAMESPACE", "NAME"],
        ["shop", "db"],
        ["shop", "web"],
    ]
    assert "\x1b" not in everywhere.stdout


def test_names_json_and_yaml_are_for_programs(env: dict[str, str]) -> None:
    assert vmbroker("vms", "-o", "name", env=env).stdout == "vm/db/shop\nvm/web/shop\n"
    document = json.loads(vmbroker("vms", "-o", "json", env=env).stdout)
    assert (document["apiVersion"], document["kind"]) == ("vmbroker/v1", "VirtualMachineList")
    assert [item["name"] for item in document["items"]] == ["db", "web"]
    assert yaml.safe_load(vmbroker("vms", "-o", "yaml", env=env).stdout) == document


def test_wide_shows_the_user_and_its_origin_and_colour_obeys_the_settings(env: dict[str, str]) -> None:
    wide = vmbroker("vms", "-o", "wide", env=env).stdout
    assert "fedora" in wide
    assert "vmbroker.io/ssh-user" in wide
    assert "\x1b[32mRunning" in vmbroker("vms", "--set", "output.color=always", env=env).stdout
    assert "\x1b" not in vmbroker("vms", "--set", "output.color=always", "--no-color", env=env).stdout


def test_an_empty_namespace_is_a_note_and_no_failure(env: dict[str, str]) -> None:
    done = vmbroker("vms", "-n", "empty", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "note: no VMs in namespace empty\n")


def test_show_tells_user_and_port_with_their_origins(env: dict[str, str]) -> None:
    done = vmbroker("show", "db", env=env)
    assert done.returncode == 0, done.stderr
    assert "2222" in done.stdout
    assert "vmbroker.io/ssh-port" in done.stdout
    document = json.loads(vmbroker("show", "vm/web/shop", "-o", "json", env=env).stdout)
    assert (document["kind"], document["name"]) == ("VirtualMachine", "web")
    assert vmbroker("show", "web", "-o", "name", env=env).stdout == "vm/web/shop\n"
    assert " ops (from " in vmbroker("show", "ops@web", env=env).stdout


def test_the_servers_version_is_told_and_a_missing_kubevirt_is_a_note(env: dict[str, str]) -> None:
    done = vmbroker("version", "--server", "-o", "json", env=env)
    assert done.returncode == 0
    assert (json.loads(done.stdout)["kubernetes"], json.loads(done.stdout)["kubevirt"]) == ("v1.33.1", None)
    warning = json.loads(done.stderr)
    assert (warning["kind"], warning["message"].startswith("no KubeVirt version: ")) == ("Warning", True)


def test_completion_learns_the_names_behind_the_scenes(env: dict[str, str]) -> None:
    first = vmbroker("__complete", "zsh", "ssh", "w", env=env)
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    path = snapshot.place(env, kubeconfig=None, words=())
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, "no snapshot was written"
        time.sleep(0.02)  # the wait for a condition: another process writes the file
    held = snapshot.read(path)
    assert held.names.vms == (("shop", "db", "vm"), ("shop", "web", "vm"))
    assert held.names.contexts == ("lab-like",)
    assert vmbroker("__complete", "zsh", "ssh", "w", env=env).stdout == "web\n"
    while path.with_suffix(".lock").exists():
        assert time.monotonic() < deadline, "the renewal keeps its claim"
        time.sleep(0.02)
