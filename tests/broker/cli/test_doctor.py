"""`vmbroker doctor` as a person and a script run it: table, JSON, YAML, exit status, terminals, and a world that hangs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from broker.actions.checkup.check import CATALOGUE, OF_TARGET, Report, failed, not_looked_at, ok
from broker.cli.doctor import lines
from broker.errors import GuestUnready
from tests.broker.cli.hung_world import hung_world
from tests.conftest import ROOT, RunningLab, vmbroker

CSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def env(tmp_path: Path, lab: RunningLab) -> dict[str, str]:
    """An environment with the lab's kubeconfig and an ssh that has the lab's key, whatever this machine has."""
    (tmp_path / "config").write_text(f"IdentityFile {lab.state_dir}/ssh/id_ed25519\n")
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nexec ssh -F {tmp_path}/config "$@"\n')
    program.chmod(0o755)
    return {
        "KUBECONFIG": str(lab.kubeconfig()),
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "SSH_AUTH_SOCK": "",
        "VMBROKER_SSH_PROGRAM": str(program),
    }


def test_a_machine_that_is_well_gives_a_table_without_colour_and_status_0(env: dict[str, str]) -> None:
    done = vmbroker("doctor", "fedora@web", "-n", "shop", "--budget", "30", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(done.stderr.splitlines()) <= {"… looking at vm/web"}
    assert "\x1b" not in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("  ") and not line.startswith("      ")]
    assert len(rows) == len(CATALOGUE)
    assert all(re.match(r"  (✓ ok     |\? unknown)  \S", row) for row in rows), done.stdout
    assert [line for line in done.stdout.splitlines() if line and not line.startswith(" ")][:4] == [
        "Cluster",
        "Your rights",
        "The VM",
        "Your ssh configuration",
    ]
    assert done.stdout.splitlines()[-1].startswith(f"{sum('✓' in row for row in rows)} ok, 0 failed, ")


def test_a_failure_gives_status_1_and_json_and_yaml_hold_the_same(env: dict[str, str]) -> None:
    done = vmbroker("doctor", "vm/paused/shop", "-o", "json", env=env)
    document = json.loads(done.stdout)
    assert (done.returncode, document["apiVersion"], document["kind"]) == (1, "vmbroker/v1", "Doctor")
    assert document["target"] == "vm/paused/shop"
    bad = [check for check in document["checks"] if check["state"] == "failed"]
    assert [check["name"] for check in bad] == ["vm-paused"]
    assert document["summary"]["failed"] == 1
    told = json.loads(vmbroker("proxy", "vm/paused/shop", "-o", "json", env=env).stderr)
    assert {key: bad[0][key] for key in ("code", "cause", "nextStep")} == {
        key: told[key] for key in ("code", "cause", "nextStep")
    }
    assert bad[0]["says"] == told["message"]
    other = yaml.safe_load(vmbroker("doctor", "vm/paused/shop", "-o", "yaml", env=env).stdout)
    assert [(check["name"], check["state"], check["says"]) for check in other["checks"] if check["group"] == "vm"] == [
        (check["name"], check["state"], check["says"]) for check in document["checks"] if check["group"] == "vm"
    ]


@pytest.mark.parametrize(
    ("words", "content", "check", "code"),
    [
        (["--context", "nowhere"], None, "context", "context-unknown"),
        ([], "{{{", "kubeconfig", "kubeconfig-broken"),
        ([], "", "kubeconfig", "kubeconfig-missing"),
    ],
    ids=["unknown context", "broken kubeconfig", "no kubeconfig"],
)
def test_without_a_cluster_the_ssh_configuration_is_looked_at_all_the_same(
    env: dict[str, str], tmp_path: Path, words: list[str], content: str | None, check: str, code: str
) -> None:
    if content is not None:
        path = tmp_path / "kubeconfig"
        if content:
            path.write_text(content)
        env["KUBECONFIG"] = str(path)
    done = vmbroker("doctor", *words, "-o", "json", env=env)
    assert done.returncode == 1, done.stderr
    checks = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert list(checks) == [name for name in CATALOGUE if name not in OF_TARGET]
    assert [name for name, each in checks.items() if each["state"] == "failed"] == [check]
    assert (checks[check]["code"] == code) or code == "kubeconfig-broken"
    assert checks["identity"]["says"].startswith("not looked at: ")
    assert checks["ssh-version"]["state"] == checks["ssh-key"]["state"] == "ok"


@pytest.mark.parametrize(
    "words", [["--budget", "soon"], ["--budget", "0"], ["--budget", "-1"], ["-bad"], ["a", "b"], ["web", "-p", "0"], ["UP@"]]
)
def test_a_wrong_command_line_is_status_2(env: dict[str, str], words: list[str]) -> None:
    done = vmbroker("doctor", *words, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


def test_a_narrow_terminal_folds_every_line_and_takes_colour(env: dict[str, str]) -> None:
    text = on_a_terminal(["doctor", "vm/paused/shop"], {**env, "COLUMNS": "60", "LINES": "24", "TERM": "xterm"})
    assert "\x1b[31m✗ failed \x1b[0m" in text
    plain = [CSI.sub("", line) for line in text.splitlines() if "progress" not in line]
    assert max(len(line) for line in plain) <= 60
    assert "virtctl unpause vm paused -n shop" in " ".join(" ".join(plain).split())
    without = on_a_terminal(["doctor", "vm/paused/shop"], {**env, "COLUMNS": "60", "TERM": "xterm", "NO_COLOR": "1"})
    assert "\x1b[3" not in without
    assert "✗ failed" in without


def on_a_terminal(words: list[str], env: dict[str, str]) -> str:
    """Run vmbroker with a terminal as stdout and return what it wrote there."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "broker.main", *words],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **env},
        cwd=ROOT,
    )
    os.close(follower)
    got = b""
    while True:
        try:
            part = os.read(leader, 65_536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        got += part
    os.close(leader)
    process.wait(timeout=60)
    return got.decode().replace("\r\n", "\n")


def test_an_encoding_without_our_glyphs_gets_others(env: dict[str, str]) -> None:
    done = vmbroker("doctor", "vm/paused/shop", env={**env, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.stdout.isascii()
    assert "  x failed   not paused" in done.stdout
    assert "  + ok       kubeconfig" in done.stdout


def test_where_nothing_answers_every_check_is_unknown_in_time_and_nothing_is_left_running(tmp_path: Path) -> None:
    with hung_world(tmp_path) as world:
        words = ["--kubeconfig", str(world.kubeconfig), "--set", f"ssh.program={world.ssh}"]
        done = vmbroker(*words, "doctor", "vm/web/shop", "--budget", "2", "-o", "json", timeout_s=60)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        checks = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
        assert list(checks) == list(CATALOGUE)
        well = ["kubeconfig", "context", "proxy", "server-name", "tcp"]
        assert [name for name, each in checks.items() if each["state"] == "ok"] == well
        told = {name for name, each in checks.items() if each["says"] == "no answer within 2 s"}
        assert told == {"tls-trust", "credential", "ssh-version"}
        assert {each["says"] for name, each in checks.items() if name not in told and name not in well} == {
            f"not looked at: '{CATALOGUE[name][1]}' has no answer" for name in told
        }
        deadline = time.monotonic() + 10
        while world.left_running():
            assert time.monotonic() < deadline, "a program outlived doctor"
            time.sleep(0.01)


def test_foreign_text_and_long_words_stay_within_the_lines() -> None:
    error = GuestUnready("x" * 90 + " and words", cause="because " * 20, next_step="do 東京都 " * 9)
    report = Report(
        checks=(failed("vm-port", error), ok("vm-exists", "a\x1b[2Jb"), not_looked_at("vm-banner", "why")),
        target="web",
        context=None,
        budget_s=5,
        took_s=1,
    )
    for width in (40, 60, 100):
        from broker.cli.output import cells

        shown = list(lines(report, width=width, is_colored=False, is_ascii=False))
        assert max(cells(line) for line in shown) <= width
        assert all(line.isprintable() for line in shown)
    whole = list(lines(report, width=None, is_colored=False, is_ascii=False))
    assert any("x" * 90 in line for line in whole)
