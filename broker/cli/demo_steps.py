"""What the demo tries: each step is a name, the programs it needs, and a function that says what it saw."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from broker.cli.demo_bench import WEB, Bench, digest

_PAYLOAD_BYTES = 4 * 1024 * 1024
_END_WITHIN_S = 2.0


class StepFailed(Exception):
    """A step did not do what it should have; the text says what was seen instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is tried. `needs` holds (program, package) pairs; `run` returns what was seen or raises StepFailed."""

    name: str
    run: Callable[[Bench], str]
    needs: tuple[tuple[str, str], ...] = ()


def list_vms(bench: Bench) -> str:
    """List every VM as JSON and count them."""
    done = _ok(bench.vmbroker("vms", "-A", "-o", "json"))
    items = json.loads(done.stdout)["items"]
    _check(len(items) >= 14, f"{len(items)} VMs")
    return f"{len(items)} VMs in {len({item['namespace'] for item in items})} namespaces"


def show_vm(bench: Bench) -> str:
    """Show one VM."""
    done = _ok(bench.vmbroker("show", WEB))
    _check("web" in done.stdout, done.stdout)
    return f"{len(done.stdout.splitlines())} lines about {WEB}"


def read_banner(bench: Bench) -> str:
    """Read the SSH banner through the port-forward subresource."""
    done = bench.vmbroker("proxy", WEB, stdin="\r\n")
    _check(done.stdout.startswith("SSH-2.0-"), done.stdout or done.stderr)
    return done.stdout.splitlines()[0]


def run_command(bench: Bench) -> str:
    """Run a command in the guest."""
    done = _ok(bench.vmbroker("ssh", WEB, "echo", "hello from $(id -un)"))
    _check(done.stdout.startswith("hello from "), done.stdout)
    return done.stdout.strip()


def keep_exit_status(bench: Bench) -> str:
    """See that the guest's exit status comes back."""
    done = bench.vmbroker("ssh", WEB, "exit 7")
    _check(done.returncode == 7, f"exit status {done.returncode}: {done.stderr}")
    return "`exit 7` in the guest is 7 here"


def open_terminal(bench: Bench) -> str:
    """Ask for a terminal in the guest."""
    done = bench.vmbroker("ssh", WEB, "--", "-tt", "tty && stty size")
    _check("/dev/" in done.stdout, done.stdout + done.stderr)
    return done.stdout.split()[0]


def copy_up_and_down(bench: Bench) -> str:
    """Copy a file into the guest and out of it with scp."""
    here = bench.random_file("up.bin", _PAYLOAD_BYTES)
    back = bench.folder / "down.bin"
    _ok(bench.vmbroker("scp", str(here), f"{WEB}:demo-scp.bin"))
    _ok(bench.vmbroker("scp", f"{WEB}:demo-scp.bin", str(back)))
    _check(digest(here) == digest(back), "the hashes differ")
    return f"{_PAYLOAD_BYTES >> 20} MiB up and down, hashes equal"


def use_sftp(bench: Bench) -> str:
    """Put and get a file with an sftp batch."""
    here = bench.random_file("sftp.bin", _PAYLOAD_BYTES)
    back = bench.folder / "sftp.back"
    batch = bench.folder / "batch"
    batch.write_text(f"put {here} demo-sftp.bin\nget demo-sftp.bin {back}\nrm demo-sftp.bin\n")
    _ok(bench.vmbroker("sftp", "-b", str(batch), WEB))
    _check(digest(here) == digest(back), "the hashes differ")
    return "put, get and rm in one batch, hashes equal"


def use_rsync(bench: Bench) -> str:
    """Mirror a directory with rsync and the word of `rsync-e`."""
    tree = bench.folder / "tree"
    tree.mkdir()
    for name in ("a", "b", "c"):
        (tree / name).write_text(name * 1000)
    word = _ok(bench.vmbroker("rsync-e")).stdout.rstrip("\n")
    _ok(bench.process(["rsync", "-a", "-e", word, f"{tree}/", "web.shop.vm:demo-tree/"]))
    again = _ok(bench.process(["rsync", "-ai", "--checksum", "-e", word, f"{tree}/", "web.shop.vm:demo-tree/"]))
    _check(again.stdout.strip() == "", again.stdout)
    return "three files, a second run has nothing to send"


def forward_local_port(bench: Bench) -> str:
    """Forward a local port to the guest's SSH port (-L) and read its banner."""
    port = _free_port()
    shown = json.loads(_ok(bench.vmbroker("show", WEB, "-o", "json")).stdout)
    address, guest_port = shown["interfaces"][0]["addresses"][0]["address"], shown["login"]["port"]
    with _background(bench, "ssh", WEB, "--", "-N", "-L", f"127.0.0.1:{port}:{address}:{guest_port}"):
        banner = _banner_at(port, bench.limit_s)
    return f"127.0.0.1:{port} answers {banner}"


def forward_socks(bench: Bench) -> str:
    """Use the guest as a SOCKS proxy (-D)."""
    port = _free_port()
    with _background(bench, "ssh", WEB, "--", "-N", "-D", f"127.0.0.1:{port}"):
        link = _wait_for_port(port, bench.limit_s)
        with link:
            link.sendall(b"\x05\x01\x00")
            answer = link.recv(2)
    _check(answer == b"\x05\x00", repr(answer))
    return "the guest's sshd opens SOCKS5 connections"


