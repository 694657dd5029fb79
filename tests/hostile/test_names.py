"""A hundred thousand generated names, users, ports and contexts: none becomes a shell word, an ssh option or a path."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

from broker.cli import snapshot
from broker.cli.candidates import candidates
from broker.cli.completion import bash_candidates, bash_words
from broker.cli.copy import read_operand
from broker.cli.snapshot import Names
from broker.errors import UsageError
from broker.kube.resources import VIRTUAL_MACHINES
from broker.paths.forward_spec import parse_forward
from broker.paths.openssh import ClientFiles, Guest, Origin, ssh_argv
from broker.refs import (
    Login,
    cluster_label,
    context_labels,
    host_word,
    parse_login,
    parse_namespace,
    parse_port,
    parse_target,
    parse_user,
)
from tests.hostile.corpus import unclean, word

T = TypeVar("T")
COUNT: Final = 100_000
SEED: Final = 4
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,31}")
_HOST: Final = re.compile(r"[a-z0-9][a-z0-9.-]*[a-z0-9]")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_BASH_SAFE: Final = re.compile(r"(?:[A-Za-z0-9_@%+=:,./-]|\\.)*")


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    """The same generated texts in every run and for every grammar."""
    random_ = random.Random(SEED)
    return tuple(word(random_) for _ in range(COUNT))


def _read(parse: Callable[[str], T], text: str) -> T | None:
    """The parsed value; None where it was refused, in words that may be shown."""
    try:
        return parse(text)
    except UsageError as error:
        for said in (error.message, error.cause or "", error.next_step or ""):
            assert said.isascii() and said.isprintable() and len(said) < 400, (text, said)
        return None


def test_logins_targets_users_and_ports_become_plain_words_or_nothing() -> None:
    read = {"login": 0, "port": 0, "user": 0, "namespace": 0}
    for text in words():
        login = _read(parse_login, text)
        if login is not None:
            read["login"] += 1
            _check_login(login)
        port = _read(parse_port, text)
        if port is not None:
            read["port"] += 1
            assert str(port) == text.lstrip("0") and 1 <= port <= 65535
        user = _read(parse_user, text)
        if user is not None:
            read["user"] += 1
            assert _USER.fullmatch(user)
        namespace = _read(parse_namespace, text)
        if namespace is not None:
            read["namespace"] += 1
            assert _LABEL.fullmatch(namespace)
    assert min(read.values()) > COUNT / 100, read


def _check_login(login: Login) -> None:
    target = login.target
    assert _NAME.fullmatch(target.name) and len(target.name) <= 253
    assert target.namespace is None or _LABEL.fullmatch(target.namespace)
    assert target.label is None or _LABEL.fullmatch(target.label)
    assert login.user is None or _USER.fullmatch(login.user)
    namespace = target.namespace or "shop"
    path = VIRTUAL_MACHINES.path(namespace, target.name)
    assert path == f"/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachines/{target.name}"
    guest = Guest(
        host=host_word(target.name, namespace, "lab-0011"),
        kind=target.kind or "vm",
        name=target.name,
        namespace=namespace,
        port=22,
        user=login.user,
    )
    argv = ssh_argv("ssh", Origin(program=("vmbroker",)), guest, ClientFiles())
    assert argv[:2] == ["ssh", "-o"] and argv[-2] == "--" and _HOST.fullmatch(argv[-1])
    assert argv[2] == f"ProxyCommand=vmbroker proxy {guest.kind}/{target.name}/{namespace} 22"
    assert argv[3:-2] == [
        *("-o", "ProxyJump=none", "-o", f"HostKeyAlias={guest.host}", "-o", "CanonicalizeHostname=no"),
        *(() if login.user is None else ("-l", login.user)),
    ]
    assert parse_target(guest.host).name == target.name


def test_copy_operands_are_plain_local_paths_or_a_login() -> None:
    remote = 0
    for text in words():
        operand = _read(lambda each: read_operand(each, is_sftp=False), text)
        if operand is None:
            continue
        if operand.login is not None:
            remote += 1
            _check_login(operand.login)
            continue
        assert operand.path is not None and not operand.path.startswith("-")
        # scp takes a word for remote where a colon stands before any slash.
        assert ":" not in operand.path.partition("/")[0] or operand.path.startswith(":"), text
    assert remote > 100


def test_forward_words_are_an_address_and_two_ports_or_nothing() -> None:
    read = 0
    for text in words():
        spec = _read(parse_forward, text)
        if spec is not None:
            read += 1
            assert 0 <= spec.local_port <= 65535 and 1 <= spec.remote_port <= 65535
            assert re.fullmatch(r"[A-Za-z0-9_.:%-]+", spec.address) and spec.protocol in ("tcp", "udp")
    assert read > 1000


def test_any_context_name_has_a_label_and_a_cache_file_of_its_own(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    folder = tmp_path / ".cache" / "vmbroker" / "names"
    batch: list[str] = []
    for text in words():
        assert _LABEL.fullmatch(cluster_label(text, text))
        batch.append(text)
        if len(batch) == 20:
            labels = context_labels(batch)
            assert set(labels) == set(batch)
            assert all(_LABEL.fullmatch(label) and label != "vm" for label in labels.values())
            batch = []
    for text in words():
        place = snapshot.place(environ, kubeconfig=text, words=(f"--context={text}",))
        assert place.parent == folder and re.fullmatch(r"[0-9a-f]{32}\.json", place.name)


def test_a_hostile_home_moves_the_cache_nowhere_but_below_it() -> None:
    for base in ("../../etc", "", "-x", "~", "$(touch canary)"):
        place = snapshot.place({"HOME": "/h", "XDG_CACHE_HOME": base}, kubeconfig=None, words=())
        assert str(place).startswith("/h/.cache/vmbroker/names/"), base


def test_completion_offers_names_from_a_hostile_snapshot_only_as_plain_words(tmp_path: Path) -> None:
    offered, asked = (
        0,
        (["ssh", ""], ["wait", ""], ["ssh", "x@"], ["show", "vm/"], ["scp", "a", "w"], ["--context", ""], ["-n", ""]),
    )
    path = tmp_path / "names.json"
    texts = words()
    for start in range(0, COUNT, 1000):
        each = texts[start : start + 1000]
        vms = [[each[i], each[i + 1], each[i + 2]] for i in range(0, 998, 3)] + [["shop", name, "vm"] for name in each]
        odd = [[["a"], {}, 1], "abc", [None, None, None]]
        path.write_text(json.dumps({"namespace": each[0], "contexts": [*each, 7, None], "vms": [*vms, *odd]}))
        names = snapshot.read(path).names
        assert _LABEL.fullmatch(names.namespace)
        for line in asked:
            for found in candidates(line, names):
                offered += 1
                assert not unclean(found.encode()), found
                assert "\n" not in found and "\t" not in found
                if line[0] != "--context":
                    assert re.fullmatch(r"[A-Za-z0-9@./:-]*", found), found
            typed = f"vmbroker {' '.join(line)}"
            for quote in ("", "'", '"'):
                split, kept = bash_words(typed + quote, " \t\n\"'><=;|&(:@")
                for found in bash_candidates(candidates(split, names), kept, typed + quote):
                    assert _BASH_SAFE.fullmatch(found), found
                    assert not quote or "\\" not in found
    assert offered > COUNT / 20


def test_no_text_at_all_upsets_what_completion_reads() -> None:
    names = Names(namespace="shop", contexts=("it's $(x)",), vms=(("shop", "web", "vm"),))
    for text in words():
        split, kept = bash_words(f"vmbroker ssh {text}", "\"'><=;|&(:@")
        assert isinstance(kept, str)
        candidates(split, names)


def test_a_program_of_the_settings_is_a_word_without_options() -> None:
    from broker.config.keys import BY_NAME
    from broker.config.values import BadValue, read_value

    kept = 0
    for text in words():
        for key in ("ssh.program", "ssh.user", "ssh.port"):
            try:
                value = read_value(BY_NAME[key], text)
            except BadValue as error:
                assert str(error).isprintable()
                continue
            kept += 1
            shown = str(value)
            assert not shown.startswith("-") and shown.isprintable()
            assert key != "ssh.user" or _USER.fullmatch(shown)
            assert key != "ssh.program" or shown.startswith("/") or "/" not in shown
    assert kept > 1000
