"""`vmbroker ssh-config` as a user runs it: words, documents, exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, RunningLab, need, vmbroker

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: "shop/api-example-test:6443/Some Body"
contexts:
- {name: "shop/api-example-test:6443/Some Body", context: {cluster: c, user: u, namespace: shop}}
- {name: "arn:aws:eks:eu-test-1:000000000000:cluster/lab", context: {cluster: c, user: u}}
- {name: "dev/titan", context: {cluster: c, user: u}}
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: one}}]
"""
LABELS = {
    "shop/api-example-test:6443/Some Body": "shop-api-example-test-6443-some-body",
    "arn:aws:eks:eu-test-1:000000000000:cluster/lab": "arn-aws-eks-eu-test-1-000000000000-cluster-lab",
    "dev/titan": "dev-titan",
}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    need("ssh", "openssh-client")
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def run(home: Path) -> Run:
    env = {"KUBECONFIG": str(home.parent / "kubeconfig"), "XDG_CONFIG_HOME": str(home.parent / "xdg"), "HOME": str(home.parent)}

    def ssh_config(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return vmbroker("ssh-config", *words, "--file", str(home / "config"), env={**env, **more})

    return ssh_config


def says(file: Path, host: str) -> str:
    return subprocess.run(["ssh", "-G", "-F", str(file), "--", host], capture_output=True, text=True, check=True).stdout


def test_case_c006_every_context_has_an_alias_and_the_mapping_is_printed(run: Run, home: Path) -> None:
    done = run("install")
    assert done.returncode == 0, done.stderr
    for context, label in LABELS.items():
        assert f"NAME.NAMESPACE.vm.{label}: '{context}'" in done.stdout
        (command,) = [line for line in says(home / "config", f"web.shop.vm.{label}").splitlines() if "proxycommand" in line]
        shell = subprocess.run(
            ["sh", "-c", f"printf '%s\\n' {command.removeprefix('proxycommand ').replace('%%', '%')}"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"--context={context}" in shell.stdout.splitlines()
        assert f"--kubeconfig={home.parent / 'kubeconfig'}" in shell.stdout.splitlines()


def test_an_alias_of_the_settings_is_taken(run: Run, home: Path) -> None:
    settings = home.parent / "xdg" / "vmbroker"
    settings.mkdir(parents=True)
    (settings / "vmbroker.toml").write_text('[contexts."dev/titan"]\nalias = "titan"\n')
    assert run("install").returncode == 0
    assert "--context=dev/titan" in says(home / "config", "web.shop.vm.titan")


def test_documents_for_scripts(run: Run, home: Path) -> None:
    (home / "config").write_text("Host *\n  ProxyJump bastion\n")
    made = json.loads(run("install", "-o", "json").stdout)
    assert (made["apiVersion"], made["kind"], made["changed"]) == ("vmbroker/v1", "SshConfigInstall", True)
    assert {each["context"]: each["label"] for each in made["aliases"]} == LABELS
    assert "sample.sample.vm" in made["proven"]
    assert not json.loads(run("install", "-o", "json").stdout)["changed"]
    check = json.loads(run("check", "-o", "json").stdout)
    assert (check["kind"], check["installed"], check["good"], check["items"]) == ("SshConfigCheck", True, True, [])
    gone = json.loads(run("remove", "-o", "json").stdout)
    assert (gone["kind"], gone["changed"]) == ("SshConfigRemoval", True)
    assert str(home / "vmbroker.conf") in gone["deleted"]
    assert (gone["lines"], [path.name for path in home.iterdir()]) == (1, ["config"])
    assert not json.loads(run("remove", "-o", "json").stdout)["changed"]


def test_print_writes_no_file_and_says_what_install_would(run: Run, home: Path) -> None:
    printed = run("print", "--virtctl-aliases")
    assert printed.returncode == 0
    assert list(home.iterdir()) == []
    assert run("install", "--virtctl-aliases").returncode == 0
    assert (home / "vmbroker.conf").read_text() == printed.stdout


def test_check_ends_with_one_and_names_file_and_line(run: Run, home: Path) -> None:
    (home / "config").write_text(
        "Host *.lab\n  ProxyCommand virtctl port-forward --stdio=true vmi/$(echo %h | cut -d. -f1).x %p\n"
        "  StrictHostKeyChecking no\n"
    )
    done = run("check")
    assert done.returncode == 1
    for line, code in ((2, "dotted-virtctl-target"), (2, "shell-on-host-name"), (3, "host-keys-off")):
        assert any(
            text.startswith(f"{home / 'config'}:{line}: ") and f"[{code}]" in text for text in done.stdout.splitlines()
        ), done.stdout


def test_contexts_that_came_since_are_found_by_check(run: Run, home: Path) -> None:
    assert run("install").returncode == 0
    config = home.parent / "kubeconfig"
    config.write_text(config.read_text().replace("dev/titan", "dev/other"))
    done = run("check")
    assert done.returncode == 1
    assert "own-outdated" in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("instal",), 2, "ssh-config knows no 'instal'"),
        ((), 2, "ssh-config"),
        (("check", "--flat"), 2, "--flat"),
        (("remove", "--per-vm"), 2, "--per-vm"),
        (("install", "--follow-current", "--context", "dev/titan"), 2, "contradict"),
        (("install", "--context", "nope"), 3, "'nope'"),
        (("install", "--kubeconfig", "/nonexistent"), 2, "does not exist"),
    ],
)
def test_wrong_words_are_told_and_nothing_is_written(
    run: Run, home: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    done = run(*words)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr
    assert list(home.iterdir()) == []


def test_without_a_kubeconfig_there_is_nothing_to_install(run: Run, home: Path) -> None:
    done = run("install", KUBECONFIG=str(home / "none"))
    assert done.returncode == 2
    assert "kubeconfig-missing" in done.stderr
    assert run("check", KUBECONFIG=str(home / "none")).returncode == 0


def test_a_refusal_has_its_status_and_document(run: Run, home: Path) -> None:
    home.chmod(0o777)
    done = run("install", "-o", "json")
    assert done.returncode == 7
    error = json.loads(done.stderr)
    assert (error["code"], error["exitStatus"]) == ("ssh-config-unsafe", 7)


def test_merged_kubeconfigs_reach_the_command_in_their_order(run: Run, home: Path) -> None:
    other = home.parent / "other one"
    other.write_text("apiVersion: v1\nkind: Config\ncurrent-context: dev/titan\n")
    both = f"{other}:{home.parent / 'kubeconfig'}"
    assert run("install", KUBECONFIG=both).returncode == 0
    said = says(home / "config", "web.shop.vm")
    assert "--context=dev/titan" in said
    assert f"env 'KUBECONFIG={both}'" in said


def test_the_person_is_carried_too(run: Run, home: Path) -> None:
    assert run("install", "--as", "o'neil", "--as-group", "a b", "--set", "stream.handshake_s=5").returncode == 0
    said = says(home / "config", "web.shop.vm")
    assert "stream.handshake_s=5" in said
    assert "--as-group=a b" in said
    assert "neil" in said


def test_a_context_that_no_line_can_carry_is_left_out_with_a_warning(run: Run, home: Path) -> None:
    config = home.parent / "kubeconfig"
    config.write_text(
        config.read_text()
        .replace("dev/titan", "dev\\nUser evil")
        .replace("{name: dev", '{name: "dev')
        .replace("evil,", 'evil",')
    )
    done = run("install")
    assert done.returncode == 0, done.stderr
    assert r"'dev\x0aUser evil' gets no alias" in done.stderr
    assert "dev-user-evil" not in done.stdout
    assert "proxycommand" not in says(home / "config", "web.shop.vm.dev-user-evil")
    assert run("check").returncode == 0


def test_a_context_without_a_name_gets_no_alias_and_a_warning(run: Run, home: Path) -> None:
    config = home.parent / "kubeconfig"
    config.write_text(config.read_text().replace('name: "dev/titan"', 'name: ""'))
    done = run("install")
    assert done.returncode == 0, done.stderr
    assert "warning: the context '' gets no alias" in done.stderr
    assert "--context= " not in (home / "vmbroker.conf").read_text()
    assert run("check").returncode == 0


def test_a_glob_that_no_block_can_say_is_warned_of(run: Run, home: Path) -> None:
    settings = home.parent / "xdg" / "vmbroker"
    settings.mkdir(parents=True)
    (settings / "vmbroker.toml").write_text('[ssh.vms."[wd]b.shop"]\nuser = "ops"\n[ssh.vms."web.shop"]\nuser = "ops"\n')
    for verb in ("print", "install"):
        done = run(verb)
        (line,) = [each for each in done.stderr.splitlines() if each.startswith("warning")]
        assert (done.returncode, "'[wd]b.shop' of [ssh.vms]" in line) == (0, True)
    assert "user ops" in says(home / "config", "WEB.SHOP.VM").splitlines()


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ("~nosuchuser/config", 2, "there is no such user"),
        ("/", 2, "/ is a folder"),
        ("./~til/config", 0, "/~til/config is not there"),
        ("./~/config", 0, "/~/config is not there"),
    ],
)
def test_a_tilde_is_read_as_shells_do(home: Path, given: str, status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "broker.main", "ssh-config", "remove", "--file", given],
        capture_output=True,
        text=True,
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, said in done.stdout + done.stderr) == (status, True), done.stderr
    assert "defect" not in done.stderr


