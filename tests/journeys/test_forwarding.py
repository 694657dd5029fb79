"""Forwards and jumps: -L, -R, -D, -A, ControlMaster, ProxyJump."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import threading

from tests.conftest import need
from tests.journeys.person import LIMIT_S, WEB, Person, connected, free_port, until


def test_a_local_forward_reaches_the_guests_own_ssh_port(person: Person) -> None:
    port = free_port()
    with person.background("-N", "-L", f"127.0.0.1:{port}:{person.address(WEB)}:22"), connected(port) as link:
        link.settimeout(LIMIT_S)
        assert link.recv(64).startswith(b"SSH-2.0-")


def test_a_remote_forward_reaches_this_machine(person: Person) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)
        far = free_port()

        def greet() -> None:
            link, _ = server.accept()
            with link:
                link.sendall(b"greetings\n")

        thread = threading.Thread(target=greet)
        thread.start()
        script = f"exec 3<>/dev/tcp/127.0.0.1/{far}; head -n1 <&3"
        done = person.ssh(
            "-o",
            "ExitOnForwardFailure=yes",
            "-R",
            f"127.0.0.1:{far}:127.0.0.1:{server.getsockname()[1]}",
            f"bash -c '{script}'",
        )
        thread.join(LIMIT_S)
    assert done.stdout == b"greetings\n", done.stderr


def test_a_dynamic_forward_is_a_socks_proxy(person: Person) -> None:
    port = free_port()
    address = person.address(WEB)
    with person.background("-N", "-D", f"127.0.0.1:{port}"), connected(port) as link:
        link.settimeout(LIMIT_S)
        link.sendall(b"\x05\x01\x00")
        assert link.recv(2) == b"\x05\x00"
        link.sendall(b"\x05\x01\x00\x01" + socket.inet_aton(address) + (22).to_bytes(2, "big"))
        assert link.recv(10)[:2] == b"\x05\x00"
        assert link.recv(64).startswith(b"SSH-2.0-")


def test_an_agent_is_lent_to_the_guest(person: Person) -> None:
    need("ssh-add", "openssh-client")
    key, sock = person.home / "key", person.home / "agent"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lent-key", "-f", str(key)], check=True)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
    try:
        until(sock.is_socket, "the agent's socket")
        person.run(["ssh-add", "-q", str(key)], SSH_AUTH_SOCK=str(sock))
        done = person.ssh("-A", "ssh-add -l", SSH_AUTH_SOCK=str(sock))
    finally:
        agent.terminate()
        agent.wait()
    assert b"lent-key" in done.stdout, done.stderr


def test_a_master_serves_a_second_session(person: Person) -> None:
    # The socket's path has at most 107 bytes: a test's own folder is too deep for it.
    with tempfile.TemporaryDirectory(prefix="vmb-") as folder:
        shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/%C", "-o", "ControlPersist=60"]
        assert person.ssh(*shared, "true").returncode == 0
        check = person.ssh("-O", "check", *shared)
        assert b"Master running" in check.stderr, check.stderr
        assert person.ssh(*shared, "exit 5").returncode == 5
        assert person.ssh("-O", "exit", *shared).returncode == 0


def test_a_proxycommand_in_the_users_own_config_works(person: Person) -> None:
    config = person.home / "config-ssh"
    words = " ".join(person.vmbroker_argv("proxy", "%n", "%p"))
    config.write_text(f"Host *.vm vm/*\n  HostName %h\n  User {user_of_web(person)}\n  ProxyCommand {words}\n")
    for host in ("web.shop.vm", "vm/web/shop"):
        options = [each for each in person.options if each not in ("-F", "none")]
        done = person.run(["ssh", "-F", str(config), *options, host, "echo", "through"])
        assert (done.returncode, done.stdout) == (0, b"through\n"), done.stderr


def test_a_jump_through_one_guest_to_another(person: Person) -> None:
    """ProxyJump: the first guest by our ProxyCommand, the second from inside the first."""
    user = user_of_web(person)
    config = person.home / "config-jump"
    words = " ".join(person.vmbroker_argv("proxy", "%n", "%p"))
    shared = "\n  ".join(f"{o.split('=', 1)[0]} {o.split('=', 1)[1]}" for o in person.options if "=" in o)
    config.write_text(
        f"Host web.shop.vm\n  ProxyCommand {words}\n\nHost second\n  HostName {person.address('vm/db/shop')}\n"
        f"  ProxyJump {user}@web.shop.vm\n\nHost *\n  {shared}\n"
    )
    second = person.vmbroker("show", "vm/db/shop", "-o", "json")
    assert second.returncode == 0
    done = person.run(["ssh", "-F", str(config), "-l", user_of(person, "vm/db/shop"), "second", "hostname"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == b"db"


def user_of(person: Person, target: str) -> str:
    """The guest user that vmbroker reads from the VM."""
    done = person.ssh("echo $USER", target=target)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def user_of_web(person: Person) -> str:
    return user_of(person, WEB)
