"""The text of our file: what each block says, that nothing hostile gets in, that other readers agree."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import asyncssh.config
import paramiko
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.paths.openssh import ClientFiles, Origin, alias_command
from broker.paths.ssh_blocks import Cluster, Layout, Machine, Pattern, flat_file, own_file, read_header, samples, unsayable
from broker.refs import context_labels
from tests.conftest import need

CONTEXTS = ("shop/api-example-test:6443/Some Body", "arn:aws:eks:eu-test-1:000000000000:cluster/lab", "dev/titan", "dev.titan")


def origin(context: str | None) -> Origin:
    return Origin(program=("/opt/my tools/vmbroker",), kubeconfigs=("/home/a b/100%/config",), context=context)


def layout(**changes: object) -> Layout:
    labels = context_labels(CONTEXTS)
    values: dict[str, object] = {
        "current": Cluster(
            label=None, origin=origin(CONTEXTS[0]), patterns=(Pattern(glob="web*.shop", user="fedora", port=None),)
        ),
        "contexts": tuple(Cluster(label=label, origin=origin(context)) for context, label in labels.items()),
        "labels": labels,
        "control_dir": "/home/a b/.ssh/.vmbroker",
    }
    return Layout(**{**values, **changes})  # type: ignore[arg-type]  # the test's own keys


def says(path: Path, host: str, *options: str) -> dict[str, str]:
    done = subprocess.run(
        [need("ssh", "openssh-client"), "-G", "-F", str(path), *options, "--", host],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(reversed([line.partition(" ")[::2] for line in done.stdout.splitlines()]))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "own"
    path.write_text(own_file(layout()))
    return path


def test_every_sample_leads_to_its_own_cluster(written: Path) -> None:
    for word, cluster in samples(layout()):
        options = says(written, word)
        assert options["proxycommand"] == alias_command(cluster.origin), word
        assert (options["hostname"], options["proxyusefdpass"]) == (word.lower(), "no")
        assert options["canonicalizehostname"] == "false"
        assert "proxyjump" not in options
        assert "hostkeyalias" not in options


def test_each_context_has_a_label_of_its_own_and_the_file_names_both(written: Path) -> None:
    header = read_header(written.read_text())
    assert header is not None
    assert dict(header.labels) == context_labels(CONTEXTS)
    assert len(set(header.labels.values())) == len(CONTEXTS)


def test_the_shell_gets_each_word_whole() -> None:
    text = own_file(layout())
    (command,) = {line.split(None, 1)[1] for line in text.splitlines() if "Some Body" in line and "ProxyCommand" in line}
    words = shlex.split(command.replace("%%", "%").replace("%n", "web.shop.vm").replace("%p", "22"))
    assert words == [
        "/opt/my tools/vmbroker",
        "--kubeconfig=/home/a b/100%/config",
        f"--context={CONTEXTS[0]}",
        "proxy",
        "web.shop.vm",
        "22",
    ]


def test_a_host_word_with_a_quote_never_meets_our_command(written: Path) -> None:
    for word in ("a'b.shop.vm", "vm/a\\b/shop", "';id;'.vm"):
        done = subprocess.run(["ssh", "-G", "-F", str(written), "--", word], capture_output=True, text=True, check=False)
        assert "proxycommand" not in done.stdout


def test_other_hosts_are_left_alone(written: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for host in ("example.com", "vm.example.com", "vmi", "vm", "shop.vmx", "vm.vm.example"):
        assert says(written, host) == says(tmp_path / "empty", host), host


def test_virtctls_host_words_are_taken_on_request_only(tmp_path: Path) -> None:
    path = tmp_path / "own"
    path.write_text(own_file(layout(has_virtctl_aliases=True)))
    assert says(path, "vm.web.shop")["proxycommand"] == alias_command(origin(CONTEXTS[0]))


def test_the_longest_alias_has_a_socket_path_that_fits(tmp_path: Path) -> None:
    path = tmp_path / "own"
    for folder in ("/home/somebody/.ssh/.vmbroker", "/" + "x" * 100, "/home/${USER}/c"):
        path.write_text(own_file(layout(control_dir=folder)) + "\nHost *\n  ControlPath /tmp/%r@%h:%p\n  ControlMaster auto\n")
        socket = says(path, f"{'a' * 63}.{'b' * 63}.vm").get("controlpath", "none")
        assert socket == "none" or (socket.startswith(folder) and len(socket) + 17 <= 103)
        assert (socket == "none") is (folder != "/home/somebody/.ssh/.vmbroker")


def test_two_clusters_behind_one_alias_never_share_a_socket(tmp_path: Path) -> None:
    paths = set()
    for context in CONTEXTS[:2]:
        path = tmp_path / "own"
        path.write_text(own_file(layout(current=Cluster(label=None, origin=origin(context)))))
        paths.add(says(path, "web.shop.vm")["controlpath"])
    assert len(paths) == 2


def test_following_the_current_context_names_none_and_shares_no_connection(tmp_path: Path) -> None:
    path = tmp_path / "own"
    text = own_file(layout(current=Cluster(label=None, origin=origin(None)), follows_current=True))
    path.write_text(text + "Host *\n  ControlMaster auto\n  ControlPath /tmp/%C\n")
    options = says(path, "web.shop.vm")
    assert "--context" not in options["proxycommand"]
    assert (options["controlmaster"], options.get("controlpath", "none")) == ("false", "none")


@pytest.mark.parametrize(
    ("glob", "taken", "left"),
    [
        ("web.shop", ["web.shop.vm", "vm/web/shop", "web.shop.vm."], ["web2.shop.vm", "a.web.shop.vm"]),
        ("web*.shop", ["WEB2.SHOP.VM", "WEB2.SHOP.VM.", "web2.shop.VM", "vmi/WEB2/SHOP"], ["DB.SHOP.VM", "WEB.SHOP2.VM"]),
        ("web.*", ["WEB.SHOP.VM"], ["WEB.A.SHOP.VM"]),
        ("web*.shop", ["web2.shop.vm", "web.a.shop.vm"], ["web.shop2.vm"]),
        ("web.*", ["web.shop.vm", "web.db.vm"], ["web.a.shop.vm", "webs.shop.vm"]),
        ("*.*", ["web.shop.vm", "web.a.shop.vm"], ["web.shop.vm.other"]),
        ("w?b.shop", ["wob.shop.vm"], ["web2.shop.vm"]),
        ("w[ae]b.shop", [], ["web.shop.vm"]),
        ("no-dot", [], ["no-dot.vm"]),
    ],
)
def test_a_pattern_of_the_settings_means_the_same_vms(tmp_path: Path, glob: str, taken: list[str], left: list[str]) -> None:
    path = tmp_path / "own"
    cluster = Cluster(label=None, origin=origin(None), patterns=(Pattern(glob=glob, user="taken", port=2222),))
    path.write_text(own_file(layout(current=cluster)))
    for word in taken:
        assert (says(path, word)["user"], says(path, word)["port"]) == ("taken", "2222"), word
    for word in left:
        assert says(path, word)["user"] != "taken", word


def test_what_no_pattern_can_say_is_named_once() -> None:
    patterns = tuple(Pattern(glob=glob, user=user, port=None) for glob, user in (("w[ae]b.shop", "a"), ("[ab].*", None)))
    clusters = [Cluster(label=label, origin=origin(None), patterns=patterns) for label in (None, "prod")]
    assert unsayable(layout(current=clusters[0], contexts=(clusters[1],))) == ("w[ae]b.shop",)
    assert unsayable(layout()) == ()


def test_a_reason_of_ours_is_seen_although_the_user_lets_masters_persist(tmp_path: Path) -> None:
    """OpenSSH shuts the stderr of a ProxyCommand where ControlPersist is set."""
    (tmp_path / "proxy").write_text("#!/bin/sh\necho the VM is stopped >&2\nexit 5\n")
    (tmp_path / "proxy").chmod(0o755)
    told: list[bool] = []
    for own in ("", own_file(layout(current=Cluster(label=None, origin=Origin(program=(str(tmp_path / "proxy"),)))))):
        path = tmp_path / "config"
        users = f"Host *\n  ControlMaster auto\n  ControlPersist 5\n  ControlPath {tmp_path}/%C\n"
        path.write_text(f"{own}{users}  ProxyCommand {tmp_path}/proxy\n  BatchMode yes\n")
        done = subprocess.run(
            ["ssh", "-F", str(path), "web.shop.vm"], capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
        told.append(b"the VM is stopped" in done.stderr)
    assert told == [False, True]


def test_the_first_pattern_wins_and_the_default_comes_last(tmp_path: Path) -> None:
    path = tmp_path / "own"
    patterns = (Pattern(glob="web.shop", user="one", port=None), Pattern(glob="*.shop", user="two", port=None))
    path.write_text(own_file(layout(current=Cluster(label=None, origin=origin(None), patterns=patterns, user="three"))))
    assert [says(path, word)["user"] for word in ("web.shop.vm", "db.shop.vm", "db.other.vm")] == ["one", "two", "three"]


def test_a_vm_of_its_own_has_user_port_and_key(tmp_path: Path) -> None:
    path = tmp_path / "own"
    machine = Machine(name="web", namespace="shop", user="ops", port=2222, host_key="web.shop.vm.prod-1")
    label = context_labels(CONTEXTS)["dev/titan"]
    path.write_text(own_file(layout(machines=(machine,), machines_label=label)))
    lower = ("web.shop.vm", "vm/web/shop", "vmi/web/shop", f"web.shop.vm.{label}")
    for word in (*lower, *(word.upper() for word in lower if "/" not in word), "vm/WEB/SHOP", "web.shop.VM"):
        options = says(path, word)
        assert (options["user"], options["port"], options["hostkeyalias"]) == ("ops", "2222", "web.shop.vm.prod-1")
        assert "proxycommand" in options
    assert "hostkeyalias" not in says(path, "db.shop.vm")


HOSTILE = st.text(alphabet="ab.-\n\r\0 \"'\\%$`;#*!\u202e", min_size=0, max_size=12)


@given(name=HOSTILE, namespace=HOSTILE, user=HOSTILE, key=HOSTILE, glob=HOSTILE, context=HOSTILE)
@settings(max_examples=200)
def test_no_name_of_a_cluster_writes_a_line_of_its_own(
    name: str, namespace: str, user: str, key: str, glob: str, context: str
) -> None:
    clean_context = "".join(char for char in context if char not in "\n\r\0")
    text = own_file(
        layout(
            current=Cluster(
                label=None, origin=origin(clean_context), patterns=(Pattern(glob=glob, user=user, port=None),), user=user
            ),
            machines=(Machine(name=name, namespace=namespace, user=user, port=22, host_key=key),),
            labels={context: "label"},
        )
    )
    known = {
        "HostName",
        "ProxyCommand",
        "ProxyJump",
        "ProxyUseFdpass",
        "CanonicalizeHostname",
        "ServerAliveInterval",
        "ControlPath",
        "ControlPersist",
    }
    for line in text.split("\n"):
        word = line.split(" ")[0] if not line.startswith("  ") else line.split()[0]
        assert word in {*known, "", "#", "Host", "Match", "User", "Port", "HostKeyAlias"}, line
        if word in ("User", "HostKeyAlias"):
            assert len(line.split()) == 2
            assert line.isascii()


def test_an_edit_is_noticed() -> None:
    text = own_file(layout(options=("--per-vm",)))
    header = read_header(text)
    assert header is not None
    assert header.is_unedited
    assert header.options == ("--per-vm",)
    edited = read_header(text.replace("ServerAliveInterval 30", "ServerAliveInterval 31", 1))
    assert edited is not None
    assert not edited.is_unedited
    assert read_header("Host a\n") is None


def test_the_lab_brings_its_own_key_and_known_hosts(tmp_path: Path) -> None:
    path = tmp_path / "own"
    path.write_text(own_file(layout(files=ClientFiles(identity="/a b/%/key", known_hosts="/a b/%/hosts"))))
    options = says(path, "web.shop.vm")
    assert options["userknownhostsfile"] == "/a b/%/hosts"
    assert options["identityfile"].replace("%%", "%") == "/a b/%/key"
    assert options["stricthostkeychecking"] == "accept-new"


def flat(tmp_path: Path) -> Path:
    path = tmp_path / "flat"
    own = Origin(program=("/opt/my tools/vmbroker",), kubeconfigs=("/home/a b/config",), context=CONTEXTS[0])
    patterns = (Pattern(glob="web*.shop", user="fedora", port=2222),)
    path.write_text(
        flat_file(layout(current=Cluster(label=None, origin=own, patterns=patterns)))
        + "\nHost *\n  ProxyJump bastion\n  HostName %h.corp\n"
    )
    return path


FLAT_SAMPLES = ("web.shop.vm", "web2.shop.vm", "vm/web/shop", "web.shop.vm.")


def test_the_flat_file_has_neither_include_nor_match(tmp_path: Path) -> None:
    words = [line.split()[0] for line in flat(tmp_path).read_text().splitlines() if line.strip() and line.strip()[0] != "#"]
    assert "Include" not in words
    assert "Match" not in words


@pytest.mark.parametrize("host", FLAT_SAMPLES)
def test_paramiko_reads_the_flat_file(tmp_path: Path, host: str) -> None:
    found = paramiko.SSHConfig.from_path(str(flat(tmp_path))).lookup(host)
    assert shlex.split(found["proxycommand"])[-3:] == ["proxy", host, "2222"]
    assert shlex.split(found["proxycommand"])[:3] == [
        "/opt/my tools/vmbroker",
        "--kubeconfig=/home/a b/config",
        f"--context={CONTEXTS[0]}",
    ]
    assert (found["user"], found["hostname"], found["port"]) == ("fedora", host, "2222")
    other = paramiko.SSHConfig.from_path(str(flat(tmp_path))).lookup("example.com")
    assert (other["proxyjump"], other["hostname"]) == ("bastion", "example.com.corp")


@pytest.mark.parametrize("host", FLAT_SAMPLES)
def test_asyncssh_reads_the_flat_file(tmp_path: Path, host: str) -> None:
    def load(name: str) -> asyncssh.config.SSHConfig:
        return asyncssh.config.SSHClientConfig.load(None, [str(flat(tmp_path))], False, False, False, "me", (), name, ())

    found = load(host)
    assert shlex.split(str(found.get("ProxyCommand")))[-3:] == ["proxy", host, "2222"]
    assert (found.get("User"), found.get("ProxyJump"), found.get("Hostname")) == ("fedora", None, host)
    assert load("example.com").get("ProxyJump") == "bastion"


@pytest.mark.parametrize("host", FLAT_SAMPLES)
def test_openssh_reads_the_flat_file_too(tmp_path: Path, host: str) -> None:
    options = says(flat(tmp_path), host)
    assert options["proxycommand"].endswith("proxy '%h' %p")
    assert (options["user"], options["hostname"]) == ("fedora", host)