def test_a_closed_stdout_is_no_success_of_print(home: Path) -> None:
    words = [sys.executable, "-m", "broker.main", "--kubeconfig", str(home.parent / "kubeconfig"), "ssh-config", "print"]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *words], stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert (done.returncode, "stdout is closed" in done.stderr) == (1, True), done.stderr


def test_removal_claims_only_what_it_did(run: Run, home: Path) -> None:
    file = home / "config"
    assert "config is not there" in run("remove").stdout
    file.write_text("Host a\n")
    assert run("remove").stdout == f"nothing to remove: {file} has no line of ours\n"
    assert run("install").returncode == 0
    kept = file.read_text()
    file.write_text("Host a\n")
    assert run("remove").stdout.splitlines()[:2] == [f"{file} has no line of ours", f"deleted {home / 'vmbroker.conf'}"]
    file.write_text(kept)
    assert f"our Include is taken out of {file}" in run("remove").stdout


def test_what_ssh_refuses_is_never_called_good(run: Run, home: Path) -> None:
    (home / "config").write_text("Host a\n  Prot 22\n")
    done = run("check")
    assert (done.returncode, f"{home / 'config'}:2: defeats: " in done.stdout) == (1, True)
    assert "nothing defeats" not in done.stdout
    assert not json.loads(run("check", "-o", "json").stdout)["good"]
    assert json.loads(run("check", "-o", "json", "--set", "ssh.program=/nonexistent/ssh").stdout)["good"] is False


