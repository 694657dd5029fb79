"""What `ssh -G` says, and what is said where it says nothing; no child is left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from broker.actions.ask_ssh_config import effective, refusal


@pytest.mark.parametrize(
    ("error", "file", "line", "says"),
    [
        ("/a b/c: line 2: Bad configuration option: prot", "/a b/c", 2, "Bad configuration option: prot"),
        ("/a/line 3/c line 12: Bad port 'x'.", "/a/line 3/c", 12, "Bad port 'x'."),
        ("Too many recursive configuration includes", None, None, "Too many recursive configuration includes"),
        ("Bad owner or permissions on /a/b", None, None, "Bad owner or permissions on /a/b"),
    ],
)
def test_the_place_is_taken_out_of_what_ssh_says(error: str, file: str | None, line: int | None, says: str) -> None:
    told = refusal(error)
    assert (told.file, told.line, told.says) == (file, line, says)


def test_each_kind_of_trouble_is_told_apart(home: Path) -> None:
    (home / "good").write_text("Host *\n  User me\n")
    (home / "bad").write_text("Prot 22\n")
    (home / "slow").write_text('Match exec "sleep 60"\n')
    asked = {
        name: effective("ssh", ("a", "b"), file=home / name, limit_s=0.3 if name == "slow" else 20)
        for name in ("good", "bad", "slow")
    }
    assert {name: {each.trouble for each in got.values()} for name, got in asked.items()} == {
        "good": {""},
        "bad": {"refused"},
        "slow": {"late"},
    }
    assert asked["good"]["a"].options["user"] == "me"
    assert {each.trouble for each in effective("/nonexistent/ssh", ("a",), file=None, limit_s=1).values()} == {"unusable"}


def test_a_child_that_leaves_its_group_keeps_nobody_waiting(home: Path) -> None:
    """Its grandchild holds our pipe, and no signal to the group reaches it."""
    script = home / "ssh"
    script.write_text(f"#!/bin/sh\nsetsid sh -c 'echo $$ > {home}/pid; exec sleep 60' &\nwait\n")
    script.chmod(0o755)
    began = time.monotonic()
    try:
        (got,) = effective(str(script), ("a",), file=None, limit_s=0.5).values()
        assert (got.trouble, time.monotonic() - began < 5) == ("late", True)
    finally:
        os.kill(int((home / "pid").read_text()), 9)
