"""Aliases: after `vmbroker ssh-config install`, ssh, scp, rsync, git and Ansible go in by NAME.NAMESPACE.vm alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from broker.lab.kubeconfigs import CONTEXT
from tests.conftest import need
from tests.journeys.person import Person


@pytest.fixture
def config(person: Person) -> Path:
    """A user's own file with a company's `Host *` in it, and our aliases installed by the command."""
    folder = person.home / "ssh folder"
    folder.mkdir(mode=0o700)
    path = folder / "config"
    path.write_text(
        f"# company\nHost *\n  HostName %h.corp.example\n  ProxyJump bastion.corp.example\n  IdentitiesOnly yes\n"
        f"  IdentityFile {person.identity}\n  UserKnownHostsFile {shlex.quote(str(person.home / 'known_hosts'))}\n"
        "  StrictHostKeyChecking accept-new\n  BatchMode yes\n"
    )
    settings = person.home / "config" / "vmbroker"
    settings.mkdir(parents=True)
    (settings / "vmbroker.toml").write_text('[ssh.vms."web.shop"]\nuser = "fedora"\n[ssh.vms."*.shop"]\nuser = "debian"\n')
    done = person.vmbroker("ssh-config", "install", "--file", str(path))
    assert done.returncode == 0, done.stderr
    return path


def ssh(person: Person, config: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return person.run(["ssh", "-F", str(config), *words])


def test_ssh_goes_in_by_every_form_of_alias_as_the_user_of_the_settings(person: Person, config: Path) -> None:
    for alias in ("web.shop.vm", "web.shop.vm.", "vm/web/shop", "vmi/web/shop", f"web.shop.vm.{CONTEXT}"):
        done = ssh(person, config, alias, "hostname; echo $USER")
        assert (done.returncode, done.stdout) == (0, b"web\nfedora\n"), (alias, done.stderr)
    done = ssh(person, config, "fedora@WEB.SHOP.VM", "hostname")
    assert (done.returncode, done.stdout) == (0, b"web\n"), done.stderr
    words = {line.split()[0] for line in (person.home / "known_hosts").read_text().splitlines()}
    assert words == {"web.shop.vm", "web.shop.vm.", "vm/web/shop", "vmi/web/shop", f"web.shop.vm.{CONTEXT}"}


def test_a_block_for_each_vm_shares_its_host_key_with_vmbroker_ssh(person: Person, config: Path) -> None:
    done = person.vmbroker("ssh-config", "install", "--per-vm", "-n", "shop", "--file", str(config))
    assert done.returncode == 0, done.stderr
    assert ssh(person, config, "web.shop.vm", "true").returncode == 0
    ours = (person.home / "known_hosts").read_text()
    assert person.ssh("-o", "StrictHostKeyChecking=yes", "true").returncode == 0
    assert (person.home / "known_hosts").read_text() == ours
    assert ours.split()[0].startswith("web.shop.vm.")


def test_scp_and_sftp_copy_both_ways(person: Person, config: Path) -> None:
    data = os.urandom(300_000)
    (person.home / "up").write_bytes(data)
    up = person.run(["scp", "-F", str(config), str(person.home / "up"), "web.shop.vm:alias-scp"])
    assert up.returncode == 0, up.stderr
    down = person.run(["sftp", "-F", str(config), "web.shop.vm:alias-scp", str(person.home / "down")])
    assert down.returncode == 0, down.stderr
    assert (person.home / "down").read_bytes() == data


def test_rsync_mirrors_by_alias(person: Person, config: Path) -> None:
    need("rsync", "rsync")
    tree = person.home / "tree"
    tree.mkdir()
    (tree / "a file").write_text("x")
    argv = ["rsync", "-a", "-e", f"ssh -F '{config}'", f"{tree}/", "web.shop.vm:alias-rsync/"]
    done = person.run(argv)
    assert done.returncode == 0, done.stderr
    again = person.run(["rsync", "-ai", "--checksum", *argv[2:]])
    assert (again.returncode, again.stdout) == (0, b"")


def test_git_clones_and_pushes_over_ssh_by_alias(person: Person, config: Path) -> None:
    need("git", "git")
    made = ssh(person, config, "web.shop.vm", "rm -rf alias.git && git init -q --bare -b main alias.git && pwd")
    assert made.returncode == 0, made.stderr
    url = f"ssh://web.shop.vm{made.stdout.decode().strip()}/alias.git"
    who = {f"GIT_{role}_{what}": "a@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = {"GIT_SSH_COMMAND": f"ssh -F {shlex.quote(str(config))}", **who}
    here, there = person.home / "here", person.home / "there"
    for argv in (
        ["git", "clone", "-q", url, str(here)],
        ["git", "-C", str(here), "commit", "-q", "--allow-empty", "-m", "by alias"],
        ["git", "-C", str(here), "push", "-q", "origin", "HEAD:main"],
        ["git", "clone", "-q", url, str(there)],
    ):
        done = person.run(argv, **environ)
        assert done.returncode == 0, (argv, done.stderr)
    assert person.run(["git", "-C", str(there), "log", "--format=%s"]).stdout == b"by alias\n"


def test_ansible_pings_by_alias(person: Person, config: Path) -> None:
    ansible = Path(sys.executable).with_name("ansible")
    if not ansible.exists():
        pytest.skip("ansible is not here (package ansible-core, extra test)")
    inventory = person.home / "inventory.ini"
    inventory.write_text(
        "[vms]\nweb.shop.vm\nvm-by-path ansible_host=vm/web/shop\n[vms:vars]\nansible_python_interpreter=/usr/bin/python3\n"
    )
    done = person.run(
        [str(ansible), "all", "-i", str(inventory), "-m", "ansible.builtin.ping"],
        ANSIBLE_SSH_COMMON_ARGS=f"-F {shlex.quote(str(config))}",
        ANSIBLE_LOCAL_TEMP=str(person.home / "ansible"),
        ANSIBLE_NOCOLOR="1",
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.count(b'"ping": "pong"') == 2


def test_a_master_by_alias_serves_a_second_session_from_our_own_folder(person: Person, tmp_path: Path) -> None:
    short = Path(f"/tmp/vmb-{os.getpid()}")
    short.mkdir(mode=0o700)
    try:
        path = short / "config"
        path.write_text(
            f"Host *\n  IdentityFile {person.identity}\n  UserKnownHostsFile {tmp_path}/known_hosts\n"
            "  StrictHostKeyChecking accept-new\n  BatchMode yes\n  ControlMaster auto\n  ControlPersist 60\n"
        )
        assert person.vmbroker("ssh-config", "install", "--file", str(path)).returncode == 0
        # A stopped VM's reason comes through although the user lets masters persist; who wants one says so.
        stopped = ssh(person, path, "stopped.shop.vm", "true")
        assert (stopped.returncode, b"is stopped [vm-stopped]" in stopped.stderr) == (255, True), stopped.stderr
        first = ssh(person, path, "-o", "ControlPersist=60", "fedora@web.shop.vm", "true")
        assert first.returncode == 0, first.stderr
        assert [each.is_socket() for each in (short / ".vmbroker").iterdir()] == [True]
        assert b"Master running" in ssh(person, path, "-O", "check", "fedora@web.shop.vm").stderr
        assert ssh(person, path, "-O", "exit", "fedora@web.shop.vm").returncode == 0
        assert person.vmbroker("ssh-config", "remove", "--file", str(path)).returncode == 0
        assert [each.name for each in short.iterdir()] == ["config"]
    finally:
        subprocess.run(["rm", "-rf", str(short)], check=True)


def test_the_current_context_is_followed_on_request(person: Person, config: Path) -> None:
    done = person.vmbroker("ssh-config", "install", "--follow-current", "--file", str(config))
    assert done.returncode == 0, done.stderr
    assert ssh(person, config, "fedora@web.shop.vm", "true").returncode == 0
    nowhere = person.home / "nowhere"
    nowhere.write_text("apiVersion: v1\nkind: Config\n")
    assert person.run(["ssh", "-F", str(config), "fedora@web.shop.vm", "true"], KUBECONFIG=str(nowhere)).returncode == 255


def test_virtctls_documented_blocks_work_with_our_word_in_them(person: Person, tmp_path: Path) -> None:
    """The blocks of KubeVirt's user guide and of OKD's, `virtctl port-forward --stdio=true` replaced by `vmbroker proxy`."""
    config = tmp_path / "virtctl"
    word = shlex.join([*person.vmbroker_argv("proxy")])
    shared = "\n  ".join(f"{o.split('=', 1)[0]} {o.split('=', 1)[1]}" for o in person.options if "=" in o)
    config.write_text(
        f"Host vm/*\n  ProxyCommand {word} %h %p\nHost vmi/*\n  ProxyCommand {word} %h %p\n"
        f"Host orders\n  HostName vm.web.shop\n  User fedora\n  ProxyCommand {word} vm/web/shop %p\n"
        f"Host vm.*\n  ProxyCommand {word} %h %p\nHost *\n  {shared}\n"
    )
    for host in ("fedora@vm/web/shop", "fedora@vmi/web/shop", "orders", "fedora@vm.web.shop"):
        done = person.run(["ssh", "-F", str(config), host, "hostname"])
        assert (done.returncode, done.stdout.strip()) == (0, b"web"), (host, done.stderr)


def test_the_lab_needs_nothing_but_its_flag(person: Person, tmp_path: Path) -> None:
    """`vmbroker --lab ssh-config install`: the lab's key and known_hosts come along, and a new person has nothing to write."""
    state = tmp_path / "state" / "vmbroker"
    state.mkdir(parents=True)
    (state / "lab").symlink_to(person.lab.state_dir)
    environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "KUBECONFIG": ""}
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    done = person.vmbroker("--lab", "ssh-config", "install", "--per-vm", "--file", str(folder / "config"), **environ)
    assert done.returncode == 0, done.stderr
    came = person.run(
        ["ssh", "-F", str(folder / "config"), "-o", "BatchMode=yes", "web.shop.vm", "hostname; echo $USER"], **environ
    )
    assert (came.returncode, came.stdout) == (0, b"web\nfedora\n"), came.stderr
