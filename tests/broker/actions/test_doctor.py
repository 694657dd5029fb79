"""The whole examination against the lab: what is well, each fault in its own check, and the words that ssh would give."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.actions.checkup.check import CATALOGUE, Check, Report
from broker.actions.connect import open_guest, read_guest
from broker.actions.doctor import Doctoring, examine
from broker.config.settings import Settings
from broker.errors import BrokerError
from broker.kube.cold import ColdClient
from broker.kube.endpoint import Endpoint, open_endpoint
from broker.kube.session import in_thread
from broker.lab.certificates import Authority
from broker.lab.cluster import Cluster, ClusterSettings
from broker.refs import parse_target
from tests.broker.kube.recorded_api import settings
from tests.conftest import RunningLab, vmbroker

CLUSTER_AND_RIGHTS = [code for code, (group, _) in CATALOGUE.items() if group in ("cluster", "rights")]


def endpoint_of(kubeconfig: Path) -> Endpoint:
    return open_endpoint(
        kubeconfig=str(kubeconfig), context=None, namespace=None, as_user=None, stdin_is_ours=False, environ={}
    )


async def looked_at(
    kubeconfig: Path,
    target: str | None,
    *,
    budget_s: float = 20.0,
    used: Settings | None = None,
    ssh_file: Path | None = None,
) -> Report:
    chosen = used or settings()
    return await examine(
        Doctoring(
            target=parse_target(target) if target else None,
            typed=target,
            user=None,
            port=None,
            budget_s=budget_s,
            settings=chosen,
            environ=dict(os.environ),
            open_cluster=lambda: (endpoint_of(kubeconfig), chosen),
            read_contexts=lambda: (str(kubeconfig), {"vmbroker-lab": "vmbroker-lab"}),
            identity=str(kubeconfig),
            ssh_file=ssh_file,
        )
    )


def by_code(report: Report) -> dict[str, Check]:
    return {check.code: check for check in report.checks}


def failures(report: Report) -> list[str]:
    return [check.code for check in report.checks if check.state == "failed" and check.group != "ssh"]


def changed(kubeconfig: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a kubeconfig that differs: `change` gets the whole document."""
    document = yaml.safe_load(kubeconfig.read_text())
    change(document)
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


async def test_where_all_is_well_every_check_is_made_and_none_fails(lab: RunningLab) -> None:
    report = await looked_at(lab.kubeconfig(), "vm/web/shop")
    checks = by_code(report)
    assert list(checks) == list(CATALOGUE)
    assert failures(report) == []
    told = {code for code, check in checks.items() if check.state == "unknown" and check.group != "ssh"}
    assert told == {"credential-expiry"}
    assert "you are admin" in checks["identity"].says
    assert checks["vm-banner"].says.startswith("SSH-2.0-")
    assert (checks["ssh-version"].state, checks["ssh-key"].state) == ("ok", "ok")


async def test_without_a_target_the_vm_is_left_out_and_the_upgrade_says_why(lab: RunningLab) -> None:
    report = await looked_at(lab.kubeconfig(), None)
    assert {check.group for check in report.checks} == {"cluster", "rights", "ssh"}
    upgrade = by_code(report)["upgrade"]
    assert (upgrade.state, upgrade.says) == ("unknown", "not looked at: no target (vmbroker doctor TARGET)")


@pytest.mark.parametrize(
    ("target", "check"),
    [
        ("vm/stopped/shop", "vm-running"),
        ("vm/starting/team-a", "vm-running"),
        ("vm/paused/shop", "vm-paused"),
        ("vm/nonics/team-a", "vm-interface"),
        ("vm/tenant/team-b", "vm-primary-network"),
        ("vm/noaddress/team-a", "vm-address"),
        ("vm/closed/team-a", "vm-port-listed"),
        ("vm/silent/team-a", "vm-port"),
        ("vm/nope/shop", "vm-exists"),
        ("vm/db/team-a", "vm-exists"),
    ],
)
async def test_a_fault_of_the_vm_is_told_as_ssh_tells_it(lab: RunningLab, target: str, check: str) -> None:
    report = await looked_at(lab.kubeconfig(), target)
    error = await in_thread(lambda: refusal(lab.kubeconfig(), target))
    assert failures(report) == [check]
    told = by_code(report)[check]
    assert (told.says, told.cause, told.next_step, told.error_code) == (
        error.message,
        error.cause,
        error.next_step,
        error.code,
    )
    assert by_code(report)["vm-banner"].says.startswith("not looked at: ")


