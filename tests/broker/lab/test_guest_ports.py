"""The plain services of a guest, which tests of streams and datagrams lean on."""

from __future__ import annotations

import asyncio
import socket

from broker.lab.guest_ports import STANDARD_PORTS, PlainPorts


async def test_echo_answers_datagrams_on_the_number_of_its_tcp_port() -> None:
    # As where a guest's address is not this machine's own: the numbers are free ones.
    ports = await PlainPorts.open("192.0.2.1", "127.0.0.1")
    try:
        assert dict(ports.standard())[STANDARD_PORTS["echo"]] == ports.numbers["echo"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", ports.numbers["echo"]))
            async with asyncio.timeout(10):
                for data in (b"one", b"x" * 30_000):
                    sock.send(data)
                    assert await asyncio.get_running_loop().sock_recv(sock, 65_536) == data
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.numbers["echo"])
        writer.write(b"by tcp")
        async with asyncio.timeout(10):
            assert await reader.readexactly(6) == b"by tcp"
        writer.close()
    finally:
        ports.close()
