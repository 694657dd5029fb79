"""Bulk and many at once through the real ssh, over the lab."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path

import pytest

from tests.bench.test_startup import once
from tests.conftest import RunningLab, need
from tests.journeys.person import WEB, Person

GIB = 1 << 30


@pytest.fixture
def person(lab: RunningLab, tmp_path: Path) -> Person:
    """The lab's administrator with an empty home."""
    need("ssh", "openssh-client")
    made = Person(lab=lab, home=tmp_path)
    assert made.ssh("true").returncode == 0
    return made


def argv(person: Person, command: str) -> list[str]:
    """The argv of a session that runs one command."""
    return person.vmbroker_argv("ssh", WEB, "--", *person.options, command)


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_one_gib_down_arrives_whole(person: Person) -> None:
    began = time.perf_counter()
    process = subprocess.Popen(
        argv(person, f"openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c {GIB}"),
        stdout=subprocess.PIPE,
        env=person.environ,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    digest, count = hashlib.sha256(), 0
    while chunk := process.stdout.read(1 << 20):
        digest.update(chunk)
        count += len(chunk)
    assert process.wait() == 0
    took = time.perf_counter() - began
    expected = subprocess.run(
        f"openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c {GIB} | sha256sum",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
    print(f"\n1 GiB down over ssh: {took:.1f} s, {count / took / 1e6:.0f} MB/s")
    assert (count, digest.hexdigest()) == (GIB, expected)


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_one_gib_up_arrives_whole(person: Person) -> None:
    block = hashlib.sha256(b"block").digest() * 32768
    began = time.perf_counter()
    process = subprocess.Popen(argv(person, "sha256sum"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=person.environ)
    assert process.stdin is not None
    assert process.stdout is not None
    digest = hashlib.sha256()
    for _ in range(GIB // len(block)):
        process.stdin.write(block)
        digest.update(block)
    process.stdin.close()
    answer = process.stdout.read().decode()
    assert process.wait() == 0
    took = time.perf_counter() - began
    print(f"\n1 GiB up over ssh: {took:.1f} s, {GIB / took / 1e6:.0f} MB/s")
    assert answer.split()[0] == digest.hexdigest()


@pytest.mark.bench
@pytest.mark.timeout(180)
def test_fifty_sessions_at_once_all_succeed(person: Person) -> None:
    began = time.perf_counter()
    running = [
        subprocess.Popen(argv(person, "true"), env=person.environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(50)
    ]
    failed = [(p.returncode, err) for p in running if (err := p.communicate()[1]) is not None and p.returncode != 0]
    print(f"\n50 x ssh true at once: {time.perf_counter() - began:.1f} s, {len(failed)} failed; one alone: ", end="")
    alone = once(argv(person, "true"), person.environ) if not failed else 0.0
    print(f"{alone:.2f} s")
    assert failed == []
