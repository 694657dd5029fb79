"""All the generated words in what we write for ssh and for a shell: our ssh_config files and the ProxyCommand.

A grammar of our own reads every line of every file; the real ssh and the real shells read them too.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

import pytest

from broker.errors import UsageError
from broker.paths.openssh import ClientFiles, Guest, Origin, proxy_command, ssh_word
from broker.paths.ssh_blocks import Cluster, Layout, Machine, Pattern, flat_file, own_file
from broker.refs import context_labels
from tests.conftest import need
from tests.hostile.test_names import COUNT, words

BATCH: Final = 2000
SHELLS: Final = ("sh", "bash", "zsh", "fish")
GUEST: Final = Guest(host="web.shop.vm.lab-0011", kind="vm", name="web", namespace="shop", port=22, user="ops")
_HOST: Final = r"!?[A-Za-z0-9.*?/-]+"
_USER: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,31}"
_NAME: Final = r"[a-z0-9][a-z0-9.-]{0,252}"
_CONTROL: Final = re.compile("[" + "".join(re.escape(chr(at)) for at in (*range(32), *range(127, 160)) if at != 9) + "]")
_LONE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_FIXED: Final = (
    "HostName %h", "ProxyJump none", "ProxyUseFdpass no", "CanonicalizeHostname no", "ServerAliveInterval 30",
    "ControlMaster no", "ControlPath none", "ControlPersist no", "StrictHostKeyChecking accept-new",
)  # fmt: skip
_LINE: Final = re.compile(
    rf"""\#[ -~]* | | Match\ all | Host\ \*
    | Host(?:\ {_HOST})+(?:\ "!\*'\*"\ "!\*\\\\\*")?
    | \ \ User\ {_USER} | \ \ Port\ [0-9]{{1,5}} | \ \ HostKeyAlias\ {_NAME}
    | \ \ (?:{"|".join(map(re.escape, _FIXED))})
    | \ \ ControlPath\ "[ -~]*%C"
    """,
    re.VERBOSE,
)
_PROXY: Final = "  ProxyCommand "
_WORD: Final = re.compile(
    r"(?!=)(?:[A-Za-z0-9_@+=:,./-]|'[^'\\!\x00-\x08\x0a-\x1f\x7f-\x9f]*'|\\['\\!])+"
)  # in these three forms a word means itself to sh, bash, zsh, fish and csh


def is_sayable(text: str) -> bool:
    """Whether an ssh_config value can carry it: no control character but the tab, and bytes that a file can hold."""
    return not _CONTROL.search(text) and not _is_unwritable(text)


def _is_unwritable(text: str) -> bool:
    return _LONE.search(text) is not None


@lru_cache(maxsize=1)
def sayable() -> tuple[str, ...]:
    """Those of the generated words, each once."""
    return tuple(dict.fromkeys(filter(is_sayable, words())))


def unquoted(command: str) -> list[str]:
    """The words of a command as any shell reads them; fails where one is quoted in any other way than ours."""
    found, at = [], 0
    while at < len(command):
        match = _WORD.match(command, at)
        assert match is not None and command[match.end() : match.end() + 1] in ("", " "), command[at : at + 80]
        parts = re.findall(r"'([^']*)'|\\(.)|([^'\\]+)", match[0])
        found.append("".join("".join(part) for part in parts))
        at = match.end() + 1
    return found


def test_a_word_is_refused_exactly_where_no_ssh_option_can_carry_it() -> None:
    refused = 0
    for text in words():
        if _is_unwritable(text):
            continue
        origin = Origin(program=("/bin/vmbroker",), kubeconfigs=(f"/{text}", "/k"), context=text)
        try:
            command = proxy_command(origin, GUEST)
        except UsageError as error:
            refused += 1
            assert not is_sayable(text), text
            assert error.message.isascii() and error.message.isprintable()
            continue
        assert is_sayable(text), text
        assert command.replace("%%", "").count("%") == 0
        assert unquoted(command.replace("%%", "%")) == [
            *("env", f"KUBECONFIG=/{text}:/k", "/bin/vmbroker", f"--context={text}"),
            *("proxy", "vm/web/shop", "22"),
        ]
    assert COUNT / 20 < refused < COUNT / 2


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_reads_every_word_back(shell: str, tmp_path: Path) -> None:
    program, script = need(shell, shell), tmp_path / "script"
    given = sayable()
    with script.open("w", encoding="utf-8", errors="surrogateescape") as file:
        for start in range(0, len(given), 100):
            # `printf` is built in, so that no limit on arguments counts.
            origin = Origin(program=("printf", "%s\\0"), as_groups=given[start : start + 100])
            file.write(proxy_command(origin, GUEST).replace("%%", "%") + "\n")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8", "TERM": "dumb"}
    done = subprocess.run([program, str(script)], capture_output=True, cwd=tmp_path, env=env, check=False, timeout=60)
    assert done.stderr[:500] == b""
    seen = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    assert [word for word in seen if word.startswith("--as-group=")] == [f"--as-group={text}" for text in given]
    assert len(seen) == len(given) + 3 * -(-len(given) // 100) + 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in (".config", ".local", ".cache")) == ["script"]


def layouts() -> Iterator[Layout]:
    """Every word as context, impersonated user, kubeconfig, glob, user, VM, namespace and host key, in files of 2000 words."""
    every, given = words(), sayable()
    for start in range(0, COUNT, BATCH):
        texts = [text for text in every[start : start + BATCH] if not _is_unwritable(text)]
        contexts = given[start : start + BATCH] or given[-20:]
        labels = context_labels(list(contexts))
        turned = [*texts[1:], texts[0]]
        patterns = [Pattern(glob=text, user=other, port=22) for text, other in zip(texts, turned, strict=True)]
        patterns += [Pattern(glob=f"web.{text}", user=text, port=None) for text in texts]
        machines = [
            Machine(name=text, namespace=other, user=text, port=22, host_key=other)
            for text, other in zip(texts, turned, strict=True)
        ]
        machines += [Machine(name="db", namespace="shop", user=text, port=22, host_key=text) for text in texts]
        origins = [Origin(program=("/bin/vmbroker",), kubeconfigs=(f"/k{text}",), context=text) for text in contexts]
        clusters = [
            Cluster(label=labels[text], origin=origin, user=text) for text, origin in zip(contexts, origins, strict=True)
        ]
        yield Layout(
            current=Cluster(label=None, origin=origins[0], patterns=tuple(patterns), user=texts[0]),
            contexts=tuple(clusters),
            machines=tuple(machines),
            machines_label="lab-0011",
            labels=labels,
            control_dir="/run/user/0",
            has_virtctl_aliases=True,
        )


def test_every_line_of_every_file_is_one_that_was_meant(tmp_path: Path) -> None:
    commands = 0
    plain = {host: _asked(tmp_path, "", host) for host in ("example.com", "web.shop.vm")}
    for at, layout in enumerate(layouts()):
        make = flat_file if at % 2 else own_file
        text = make(layout)
        said = [line for line in text.split("\n") if not _LINE.fullmatch(line)]
        assert all(line.startswith(_PROXY) for line in said), [line for line in said if not line.startswith(_PROXY)][:3]
        expected = [layout.current.origin] * 3 + [cluster.origin for cluster in layout.contexts]
        for line, origin in zip(said, expected, strict=True):
            *command, host, port = line.removeprefix(_PROXY).split(" ")
            assert (host, port) == ("'%h'" if at % 2 else "'%n'", "%p")
            assert unquoted(" ".join(command).replace("%%", "%")) == [
                *("/bin/vmbroker", f"--kubeconfig={origin.kubeconfigs[0]}", f"--context={origin.context}", "proxy")
            ]
        commands += len(said)
        if at % 5 == 0:
            _check_with_ssh(tmp_path, text, layout, plain, said)
    assert commands > len(sayable())


def _check_with_ssh(folder: Path, text: str, layout: Layout, plain: dict[str, dict[str, str]], said: list[str]) -> None:
    assert _asked(folder, text, "example.com") == plain["example.com"]
    for index in (0, len(layout.contexts) // 2, len(layout.contexts) - 1):
        seen = _asked(folder, text, f"web.shop.vm.{layout.contexts[index].label}")
        assert seen["proxycommand"] == said[3 + index].removeprefix(_PROXY)
        changed = {name for name in seen if seen[name] != plain["web.shop.vm"].get(name)}
        assert changed <= {*_OURS, "host", "hostname", "user"}, changed
        assert re.fullmatch(_USER, seen["user"])


_OURS: Final = ("proxycommand", "proxyjump", "proxyusefdpass", "serveraliveinterval", "canonicalizehostname", "controlpath")


def _asked(folder: Path, config: str, host: str) -> dict[str, str]:
    """What `ssh -G` says of a host under this configuration."""
    path = folder / "ssh_config"
    path.write_text(config, encoding="utf-8", errors="surrogateescape")
    argv = [need("ssh", "openssh-client"), "-G", "-F", str(path), host]
    done = subprocess.run(argv, capture_output=True, check=False, cwd=folder, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr[:500]
    lines = done.stdout.decode("utf-8", "surrogateescape").split("\n")
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines if line}


def test_a_file_name_of_ours_is_one_value_or_refused() -> None:
    for text in words():
        if _is_unwritable(text):
            continue
        try:
            said = ssh_word(f"/{text}")
        except UsageError:
            assert not is_sayable(text)
            continue
        inner = said[1:-1].replace("\\\\", "").replace('\\"', "").replace("%%", "")
        assert is_sayable(text) and said[0] == said[-1] == '"' and not set(inner) & set('"\\%')
    layout = Layout(
        current=Cluster(label=None, origin=Origin(program=("p",))), files=ClientFiles(identity="/a\nProxyCommand touch canary")
    )
    with pytest.raises(UsageError):
        own_file(layout)