def refusal(kubeconfig: Path, target: str) -> BrokerError:
    """What `proxy` ends with for a target."""
    with ColdClient(endpoint_of(kubeconfig)) as client:
        try:
            reading = read_guest(client, parse_target(target), default_namespace="default", verb="doctor")
            open_guest(client, reading, 22, stream=settings().stream)
        except BrokerError as exc:
            return exc
    raise AssertionError(f"{target} opened")


async def test_a_right_that_is_missing_names_the_person_and_the_role(lab: RunningLab) -> None:
    report = await looked_at(lab.kubeconfig("carol"), "vm/web/shop")
    assert failures(report) == ["portforward-vm", "portforward-vmi", "vm-port"]
    told = by_code(report)["portforward-vm"]
    assert "you are carol" in (told.cause or "")
    assert "kubevirt.io:edit" in (told.next_step or "")
    assert by_code(report)["list-vms"].state == "ok"


async def test_a_certificate_for_other_names_is_trusted_and_its_names_fail(lab: RunningLab, tmp_path: Path) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["clusters"][0]["cluster"]["tls-server-name"] = "other.example"

    report = await looked_at(changed(lab.kubeconfig(), tmp_path, rename), None)
    checks = by_code(report)
    assert (checks["tcp"].state, checks["tls-trust"].state) == ("ok", "ok")
    assert failures(report) == ["tls-names"]
    assert "kube.lab.example" in (checks["tls-names"].cause or "")
    assert checks["identity"].says == "not looked at: 'certificate names' failed"


async def test_a_foreign_ca_fails_trust_and_nothing_is_sent(lab: RunningLab, tmp_path: Path) -> None:
    other = Authority.load_or_create(tmp_path)

    def distrust(document: dict[str, Any]) -> None:
        cluster = document["clusters"][0]["cluster"]
        cluster.pop("certificate-authority", None)
        cluster["certificate-authority-data"] = base64.b64encode(other.certificate_pem).decode()

    report = await looked_at(changed(lab.kubeconfig(), tmp_path, distrust), None)
    assert failures(report) == ["tls-trust"]
    assert by_code(report)["tls-trust"].error_code == "tls-untrusted"
    assert by_code(report)["credential"].state == "ok"


async def test_an_unchecked_certificate_is_unknown_and_stops_nothing(lab: RunningLab, tmp_path: Path) -> None:
    def skip(document: dict[str, Any]) -> None:
        cluster = document["clusters"][0]["cluster"]
        for key in ("certificate-authority", "certificate-authority-data"):
            cluster.pop(key, None)
        cluster["insecure-skip-tls-verify"] = True

    report = await looked_at(changed(lab.kubeconfig(), tmp_path, skip), None)
    assert failures(report) == []
    assert by_code(report)["tls-trust"].says == "not checked: the kubeconfig says insecure-skip-tls-verify"
    assert by_code(report)["identity"].state == "ok"


async def test_an_expired_credential_is_called_so(lab: RunningLab, tmp_path: Path) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1_700_000_000}).encode()).rstrip(b"=").decode()

    def expire(document: dict[str, Any]) -> None:
        document["users"][0]["user"] = {"token": f"e30.{claims}.c2ln"}

    report = await looked_at(changed(lab.kubeconfig(), tmp_path, expire), "vm/web/shop")
    assert failures(report) == ["credential-expiry", "identity"]
    assert {by_code(report)[code].error_code for code in failures(report)} == {"credential-expired"}
    assert by_code(report)["list-vms"].says == "not looked at: 'credential accepted' failed"