def forward_remote_port(bench: Bench) -> str:
    """Let the guest reach a port of this machine (-R)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = server.getsockname()[1]
        done = bench.vmbroker("ssh", WEB, "--", "-v", "-R", f"0:127.0.0.1:{ours}", "true")
    _check("Allocated port" in done.stderr or "allocated port" in done.stderr.lower(), done.stderr[-300:])
    return "the guest's sshd listens for us"


def share_connection(bench: Bench) -> str:
    """Share one connection between two sessions (ControlMaster)."""
    path = bench.folder / "cm"
    shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={path}", "-o", "ControlPersist=30"]
    try:
        _ok(bench.vmbroker("ssh", WEB, "--", *shared, "true"))
        _check(path.is_socket(), "no control socket")
        began = time.monotonic()
        _ok(bench.vmbroker("ssh", WEB, "--", *shared, "true"))
        took = time.monotonic() - began
    finally:
        bench.vmbroker("ssh", WEB, "--", "-O", "exit", *shared)
    return f"the second session took {took * 1000:.0f} ms"


def share_agent(bench: Bench) -> str:
    """Lend the guest an ssh-agent (-A) and list its keys there."""
    key, sock = bench.folder / "agentkey", bench.folder / "agent.sock"
    _ok(bench.process(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo-agent", "-f", str(key)]))
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until(sock.exists, bench.limit_s, "the agent did not start")
        environ = {"SSH_AUTH_SOCK": str(sock)}
        _ok(bench.process(["ssh-add", "-q", str(key)], environ=environ))
        done = _ok(bench.process(bench.argv("ssh", WEB, "--", "-A", "ssh-add -l"), environ=environ))
    finally:
        agent.terminate()
        agent.wait()
    _check("demo-agent" in done.stdout, done.stdout)
    return "the guest sees the agent's key"


def explain_stopped(bench: Bench) -> str:
    """See that a stopped VM is called stopped."""
    done = bench.vmbroker("ssh", "vm/stopped/shop", "true")
    _check(done.returncode == 255 and "stopped" in done.stderr, f"{done.returncode}: {done.stderr}")
    return done.stderr.splitlines()[0]


def explain_rights(bench: Bench) -> str:
    """See that a missing right is named."""
    path = _ok(bench.vmbroker("lab", "kubeconfig", "--user", "carol", "--path", lab=False)).stdout.strip()
    done = bench.vmbroker("--kubeconfig", path, "proxy", WEB, lab=False)
    _check(done.returncode == 4 and "portforward" in done.stderr, f"{done.returncode}: {done.stderr}")
    return done.stderr.splitlines()[0]


STEPS: tuple[Step, ...] = (
    Step(name="list VMs", run=list_vms),
    Step(name="show a VM", run=show_vm),
    Step(name="proxy: SSH banner", run=read_banner),
    Step(name="ssh: command", run=run_command, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh: exit status", run=keep_exit_status, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh: terminal", run=open_terminal, needs=(("ssh", "openssh-client"),)),
    Step(name="scp both ways", run=copy_up_and_down, needs=(("scp", "openssh-client"),)),
    Step(name="sftp batch", run=use_sftp, needs=(("sftp", "openssh-client"),)),
    Step(name="rsync", run=use_rsync, needs=(("rsync", "rsync"), ("ssh", "openssh-client"))),
    Step(name="ssh -L", run=forward_local_port, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh -R", run=forward_remote_port, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh -D", run=forward_socks, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh ControlMaster", run=share_connection, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh -A", run=share_agent, needs=(("ssh-agent", "openssh-client"), ("ssh-add", "openssh-client"))),
    Step(name="a stopped VM is named", run=explain_stopped, needs=(("ssh", "openssh-client"),)),
    Step(name="a missing right is named", run=explain_rights),
)
"""In the order in which they are tried; more than ten need nothing but the OpenSSH client."""


def _ok(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["nothing on stderr"]
        raise StepFailed(f"exit status {done.returncode}: {words[0]}")
    return done


def _check(is_right: bool, seen: str) -> None:
    if not is_right:
        raise StepFailed(f"seen: {seen.strip()[:200] or 'nothing'}")


@contextmanager
def _background(bench: Bench, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        bench.argv(*words),
        env=dict(bench.environ),
        cwd=bench.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End an ssh: one that gets SIGTERM just before it polls sleeps on (OpenSSH 9.2), so it is killed in the end."""
    process.terminate()
    try:
        process.wait(_END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for_port(port: int, limit_s: float) -> socket.socket:
    until = time.monotonic() + limit_s
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=limit_s)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise StepFailed(f"nothing listens on port {port}") from None
            time.sleep(0.02)


def _banner_at(port: int, limit_s: float) -> str:
    with _wait_for_port(port, limit_s) as link:
        link.settimeout(limit_s)
        try:
            seen = link.recv(255)
        except OSError as exc:
            raise StepFailed(f"the forwarded port broke: {exc}") from exc
    _check(seen.startswith(b"SSH-2.0-"), repr(seen))
    return seen.decode("ascii", "replace").strip()


def _wait_until(is_done: Callable[[], bool], limit_s: float, complaint: str) -> None:
    until = time.monotonic() + limit_s
    while not is_done():
        if time.monotonic() > until:
            raise StepFailed(complaint)
        time.sleep(0.02)
