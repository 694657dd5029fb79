"""Files: scp both ways, sftp, rsync; every byte arrives."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tests.conftest import need
from tests.journeys.person import WEB, Person

SIZE_BYTES = 8 * 1024 * 1024 + 17


def made(path: Path) -> Path:
    path.write_bytes(os.urandom(SIZE_BYTES))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_scp_copies_both_ways(person: Person) -> None:
    here = made(person.home / "a file")
    up = person.vmbroker("scp", *person.options, str(here), f"{WEB}:scp-journey")
    assert up.returncode == 0, up.stderr
    down = person.vmbroker("scp", *person.options, "web.shop.vm:scp-journey", str(person.home / "back"))
    assert down.returncode == 0, down.stderr
    assert digest(here) == digest(person.home / "back")


def test_scp_copies_a_directory(person: Person) -> None:
    (person.home / "tree" / "deep").mkdir(parents=True)
    (person.home / "tree" / "deep" / "x").write_text("x")
    assert person.vmbroker("scp", "-r", *person.options, str(person.home / "tree"), f"{WEB}:scp-tree").returncode == 0
    assert person.ssh("cat scp-tree/deep/x").stdout == b"x"


def test_sftp_runs_a_batch(person: Person) -> None:
    here = made(person.home / "in")
    batch = person.home / "batch"
    batch.write_text(f"put {here} sftp-journey\nget sftp-journey {person.home}/out\n")
    done = person.vmbroker("sftp", "-b", str(batch), *person.options, WEB)
    assert done.returncode == 0, done.stderr
    assert digest(here) == digest(person.home / "out")


def test_rsync_mirrors_with_our_word(person: Person) -> None:
    need("rsync", "rsync")
    tree = person.home / "mirror"
    tree.mkdir()
    for number in range(20):
        (tree / f"file {number}").write_text("x" * number)
    word = person.vmbroker("rsync-e").stdout.decode().strip()
    word = " ".join([word, *(f'"{option}"' if " " in option else option for option in person.options)])
    argv = ["rsync", "-a", "-e", word, f"{tree}/", "web.shop.vm:rsync-journey/"]
    done = person.run(argv)
    assert done.returncode == 0, done.stderr
    again = person.run(["rsync", "-ai", "--checksum", *argv[2:]])
    assert (again.returncode, again.stdout.strip()) == (0, b"")


def test_scp_copies_from_one_vm_to_another(person: Person) -> None:
    assert person.ssh("echo between > between").returncode == 0
    done = person.vmbroker("scp", *person.options, f"{WEB}:between", "vm/db/shop:between")
    assert done.returncode == 0, done.stderr
    assert person.ssh("cat between", target="vm/db/shop").stdout == b"between\n"
