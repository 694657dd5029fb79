"""Answers of a lying API server: its texts reach the terminal as plain words, whatever kind of answer they stand in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from broker.kube.answer import call_of
from broker.kube.status import error_from_response
from tests.hostile.conftest import Desk
from tests.hostile.corpus import INVALID_UTF8, MARK, SURROGATES, TEXTS, unclean
from tests.hostile.liar import Asked, Liar, Twister, liar, refusal, reply
from tests.hostile.plan import IS_FULL
from tests.hostile.poison import HostileLab
from tests.hostile.terminal import Zygote
from tests.hostile.test_terminal import judge

TARGET: Final = "vm/most-csi/shop"
COMMANDS: Final = (
    ("vms", "-A"),
    ("doctor", TARGET, "--budget", "3"),
    ("show", TARGET),
    ("proxy", TARGET),
    ("wait", TARGET, "--timeout", "0"),
    ("version", "--server"),
    ("forward", TARGET, "0:22", "--exit-when-idle", "0.1"),
    ("ssh", TARGET),
    ("ssh-config", "print", "--per-vm"),
    ("vms", "-A", "-o", "name"),
    ("doctor",),
    ("--debug", "vms"),
)
_PATHS: Final = (
    "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines/web",
    "/k8s/apis/kubevirt.io/v1/namespaces/shop/virtualmachines",
    "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/web/portforward/22/tcp",
    "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances/web/guestosinfo",
    "/api/v1/namespaces/shop/secrets/x",
)
_STATUSES: Final = (101, 200, 302, 400, 401, 403, 404, 406, 409, 410, 418, 422, 429, 500, 502, 503, 504)
_DIALS: Final = (
    "dialing VM: dial tcp {}:22: connection refused",
    "dialing VM: {}",
    "error dialing backend: {}",
    "{} not found",
)


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    """One lying server for the whole file; each test gives it its script."""
    with liar(tmp_path_factory.mktemp("liar"), lambda asked: b"") as server:
        yield server


def test_every_refusal_becomes_plain_bounded_lines() -> None:
    texts = {**TEXTS, "surrogates": SURROGATES}
    for title, text in texts.items():
        raw = INVALID_UTF8 + text[:80_000].encode("utf-8", "surrogatepass")
        bodies = [refusal(403, text[:20_000]), raw, b"<html><title>" + raw[:300] + b"</title>", b"{" + raw[:300]]
        bodies += [form.encode().replace(b"{}", raw[:200]) for form in _DIALS]
        for status in _STATUSES:
            for path in _PATHS:
                for body in bodies:
                    error = error_from_response(status, text[:50], body, call_of(path), retry_after=text[:50])
                    for said in (error.message, error.cause or "", error.next_step or ""):
                        assert unclean(said.encode("utf-8")) == [] and len(said) <= 400, (title, status, path, said)
                        assert "\n" not in said


def _turns(titles: list[str]) -> list[tuple[str, tuple[tuple[str, ...], ...]]]:
    return [
        (title, COMMANDS if IS_FULL else (COMMANDS[at % len(COMMANDS)], COMMANDS[(at + 5) % len(COMMANDS)]))
        for at, title in enumerate(titles)
    ]


@pytest.mark.parametrize(("title", "commands"), _turns([*TEXTS, "surrogates", "invalid"]))
def test_refusals_of_every_form_leave_clean_bytes(
    title: str, commands: tuple[tuple[str, ...], ...], lying: Liar, desk: Desk, runner: Zygote
) -> None:
    text = TEXTS.get(title, SURROGATES)[:60_000]
    raw = INVALID_UTF8 if title == "invalid" else text.encode("utf-8", "surrogatepass")
    line = raw.replace(b"\r", b"").replace(b"\n", b" ")[:2000].decode("latin-1")
    status = (400, 401, 403, 404, 409, 410, 422, 429, 500, 503)[len(raw) % 10]
    env = {**desk.env, "KUBECONFIG": str(lying.kubeconfig)}
    forms = (
        reply(status, refusal(status, text)),
        reply(status, raw, "text/plain"),
        reply(status, b"<html><head><title>" + raw, "text/html"),
        reply(status, raw, line, phrase=line, extra=f"Retry-After: {line}\r\nLocation: {line}\r\nX-{line[:40]}: {line}\r\n"),
    )
    for index, words in enumerate(commands if IS_FULL else commands[len(title) % 2 :][:1]):
        for form in forms if IS_FULL else (forms[(len(title) + index * 2) % 4],):
            lying.script = lambda asked, form=form: form  # type: ignore[misc]
            judge(runner.run(["--set", "api.timeout_s=2", *words], env), words)


@pytest.mark.parametrize(("title", "commands"), _turns([*TEXTS, "surrogates", "invalid"]))
def test_a_server_whose_every_string_is_hostile_leaves_clean_bytes(
    title: str,
    commands: tuple[tuple[str, ...], ...],
    lying: Liar,
    hostile: HostileLab,
    desk: Desk,
    runner: Zygote,
) -> None:
    twister = _twister(hostile)
    twister.text = MARK if title == "invalid" else TEXTS.get(title, SURROGATES)[:2000]
    twister.is_raw = title == "invalid"
    lying.script = twister
    env = {**desk.env, "KUBECONFIG": str(lying.kubeconfig)}
    for words in commands:
        seen = runner.run(words, env)
        judge(seen, words)
        assert b"touch canary" not in seen.stdout or words[0] != "ssh-config", seen.said
    assert not (desk.home / "canary").exists()


def test_names_of_a_lying_server_reach_no_completion(lying: Liar, hostile: HostileLab, desk: Desk, runner: Zygote) -> None:
    twister = _twister(hostile)
    env = {**desk.env, "KUBECONFIG": str(lying.kubeconfig)}
    from broker.cli import snapshot

    place = snapshot.place(env, kubeconfig=None, words=())
    for title in ("shell", "csi", "lines", "dashes"):
        twister.text = TEXTS[title]
        lying.script = twister
        seen = runner.run(["__refresh"], {**env, "VMBROKER_REFRESH_FILE": str(place)})
        judge(seen, ["__refresh"])
        assert place.exists()
        for shell in (["bash", "vmbroker ssh ", ""], ["zsh", "ssh", ""], ["fish", "ssh", ""]):
            seen = runner.run(["__complete", *shell], env)
            judge(seen, shell)
            assert MARK.encode() not in seen.stdout, seen.said
        place.unlink()


def _twister(hostile: HostileLab) -> Twister:
    user = yaml.safe_load(Path(hostile.kubeconfig).read_text())["users"][0]["user"]
    return Twister(host="127.0.0.1", port=int(hostile.cluster.url.rpartition(":")[2]), token=user["token"])


def test_the_liar_does_put_its_text_in(lying: Liar, hostile: HostileLab, desk: Desk, runner: Zygote) -> None:
    twister = _twister(hostile)
    twister.text = TEXTS["csi"]
    lying.script = twister
    env = {**desk.env, "KUBECONFIG": str(lying.kubeconfig)}
    for words in (["doctor"], ["version", "--server"], ["vms", "-A"], ["show", TARGET]):
        assert runner.run(words, env).stdout.decode().count(MARK) >= 2, words
    asked: list[Asked] = []
    lying.script = lambda each: asked.append(each) or reply(403, refusal(403, TEXTS["csi"]))  # type: ignore[func-returns-value]
    assert MARK in runner.run(["vms"], env).stderr.decode()
    assert asked