async def test_a_server_that_is_down_and_a_proxy_that_is_down_fail_the_connection(lab: RunningLab, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    def move(document: dict[str, Any]) -> None:
        document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"

    def relay(document: dict[str, Any]) -> None:
        document["clusters"][0]["cluster"]["proxy-url"] = f"http://user:secret@127.0.0.1:{port}"

    down = await looked_at(changed(lab.kubeconfig(), tmp_path, move), None)
    assert failures(down) == ["tcp"]
    by_proxy = await looked_at(changed(lab.kubeconfig(), tmp_path, relay), None)
    assert failures(by_proxy) == ["tcp"]
    assert by_code(by_proxy)["tcp"].error_code == "proxy-unreachable"
    assert f"http://127.0.0.1:{port}" in by_code(by_proxy)["proxy"].says
    assert by_code(by_proxy)["server-name"].says == "not looked at: the proxy looks the name up"
    assert "secret" not in json.dumps(by_proxy.as_json())


async def test_faults_between_us_and_virt_api_are_not_blamed_on_the_vm(tmp_path: Path) -> None:
    async with Cluster.start(ClusterSettings(state_dir=tmp_path / "lab")) as cluster:
        kubeconfig = cluster.kubeconfig()
        cluster.faults.set("virt-api-unreachable=no-route")
        away = await looked_at(kubeconfig, "vm/web/shop")
        assert failures(away) == ["virt-api"]
        assert by_code(away)["virt-api"].error_code == "virt-api-unreachable"
        assert by_code(away)["vm-port"].says == "not looked at: 'virt-api answers' failed"
        cluster.faults.clear()
        cluster.faults.set("strip-upgrade")
        eaten = await looked_at(kubeconfig, "vm/web/shop")
        assert failures(eaten) == ["upgrade"]
        assert by_code(eaten)["upgrade"].error_code == "upgrade-stripped"
        cluster.faults.clear()
        cluster.faults.set("guest-port=shop/web:filtered")
        filtered = await looked_at(kubeconfig, "vm/web/shop", budget_s=5.0)
        assert failures(filtered) == ["vm-port"]
        assert by_code(filtered)["vm-port"].error_code == "port-filtered"
        cluster.faults.clear()
        for resource in ("virtualmachines", "virtualmachineinstances"):
            for found in list(cluster.objects.select(f"{resource}.kubevirt.io")):
                cluster.objects.delete(f"{resource}.kubevirt.io", found["metadata"]["namespace"], found["metadata"]["name"])
        empty = await looked_at(kubeconfig, None)
        assert failures(empty) == []


async def test_a_slow_answer_is_unknown_in_time_and_the_rest_is_told(tmp_path: Path) -> None:
    async with Cluster.start(ClusterSettings(state_dir=tmp_path / "lab", has_guests=False)) as cluster:
        cluster.faults.set("hang,path=/apis/authorization.k8s.io/*")
        report = await looked_at(cluster.kubeconfig(), None, budget_s=2.5)
    checks = by_code(report)
    assert failures(report) == []
    assert {checks[code].says for code in CATALOGUE if CATALOGUE[code][0] == "rights"} == {"no answer within 2.5 s"}
    assert checks["virt-api"].state == "ok"


async def test_without_an_ssh_the_cluster_is_still_looked_at(lab: RunningLab, tmp_path: Path) -> None:
    from dataclasses import replace

    chosen = settings()
    without = replace(chosen, ssh=replace(chosen.ssh, program=str(tmp_path / "no-ssh")))
    report = await looked_at(lab.kubeconfig(), None, used=without)
    told = [check for check in report.checks if check.group == "ssh"]
    assert (told[0].state, told[0].error_code) == ("failed", "program-missing")
    assert {check.says for check in told[1:]} == {"not looked at: 'OpenSSH' failed"}
    assert failures(report) == []


async def test_an_installed_ssh_configuration_is_proven_and_what_defeats_it_is_named(lab: RunningLab, tmp_path: Path) -> None:
    file = tmp_path / "ssh" / "config"
    installed = vmbroker("--kubeconfig", str(lab.kubeconfig()), "ssh-config", "install", "--file", str(file))
    assert installed.returncode == 0, installed.stderr
    well = by_code(await looked_at(lab.kubeconfig(), None, ssh_file=file))
    assert {code: check.state for code, check in well.items() if code.startswith("ssh-")} == dict.fromkeys(
        ("ssh-version", "ssh-include", "ssh-alias", "ssh-jump", "ssh-control-path", "ssh-key", "ssh-file"), "ok"
    )
    ours = file.read_text()
    file.write_text("Host *\n  ProxyJump bastion\n" + ours)
    jump = by_code(await looked_at(lab.kubeconfig(), None, ssh_file=file))
    assert (jump["ssh-jump"].state, jump["ssh-jump"].error_code) == ("failed", "earlier-proxy")
    assert jump["ssh-jump"].says.startswith(f"{file}:2: ")
    assert (jump["ssh-alias"].state, jump["ssh-include"].state) == ("failed", "failed")
    assert "ssh -G gives `proxyjump bastion`" in jump["ssh-alias"].says
    assert "nothing in it" not in jump["ssh-file"].says
    file.write_text("Host *\n  ControlMaster auto\n  ControlPath ~/.ssh/%r@%h:%p-and-a-lot-more-besides\n" + ours)
    long = by_code(await looked_at(lab.kubeconfig(), None, ssh_file=file))
    assert long["ssh-control-path"].state == "failed"
    assert long["ssh-control-path"].says.startswith(f"{file}:3: ")


def test_ssh_is_here() -> None:
    assert shutil.which("ssh"), "these tests need the package openssh-client"
