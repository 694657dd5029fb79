"""Steps of the demo by `vmbroker forward` and by an alias of an ssh configuration that `ssh-config install` wrote."""

from __future__ import annotations

import json
import socket
import subprocess

from broker.cli.demo_bench import WEB, Bench
from broker.cli.demo_seen import banner_at, check, end, ok

_ECHO_PORT = 7


def forward_ports(bench: Bench) -> str:
    """Forward a free TCP port and one of UDP by `vmbroker forward`."""
    shown = json.loads(ok(bench.vmbroker("show", WEB, "-o", "json")).stdout)
    process = subprocess.Popen(
        bench.argv("-o", "json", "forward", WEB, f"0:{shown['login']['port']}", f"udp/0:{_ECHO_PORT}"),
        env=dict(bench.environ),
        cwd=bench.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        tcp, udp = (int(each["port"]) for each in json.loads(process.stdout.readline())["forwards"])
        banner = banner_at(tcp, bench.limit_s)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.settimeout(bench.limit_s)
            link.sendto(b"hello", ("127.0.0.1", udp))
            check(link.recv(100) == b"hello", "another datagram came back")
    finally:
        end(process)
    return f"tcp {tcp}: {banner}; udp {udp}: hello came back"


def use_alias(bench: Bench) -> str:
    """Install into an ssh configuration, use its aliases with plain ssh and scp, take everything out again."""
    config = bench.folder / "config"
    before = "Host *\n  ServerAliveCountMax 2\n"
    config.write_text(before)
    config.chmod(0o600)
    ok(bench.vmbroker("ssh-config", "install", "--per-vm", "--file", str(config)))
    here = bench.random_file("alias.bin", 100_000)
    said = ok(bench.process(["ssh", "-F", str(config), "web.shop.vm", "echo by alias"])).stdout.strip()
    ok(bench.process(["scp", "-q", "-F", str(config), str(here), "web.shop.vm:alias.bin"]))
    ok(bench.process(["ssh", "-F", str(config), "vm/web/shop", "rm alias.bin"]))
    ok(bench.vmbroker("ssh-config", "remove", "--file", str(config)))
    check(config.read_text() == before, "the file is not what it was")
    return f"ssh web.shop.vm says: {said}; removed to the last byte"
