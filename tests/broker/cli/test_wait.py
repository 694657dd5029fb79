"""`vmbroker wait` as a user runs it, on the session's lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from broker.main import main
from tests.conftest import ROOT, RunningLab, vmbroker


def waited(lab: RunningLab, *words: str, user: str = "admin") -> subprocess.CompletedProcess[str]:
    return vmbroker("--kubeconfig", str(lab.kubeconfig(user)), "wait", *words)


def test_success_is_one_line(lab: RunningLab) -> None:
    done = waited(lab, "web", "-n", "shop")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("shop/web: ssh answers (SSH-2.0-")
    assert done.stdout.endswith(" s\n")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(("aim", "seen"), [("running", "runs on node-"), ("agent", "its guest")])
def test_json_names_what_was_waited_for_and_what_was_seen(lab: RunningLab, aim: str, seen: str) -> None:
    done = waited(lab, "web.shop.vm", "--for", aim, "-o", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["apiVersion"], document["kind"]) == ("vmbroker/v1", "WaitResult")
    assert (document["target"], document["namespace"], document["name"]) == ("vm/web/shop", "shop", "web")
    assert document["for"] == aim
    assert document["seen"].startswith(seen)
    assert 0 <= document["seconds"] < 30
    assert document["warnings"] == []


def test_the_end_of_the_time_is_told_after_progress_lines(lab: RunningLab) -> None:
    began = time.monotonic()
    done = waited(lab, "vm/starting/team-a", "--for", "address", "--timeout", "1.5")
    assert done.returncode == 6
    assert time.monotonic() - began < 10
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "… waiting for address of team-a/starting: VMI phase Scheduling, no address yet",
        "error: team-a/starting has no address on its first interface after 1.5 s of waiting [wait-timeout]",
        "cause: seen last: VMI phase Scheduling, no address yet",
        "next: wait longer (--timeout), or see what holds it: vmbroker doctor vm/starting/team-a",
    ]


def test_as_json_all_of_stderr_is_json_and_there_is_no_progress(lab: RunningLab) -> None:
    done = waited(lab, "vm/starting/team-a", "--for", "address", "--timeout", "1.5", "-o", "json", "--debug")
    assert (done.returncode, done.stdout) == (6, "")
    kinds = [json.loads(line)["kind"] for line in done.stderr.splitlines()]
    assert (set(kinds), kinds[-1]) == ({"Debug", "Error"}, "Error")


def test_a_user_before_the_target_has_no_part_in_it(lab: RunningLab) -> None:
    done = waited(lab, "root@web.shop.vm", "--for", "running")
    assert (done.returncode, done.stderr) == (0, "")
    assert waited(lab, "ro;ot@web.shop.vm").returncode == 2


def test_progress_is_plain_where_the_encoding_is(lab: RunningLab) -> None:
    words = ("--kubeconfig", str(lab.kubeconfig()), "wait", "vm/starting/team-a", "--for", "address", "--timeout", "1.5")
    done = vmbroker(*words, env={"PYTHONIOENCODING": "ascii"})
    assert done.stderr.startswith("... waiting for address of team-a/starting: ")


def test_a_name_that_is_not_there_has_its_status_in_json_too(lab: RunningLab) -> None:
    done = waited(lab, "nope", "-n", "shop", "-o", "json")
    assert (done.returncode, done.stdout) == (3, "")
    error = json.loads(done.stderr)
    assert (error["kind"], error["code"], error["exitStatus"]) == ("Error", "vm-not-found", 3)


@pytest.mark.parametrize(
    "words",
    [
        ("web", "--for", "rain"),
        ("web", "--timeout", "-1"),
        ("web", "--timeout", "soon"),
        ("web", "--timeout", "nan"),
        ("web", "--timeout", "9999999"),
        ("web", "-p", "0"),
        ("we b",),
        (),
    ],
)
def test_wrong_words_are_told_before_anything_is_asked(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kubeconfig", "/nonexistent", "wait", *words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "[usage]" in told.err


def test_a_missing_right_is_told_and_does_not_wait(lab: RunningLab) -> None:
    done = waited(lab, "web", "-n", "shop", "--for", "running", user="norights")
    assert done.returncode == 4
    assert "virtualmachineinstances" in done.stderr
    assert "cause: you are norights" in done.stderr
    assert "next: ask for ClusterRole" in done.stderr


def test_the_right_to_forward_alone_is_enough_for_ssh(lab: RunningLab) -> None:
    done = waited(lab, "web", "-n", "shop", "--timeout", "20", user="porter")
    assert done.returncode == 0, done.stderr


def test_a_setting_gives_the_time_where_the_line_does_not(lab: RunningLab) -> None:
    done = waited(lab, "stopped", "-n", "shop", "--for", "running", "--set", "wait.timeout_s=0.3")
    assert done.returncode == 6
    assert "after 0.3 s of waiting" in done.stderr


def test_ctrl_c_ends_it_cleanly(lab: RunningLab) -> None:
    words = ["--kubeconfig", str(lab.kubeconfig()), "wait", "vm/silent/team-a"]
    process = subprocess.Popen(
        [sys.executable, "-m", "broker.main", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=dict(os.environ),
    )
    assert process.stderr is not None
    with process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert first.startswith("… waiting for ssh of team-a/silent: ")
    assert (process.returncode, out) == (130, "")
    assert all(line.startswith("… ") for line in err.splitlines()), err
