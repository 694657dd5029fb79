"""Sessions: commands, terminals, exit statuses, many at once, shared connections."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import RunningLab, vmbroker
from tests.journeys.person import LIMIT_S, WEB, Person


def test_a_command_runs_and_its_output_comes_back(person: Person) -> None:
    done = person.ssh("printf 'out'; printf 'err' >&2")
    assert (done.returncode, done.stdout) == (0, b"out")
    assert b"err" in done.stderr


def test_the_exit_status_is_the_guests_own(person: Person) -> None:
    assert [person.ssh(f"exit {status}").returncode for status in (0, 1, 7, 254)] == [0, 1, 7, 254]


def test_a_terminal_is_a_terminal(person: Person) -> None:
    primary, replica = pty.openpty()
    argv = person.vmbroker_argv("ssh", WEB, "--", *person.options, "-tt")
    process = subprocess.Popen(
        argv, stdin=replica, stdout=replica, stderr=subprocess.DEVNULL, env=person.environ, start_new_session=True
    )
    os.close(replica)
    os.write(primary, b"tty; stty -echo; echo mark-$((40+2)); exit 3\n")
    seen = b""
    while select.select([primary], [], [], LIMIT_S)[0]:
        try:
            chunk = os.read(primary, 4096)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    os.close(primary)
    assert process.wait(LIMIT_S) == 3
    assert b"/dev/" in seen
    assert b"mark-42" in seen


def test_our_own_failure_is_255_with_the_code_in_words(person: Person) -> None:
    done = person.ssh("true", target="vm/no-such-vm/shop")
    assert done.returncode == 255
    assert b"not-found" in done.stderr or b"not found" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_host_word_names_vm_namespace_and_cluster(person: Person) -> None:
    assert person.ssh("true").returncode == 0
    hosts = (person.home / "known_hosts").read_text().split()
    assert hosts[0].startswith("web.shop.vm.")


def test_a_changed_host_key_is_refused(person: Person) -> None:
    assert person.ssh("true").returncode == 0
    hosts = person.home / "known_hosts"
    key = person.home / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    kind, blob = Path(f"{key}.pub").read_text().split()[:2]
    hosts.write_text(f"{hosts.read_text().split()[0]} {kind} {blob}\n")
    done = person.ssh("true")
    assert done.returncode == 255
    assert b"HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_fifty_at_once_all_succeed(person: Person) -> None:
    assert person.ssh("true").returncode == 0
    argv = person.vmbroker_argv("ssh", WEB, "--", *person.options, "true")
    running = [
        subprocess.Popen(argv, env=person.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(50)
    ]
    ended = [(process.communicate(timeout=LIMIT_S)[1], process.returncode) for process in running]
    assert [end for end in ended if end[1] != 0] == []


def test_two_labs_never_share_a_master(person: Person, tmp_path: Path) -> None:
    """The same VM name in the same context name of two clusters: two sockets (`%C`), two host words."""
    other_dir = tmp_path / "other" / "state"
    assert vmbroker("lab", "up", "--state-dir", str(other_dir)).returncode == 0
    try:
        other = Person(lab=RunningLab(state_dir=other_dir), home=person.home)
        # The sockets' paths have at most 107 bytes: a test's own folder is too deep for them.
        with tempfile.TemporaryDirectory(prefix="vmb-") as folder:
            shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/%C", "-o", "ControlPersist=60"]
            first, second = person.ssh(*shared, "hostname"), other.ssh(*shared, "hostname")
            assert (first.returncode, second.returncode) == (0, 0), (first.stderr, second.stderr)
            assert len([path for path in Path(folder).iterdir() if path.is_socket()]) == 2
            words = {line.split()[0] for line in (person.home / "known_hosts").read_text().splitlines()}
            assert len(words) == 2
            assert person.ssh(*shared, "true").returncode == 0
            for each in (person, other):
                assert each.ssh("-O", "exit", *shared).returncode == 0
    finally:
        assert vmbroker("lab", "down", "--state-dir", str(other_dir)).returncode == 0


def test_output_that_does_not_fit_is_no_success(person: Person) -> None:
    """A file size limit, which every system has: what was lost is told, and the status is not 0."""
    out = person.home / "cut"
    limited = f'ulimit -f 64; trap "" XFSZ; exec "$@" > {out}'
    argv = ["bash", "-c", limited, "bash", *person.vmbroker_argv("proxy", WEB, "19")]
    done = person.run(argv)
    assert done.returncode == 1, done.stderr
    assert b"the output could not be written" in done.stderr
