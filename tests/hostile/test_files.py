"""Files that somebody else wrote: kubeconfigs, settings and ssh configurations with a hostile text in each string."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.hostile.conftest import Desk
from tests.hostile.corpus import INVALID_UTF8, SURROGATES, TEXTS
from tests.hostile.plan import IS_FULL
from tests.hostile.poison import HostileLab
from tests.hostile.terminal import Zygote
from tests.hostile.test_terminal import env_of, judge

COMMANDS: Final = (
    ("config", "show", "--origin"),
    ("vms",),
    ("ssh", "vm/none/shop"),
    ("config", "show", "-o", "yaml"),
    ("doctor", "--budget", "2"),
    ("ssh", "vm/most-csi/shop", "true"),
    ("ssh-config", "print"),
    ("ssh-config", "install", "--file", "HOME/.ssh/config"),
    ("ssh-config", "remove", "--file", "HOME/.ssh/config"),
    ("version", "--server"),
    ("config", "check"),
    ("rsync-e",),
    ("show", "vm/most-csi/shop"),
    ("proxy", "none.shop.vm.nowhere"),
    ("scp", "a", "most-csi.shop.vm:/x"),
)
_ALL: Final = {**{title: text[:5000] for title, text in TEXTS.items()}, "surrogates": SURROGATES}


def _turn(title: str, step: int) -> tuple[tuple[str, ...], ...]:
    at = list(_ALL).index(title) * 2 + step
    return COMMANDS if IS_FULL else (COMMANDS[at % len(COMMANDS)], COMMANDS[(at + 6) % len(COMMANDS)])


def _kubeconfigs(good: Path, text: str) -> dict[str, str]:
    """A kubeconfig by what is hostile in it: all its names, its user's plugin, or every value that it has."""
    found: dict[str, Any] = yaml.safe_load(good.read_text())
    cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": text,
        "args": [text],
        "env": [{"name": text, "value": text}],
        "installHint": text,
        "interactiveMode": "Never",
    }

    def document(cluster_: dict[str, Any], user_: dict[str, Any], name: str, namespace: str = "shop") -> str:
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": name,
                "clusters": [{"name": name, "cluster": cluster_}],
                "users": [{"name": name, "user": user_}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
            },
            allow_unicode=False,
        )

    return {
        "names": document(cluster, user, text),
        "plugin": document(cluster, {"exec": plugin}, "x"),
        "server": document({**cluster, "server": f"https://127.0.0.1:1/{text}"}, user, "x"),
        "everything": document(
            {"server": text, "certificate-authority": text, "tls-server-name": text, "proxy-url": text},
            {"tokenFile": text, "as": text, "as-groups": [text]},
            text,
            text,
        ),
        "as": document(cluster, {**user, "as": text, "as-groups": [text], "as-user-extra": {text: [text]}}, "x"),
    }


@pytest.mark.parametrize("title", _ALL)
def test_a_hostile_kubeconfig_leaves_clean_bytes(title: str, hostile: HostileLab, desk: Desk, runner: Zygote) -> None:
    path = desk.home / "kubeconfig"
    (desk.home / ".ssh").mkdir(mode=0o700)
    for step, content in enumerate(_kubeconfigs(hostile.kubeconfig, _ALL[title]).values()):
        if not IS_FULL and (step + list(_ALL).index(title)) % 2:
            continue
        path.write_text(content, encoding="utf-8")
        for words in _turn(title, step) if IS_FULL else _turn(title, step)[:1]:
            words = tuple(word.replace("HOME", str(desk.home)) for word in words)
            env = {**env_of(words[0], desk), "KUBECONFIG": str(path)}
            judge(runner.run(["--set", "api.connect_s=1", *words], env), words)
    assert not (desk.home / "canary").exists()


@pytest.mark.parametrize(
    "body", [INVALID_UTF8, b"\x00", b"a: &a [*a]", b"{" * 5000, b"a: !!python/object/apply:os.system [id]", b"\xff" * 99]
)
def test_a_broken_kubeconfig_is_told_in_clean_bytes(body: bytes, desk: Desk, runner: Zygote) -> None:
    path = desk.home / "kubeconfig"
    path.write_bytes(body)
    for words in (["vms"], ["config", "show"], ["ssh", "web"]):
        judge(runner.run(words, {**desk.env, "KUBECONFIG": str(path)}), words)


def _settings(text: str) -> tuple[bytes, ...]:
    quoted = '"' + "".join(f"\\U{ord(char):08X}" for char in text[:2000] if not "\ud800" <= char <= "\udfff") + '"'
    return (
        f"[ssh]\nprogram = {quoted}\nuser = {quoted}\n".encode(),
        f"[ssh.vms.{quoted}]\nuser = {quoted}\n[{quoted}]\n{quoted} = {quoted}\n".encode(),
        f"[contexts.{quoted}]\nalias = {quoted}\n[contexts.{quoted}.ssh]\nuser = 'ops'\n".encode(),
        text[:3000].encode("utf-8", "surrogatepass"),
        b'[ssh]\nuser = "' + INVALID_UTF8 + b'"\n',
    )


@pytest.mark.parametrize("title", _ALL)
def test_hostile_settings_leave_clean_bytes(title: str, desk: Desk, runner: Zygote) -> None:
    path = desk.home / "xdg" / "vmbroker" / "vmbroker.toml"
    path.parent.mkdir(parents=True)
    (desk.home / ".ssh").mkdir(mode=0o700)
    bodies = _settings(_ALL[title])
    for step, body in enumerate(bodies if IS_FULL else bodies[:3]):
        path.write_bytes(body)
        path.chmod(0o600)
        for words in (("config", "check"), _turn(title, step)[0])[step % 2 :] if not IS_FULL else COMMANDS:
            words = tuple(word.replace("HOME", str(desk.home)) for word in words)
            judge(runner.run(["--set", "api.connect_s=1", *words], env_of(words[0], desk)), words)


@pytest.mark.parametrize("title", _ALL)
def test_a_hostile_ssh_configuration_is_reported_in_clean_bytes(title: str, desk: Desk, runner: Zygote) -> None:
    folder = desk.home / ".ssh"
    folder.mkdir(mode=0o700)
    text = _ALL[title].encode("utf-8", "surrogatepass")
    lines = [
        b"Host *.vm " + text,
        b"  ProxyCommand " + text,
        b"  ProxyJump " + text,
        b"Include " + text,
        b"Match exec " + text,
        text,
    ]
    path = folder / "config"
    path.write_bytes(b"\n".join(lines))
    path.chmod(0o600)
    also_doctor = IS_FULL or list(_ALL).index(title) % 4 == 0
    seen = runner.run(["ssh-config", "check", "--file", str(path)], desk.env)
    judge(seen, ["ssh-config", "check"])
    assert str(path) in seen.stdout.decode() and seen.status == 1, seen.said
    for words in [["ssh-config", "install", "--file", str(path)], *([["doctor", "--budget", "2"]] if also_doctor else [])]:
        judge(runner.run(words, desk.env), words)
    assert path.read_bytes() == b"\n".join(lines)
    assert not (desk.home / "canary").exists()
