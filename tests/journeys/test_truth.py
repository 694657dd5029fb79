"""Every situation, made on the lab, as a person at a terminal and a script hear of it (issue 4, section 1)."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.lab.cluster import Cluster
from tests.conftest import need
from tests.journeys.truth_lab import (
    PLACE,
    Told,
    afflicted,
    ask,
    limit_of,
    lines_of,
    plant_rows,
    rows_of_the_lab,
    run,
    running,
    user_of,
)

Json = dict[str, Any]
ROWS = rows_of_the_lab()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One lab with all rows."""
    with running(tmp_path_factory.mktemp("truth") / "state", unrouted_s=3.0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def told(cluster: Cluster) -> Mapping[str, Told]:
    """What `proxy` says of every row, asked side by side."""
    places = plant_rows(cluster)
    with ThreadPoolExecutor(max_workers=6) as pool:
        jobs = {
            row.name: pool.submit(
                ask,
                cluster.kubeconfig(user_of(row)),
                "proxy",
                f"vm/{places[row.name].name}/{places[row.name].namespace}",
                limit_s=limit_of(row),
            )
            for row in ROWS
        }
        return {name: job.result() for name, job in jobs.items()}


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_each_situation_is_told_by_a_real_process(row: Any, told: Mapping[str, Told]) -> None:
    found = told[row.name]
    assert found.document.get("code") == row.code, found.text
    assert found.status == found.json_status == row.exit_status
    assert found.text.endswith(lines_of(found.document))
    assert found.document["exitStatus"] == row.exit_status
    assert "Traceback" not in found.text


def changed(cluster: Cluster, folder: Path, *, user: Json | None = None, **fields: Any) -> Path:
    """The administrator's kubeconfig with other fields in its cluster or another user."""
    body = yaml.safe_load(cluster.kubeconfig().read_text())
    there = body["clusters"][0]["cluster"]
    for name, value in fields.items():
        if value is None:
            there.pop(name.replace("_", "-"))
        else:
            there[name.replace("_", "-")] = value.replace("{url}", cluster.url) if isinstance(value, str) else value
    if user is not None:
        body["users"][0]["user"] = user
    body["contexts"].append({"name": "lab-two", "context": body["contexts"][0]["context"]})
    path = folder / "kubeconfig.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


def token(**claims: Any) -> Json:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return {"token": f"e30.{middle}.c2ln"}


FAR: list[tuple[str, Json, tuple[str, ...], str, int, tuple[str, ...]]] = [
    (
        "api down",
        {"server": "https://127.0.0.1:1"},
        (),
        "unreachable",
        5,
        ("cannot reach the API server 127.0.0.1:1", "refused"),
    ),
    ("name unknown", {"server": "https://nowhere.invalid:6443"}, (), "name-unknown", 5, ("nowhere.invalid",)),
    ("tls", {"certificate_authority_data": None}, (), "tls-untrusted", 5, ("not signed by a CA",)),
    ("tls name", {"tls_server_name": "other.example"}, (), "tls-name", 5, ("other.example", "kube.lab.example")),
    ("proxy", {"proxy_url": "http://127.0.0.1:1"}, (), "proxy-unreachable", 5, ("cannot reach the proxy",)),
    ("socks proxy", {"proxy_url": "socks5://127.0.0.1:1"}, (), "proxy-unreachable", 5, ("cannot reach the proxy",)),
    ("expired", {"user": token(exp=1_700_000_000)}, (), "credential-expired", 4, ("has expired", "2023-11-14")),
    ("revoked", {"user": {"token": "nonsense"}}, (), "unauthorized", 4, ("unknown which",)),
    ("anonymous", {"user": {}}, (), "anonymous", 4, ("sees no credentials",)),
    ("prefix", {"server": "{url}/k8s/clusters/none"}, (), "api-absent", 5, ("/k8s/clusters/none does not know",)),
    ("context", {}, ("--context", "lab-too"), "context-unknown", 2, ("'lab-too'", "lab-two")),
]


@pytest.mark.parametrize(("name", "change", "flags", "code", "exit_status", "words"), FAR, ids=[row[0] for row in FAR])
def test_what_is_far_from_the_vm_is_told_alike_by_every_command(
    cluster: Cluster, tmp_path: Path, name: str, change: Json, flags: tuple[str, ...], code: str, exit_status: int,
    words: tuple[str, ...],
) -> None:  # fmt: skip
    document = told_alike(changed(cluster, tmp_path, **change), *flags)
    assert (document["code"], document["exitStatus"]) == (code, exit_status), document
    for word in words:
        assert word in lines_of(document)
    assert document["nextStep"]


def told_alike(config: Path, *flags: str) -> Json:
    """What one command of each way of asking says (blocking, pool, both), after a look that all say the same.

    Only what the server itself says of a verb or a name may differ.
    """
    commands = (("proxy", "vm/web/shop"), ("vms",), ("show", "vm/web/shop"))
    with ThreadPoolExecutor(max_workers=len(commands)) as pool:
        ended = list(pool.map(lambda words: run("--kubeconfig", str(config), *flags, "-o", "json", *words), commands))
    documents: list[Json] = [json.loads(done.stderr.splitlines()[-1]) for done in ended]
    for document in documents[1:]:
        if not (document["cause"] or "").startswith("the server says: "):
            assert document["cause"] == documents[0]["cause"]
        assert {**document, "cause": None} == {**documents[0], "cause": None}
    assert {done.returncode for done in ended} == {documents[0]["exitStatus"]}
    return documents[0]


BROKEN: list[tuple[str, str, int, tuple[str, ...]]] = [
    ("hang", "api-timeout", 6, ("gave no whole answer within 3 s", "it was reached")),
    ("api-silent", "connect-timeout", 6, ("within 2 s", "while establishing TLS")),
    ("drop", "connection-lost", 5, ("was lost", "closed before an answer came")),
    ("drop=5", "connection-lost", 5, ("closed before an answer came",)),
    ("drop=20", "connection-lost", 5, ("closed before an answer came",)),
    ("drop=300", "connection-lost", 5, ("in the middle of the answer",)),
]


@pytest.mark.parametrize(("fault", "code", "exit_status", "words"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_server_that_breaks_off_or_keeps_silent_is_told_alike_by_every_command(
    cluster: Cluster, fault: str, code: str, exit_status: int, words: tuple[str, ...]
) -> None:
    with afflicted(cluster, fault):
        document = told_alike(cluster.kubeconfig(), "--set", "api.timeout_s=3", "--set", "api.connect_s=2")
    assert (document["code"], document["exitStatus"]) == (code, exit_status), document
    for word in words:
        assert word in lines_of(document)
    assert document["nextStep"]


FAULTS: list[tuple[str, str, int, tuple[str, ...]]] = [
    ("virt-api-unreachable", "virt-api-unreachable", 5, ("v1.subresources.kubevirt.io",)),
    ("strip-upgrade", "upgrade-stripped", 5, ("removed the websocket upgrade",)),
    ("status=404,path=*kubevirt.io*", "kubevirt-absent", 5, ("KubeVirt is not installed",)),
    ("status=404,path=*subresources*", "virt-api-absent", 5, ("not its virt-api",)),
]


@pytest.mark.parametrize(("fault", "code", "exit_status", "words"), FAULTS, ids=[row[0] for row in FAULTS])
def test_faults_between_here_and_the_guest_are_told_apart(
    cluster: Cluster, fault: str, code: str, exit_status: int, words: tuple[str, ...]
) -> None:
    cluster.faults.set(fault)
    try:
        # A port that is open: virt-api dials before it looks at the request.
        with socket.create_server((f"{cluster.network}.11", 0)) as server:
            found = ask(cluster.kubeconfig(), "proxy", "vm/web/shop", str(server.getsockname()[1]))
    finally:
        cluster.faults.clear(fault.partition("=")[0])
    assert (found.document["code"], found.status) == (code, exit_status), found.text
    assert found.text.endswith(lines_of(found.document))
    for word in words:
        assert word in found.text


PEOPLE: list[tuple[str, str, str, int, tuple[str, ...]]] = [
    (
        "carol",
        "vm/web/shop",
        "forbidden",
        4,
        ("get virtualmachines/portforward", "you are carol", "kubevirt.io:edit or", "unknown"),
    ),
    ("alice", "vm/web/shop", "forbidden", 4, ("you are alice (groups: team-a-devs)",)),
    ("admin", "vm/nope/shop", "vm-not-found", 3, ("no other namespace",)),
    ("admin", "vm/tenant/shop", "wrong-namespace", 3, ("is in namespace team-b", "vmbroker ssh vm/tenant/team-b")),
    ("admin", "vm/web/nowhere", "wrong-namespace", 3, ("shop, team-a", "no namespace nowhere")),
    ("admin", "vm/nope/nowhere", "namespace-not-found", 3, ("no namespace nowhere",)),
    ("carol", "vm/nope/shop", "vm-not-found", 3, ("is unknown",)),
]


@pytest.mark.parametrize(("user", "target", "code", "exit_status", "words"), PEOPLE)
def test_people_are_told_what_they_lack_and_where_a_name_is(
    cluster: Cluster, user: str, target: str, code: str, exit_status: int, words: tuple[str, ...]
) -> None:
    found = ask(cluster.kubeconfig(user), "proxy", target)
    assert (found.document["code"], found.status) == (code, exit_status), found.text
    assert found.text.endswith(lines_of(found.document))
    for word in words:
        assert word in found.text


@pytest.mark.parametrize(
    ("command", "next_step"),
    [
        (("show",), "vmbroker show vm/tenant/team-b"),
        (("wait",), "vmbroker wait vm/tenant/team-b"),
        (("forward", "0:22"), "vmbroker forward vm/tenant/team-b PORTS"),
    ],
)
def test_a_next_step_names_the_command_that_was_run(cluster: Cluster, command: tuple[str, ...], next_step: str) -> None:
    found = ask(cluster.kubeconfig(), command[0], "vm/tenant/shop", *command[1:])
    assert (found.document["code"], found.status) == ("wrong-namespace", 3), found.text
    assert found.document["nextStep"] == f"name the namespace: {next_step}"


@pytest.mark.parametrize("command", ["ssh", "scp"])
def test_ssh_and_scp_say_what_proxy_says(cluster: Cluster, told: Mapping[str, Told], tmp_path: Path, command: str) -> None:
    need("ssh", "openssh-client")
    (tmp_path / "ssh_config").write_text("")
    for row in ("stopped", "port closed"):
        name = row.replace(" ", "-")
        words = [f"vm/{name}/{PLACE}", "--", "-F", str(tmp_path / "ssh_config"), "true"]
        if command == "scp":
            words = ["-F", str(tmp_path / "ssh_config"), f"vm/{name}/{PLACE}:x", str(tmp_path)]
        done = run("--kubeconfig", str(cluster.kubeconfig()), command, *words)
        assert done.returncode in (255, 1), done.stderr
        assert lines_of(told[row].document) in done.stderr
