"""Steps of the demo that open sessions: shells, commands, copies and OpenSSH's own forwards."""

from __future__ import annotations

import json
import socket
import subprocess
import time

from broker.cli.demo_bench import WEB, Bench, digest
from broker.cli.demo_seen import background, banner_at, check, free_port, ok, wait_for_port, wait_until

_PAYLOAD_BYTES = 4 * 1024 * 1024


def list_vms(bench: Bench) -> str:
    """List every VM as JSON and count them."""
    done = ok(bench.vmbroker("vms", "-A", "-o", "json"))
    items = json.loads(done.stdout)["items"]
    check(len(items) >= 14, f"{len(items)} VMs")
    return f"{len(items)} VMs in {len({item['namespace'] for item in items})} namespaces"


def show_vm(bench: Bench) -> str:
    """Show one VM."""
    done = ok(bench.vmbroker("show", WEB))
    check("web" in done.stdout, done.stdout)
    return f"{len(done.stdout.splitlines())} lines about {WEB}"


def read_banner(bench: Bench) -> str:
    """Read the SSH banner through the port-forward subresource."""
    done = bench.vmbroker("proxy", WEB, stdin="\r\n")
    check(done.stdout.startswith("SSH-2.0-"), done.stdout or done.stderr)
    return done.stdout.splitlines()[0]


def run_command(bench: Bench) -> str:
    """Run a command in the guest."""
    done = ok(bench.vmbroker("ssh", WEB, "echo", "hello from $(id -un)"))
    check(done.stdout.startswith("hello from "), done.stdout)
    return done.stdout.strip()


def keep_exit_status(bench: Bench) -> str:
    """See that the guest's exit status comes back."""
    done = bench.vmbroker("ssh", WEB, "exit 7")
    check(done.returncode == 7, f"exit status {done.returncode}: {done.stderr}")
    return "`exit 7` in the guest is 7 here"


def open_terminal(bench: Bench) -> str:
    """Ask for a terminal in the guest."""
    done = bench.vmbroker("ssh", WEB, "--", "-tt", "tty && stty size")
    check("/dev/" in done.stdout, done.stdout + done.stderr)
    return done.stdout.split()[0]


def copy_up_and_down(bench: Bench) -> str:
    """Copy a file into the guest and out of it with scp."""
    here = bench.random_file("up.bin", _PAYLOAD_BYTES)
    back = bench.folder / "down.bin"
    ok(bench.vmbroker("scp", str(here), f"{WEB}:demo-scp.bin"))
    ok(bench.vmbroker("scp", f"{WEB}:demo-scp.bin", str(back)))
    check(digest(here) == digest(back), "the hashes differ")
    return f"{_PAYLOAD_BYTES >> 20} MiB up and down, hashes equal"


def use_sftp(bench: Bench) -> str:
    """Put and get a file with an sftp batch."""
    here = bench.random_file("sftp.bin", _PAYLOAD_BYTES)
    back = bench.folder / "sftp.back"
    batch = bench.folder / "batch"
    batch.write_text(f"put {here} demo-sftp.bin\nget demo-sftp.bin {back}\nrm demo-sftp.bin\n")
    ok(bench.vmbroker("sftp", "-b", str(batch), WEB))
    check(digest(here) == digest(back), "the hashes differ")
    return "put, get and rm in one batch, hashes equal"


def use_rsync(bench: Bench) -> str:
    """Mirror a directory with rsync and the word of `rsync-e`."""
    tree = bench.folder / "tree"
    tree.mkdir()
    for name in ("a", "b", "c"):
        (tree / name).write_text(name * 1000)
    word = ok(bench.vmbroker("rsync-e")).stdout.rstrip("\n")
    ok(bench.process(["rsync", "-a", "-e", word, f"{tree}/", "web.shop.vm:demo-tree/"]))
    again = ok(bench.process(["rsync", "-ai", "--checksum", "-e", word, f"{tree}/", "web.shop.vm:demo-tree/"]))
    check(again.stdout.strip() == "", again.stdout)
    return "three files, a second run has nothing to send"


def forward_local_port(bench: Bench) -> str:
    """Forward a local port to the guest's SSH port (-L) and read its banner."""
    port = free_port()
    shown = json.loads(ok(bench.vmbroker("show", WEB, "-o", "json")).stdout)
    address, guest_port = shown["interfaces"][0]["addresses"][0]["address"], shown["login"]["port"]
    with background(bench, "ssh", WEB, "--", "-N", "-L", f"127.0.0.1:{port}:{address}:{guest_port}"):
        banner = banner_at(port, bench.limit_s)
    return f"127.0.0.1:{port} answers {banner}"


def forward_socks(bench: Bench) -> str:
    """Use the guest as a SOCKS proxy (-D)."""
    port = free_port()
    with background(bench, "ssh", WEB, "--", "-N", "-D", f"127.0.0.1:{port}"):
        link = wait_for_port(port, bench.limit_s)
        with link:
            link.sendall(b"\x05\x01\x00")
            answer = link.recv(2)
    check(answer == b"\x05\x00", repr(answer))
    return "the guest's sshd opens SOCKS5 connections"


def forward_remote_port(bench: Bench) -> str:
    """Let the guest reach a port of this machine (-R)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = server.getsockname()[1]
        done = bench.vmbroker("ssh", WEB, "--", "-v", "-R", f"0:127.0.0.1:{ours}", "true")
    check("Allocated port" in done.stderr or "allocated port" in done.stderr.lower(), done.stderr[-300:])
    return "the guest's sshd listens for us"


def share_connection(bench: Bench) -> str:
    """Share one connection between two sessions (ControlMaster)."""
    path = bench.folder / "cm"
    shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={path}", "-o", "ControlPersist=30"]
    try:
        ok(bench.vmbroker("ssh", WEB, "--", *shared, "true"))
        check(path.is_socket(), "no control socket")
        began = time.monotonic()
        ok(bench.vmbroker("ssh", WEB, "--", *shared, "true"))
        took = time.monotonic() - began
    finally:
        bench.vmbroker("ssh", WEB, "--", "-O", "exit", *shared)
    return f"the second session took {took * 1000:.0f} ms"


def share_agent(bench: Bench) -> str:
    """Lend the guest an ssh-agent (-A) and list its keys there."""
    key, sock = bench.folder / "agentkey", bench.folder / "agent.sock"
    ok(bench.process(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo-agent", "-f", str(key)]))
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(sock.exists, bench.limit_s, "the agent did not start")
        environ = {"SSH_AUTH_SOCK": str(sock)}
        ok(bench.process(["ssh-add", "-q", str(key)], environ=environ))
        done = ok(bench.process(bench.argv("ssh", WEB, "--", "-A", "ssh-add -l"), environ=environ))
    finally:
        agent.terminate()
        agent.wait()
    check("demo-agent" in done.stdout, done.stdout)
    return "the guest sees the agent's key"