def test_a_link_of_somebody_elses_is_a_finding_and_no_crash(run: Run, home: Path) -> None:
    (home / "config").symlink_to(home / "nowhere" / "config")
    done = run("check")
    assert (done.returncode, "unsafe-path" in done.stdout) == (1, True), done.stderr


def test_a_block_for_each_vm_of_the_lab(run: Run, home: Path, lab: RunningLab) -> None:
    done = run("install", "--per-vm", KUBECONFIG=str(lab.kubeconfig()))
    assert done.returncode == 0, done.stderr
    said = says(home / "config", "web.shop.vm").splitlines()
    assert any(line.startswith("hostkeyalias web.shop.vm.") for line in said)
    assert "user fedora" in said


def test_a_person_who_may_list_one_namespace_gets_its_vms_and_is_told(run: Run, lab: RunningLab) -> None:
    done = run("print", "--per-vm", "-n", "shop", KUBECONFIG=str(lab.kubeconfig("bob")))
    assert done.returncode == 0, done.stderr
    assert "Host web.shop.vm " in done.stdout
    told = run("print", "--per-vm", KUBECONFIG=str(lab.kubeconfig("bob")))
    assert "you may not list those of the whole cluster" in told.stderr


def test_a_person_who_may_read_no_vm_is_told_so(run: Run, lab: RunningLab) -> None:
    assert run("print", "--per-vm", "-n", "shop", KUBECONFIG=str(lab.kubeconfig("porter"))).returncode == 4
    assert run("print", KUBECONFIG=str(lab.kubeconfig("porter"))).returncode == 0
