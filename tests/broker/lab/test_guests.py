"""Guests are real SSH servers: OpenSSH in namespaces, and asyncssh where that cannot be."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from broker.lab.addresses import AddressRange
from broker.lab.guest import Account, Guest
from broker.lab.guest_ports import STANDARD_PORTS
from broker.lab.guests import Guests, ssh_port_here
from broker.lab.ssh_keys import ssh_key
from broker.lab.sshd_guest import possible_mode
from tests.conftest import need

LIMIT_S = 20.0
KINDS = ("sshd", "asyncssh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """Two guests that run, and the key that `fedora` on both knows."""

    guests: Guests
    one: Guest
    two: Guest
    folder: Path

    def words(self, *options: str) -> list[str]:
        """Options of ssh and its kin for these guests."""
        return [
            *("-F", "none", "-i", str(self.folder / "key"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={self.folder / 'known_hosts'}"),
            *options,
        ]

    async def ssh(self, guest: Guest, *words: str, options: tuple[str, ...] = (), user: str = "fedora") -> tuple[int, str]:
        """Run a command there; its status and output."""
        argv = ["ssh", *self.words(*options), "-p", str(guest.ssh_port), f"{user}@{guest.address}", *words]
        status, out, _ = await ran(argv)
        return status, out


async def ran(argv: list[str]) -> tuple[int, str, str]:
    """Run a program without input; status, stdout, stderr."""
    ends = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = await asyncio.create_subprocess_exec(*argv, **ends)  # type: ignore[arg-type]
    async with asyncio.timeout(LIMIT_S):
        out, err = await child.communicate()
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()


@contextmanager
def addresses(folder: Path) -> Iterator[str]:
    """A range of loopback addresses of this test's own."""
    with AddressRange(folder) as claimed:
        yield claimed.network


@asynccontextmanager
async def town(folder: Path, kind: str) -> AsyncIterator[Town]:
    """Run two guests of a kind."""
    need("ssh", "openssh-client")
    if kind == "sshd" and possible_mode() is None:
        pytest.skip("sshd cannot run in mount namespaces here (openssh-server, util-linux, namespaces)")
    line = ssh_key(folder / "key", comment="test")
    with addresses(folder) as network:
        port = ssh_port_here((f"{network}.1",))
        accounts = (Account(name="fedora", keys=(line,)), Account(name="root", keys=(line,)))
        one = Guest(namespace="n", name="one", address=f"{network}.1", ssh_port=port, accounts=accounts)
        two = Guest(namespace="n", name="two", address=f"{network}.2", ssh_port=port, accounts=accounts[:1])
        async with Guests(guests=(one, two), directory=folder / "guests", force=kind) as guests:
            assert guests.kind == kind
            yield Town(guests=guests, one=one, two=two, folder=folder)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_guest_runs_commands_for_those_whose_key_it_knows(tmp_path: Path, kind: str) -> None:
    async with town(tmp_path, kind) as here:
        assert await here.ssh(here.one, "printf said; exit 7") == (7, "said")
        assert (await here.ssh(here.one, "true", user="nobody-known"))[0] == 255
        (tmp_path / "key").rename(tmp_path / "kept")
        ssh_key(tmp_path / "key", comment="a stranger's")
        assert (await here.ssh(here.one, "true"))[0] == 255


@pytest.mark.parametrize("kind", KINDS)
async def test_no_login_of_a_guest_is_the_hosts_root(tmp_path: Path, kind: str) -> None:
    async with town(tmp_path, kind) as here:
        for user in ("fedora", "root"):
            status, _ = await here.ssh(here.one, "cat /proc/1/environ >/dev/null && touch /etc/vmbroker-was-here", user=user)
            assert status != 0
        if os.geteuid() == 0:
            _, uid = await here.ssh(here.one, "cat /proc/self/status | sed -n 's/^Uid:.//p'", user="root")
            assert "0" not in uid.split()


@pytest.mark.parametrize("kind", KINDS)
async def test_each_guest_has_homes_and_a_host_key_of_its_own(tmp_path: Path, kind: str) -> None:
    async with town(tmp_path, kind) as here:
        assert await here.ssh(here.one, "echo mine >note && cat note") == (0, "mine\n")
        assert (await here.ssh(here.two, "cat note"))[0] == 1
        keys = {line.split()[2] for line in (tmp_path / "known_hosts").read_text().splitlines()}
        assert len(keys) == 2
    async with town(tmp_path, kind) as again:
        assert (await again.ssh(again.one, "true"))[0] == 0


async def test_a_guest_keeps_its_host_key_whatever_serves_it(tmp_path: Path) -> None:
    for kind in KINDS:
        async with town(tmp_path, kind) as here:
            assert (await here.ssh(here.one, "true"))[0] == 0


async def test_an_sshd_guest_bears_its_name_and_knows_the_others(tmp_path: Path) -> None:
    async with town(tmp_path, "sshd") as here:
        assert await here.ssh(here.one, "hostname") == (0, "one\n")
        _, found = await here.ssh(here.one, "getent hosts two")
        assert found.split()[0] == here.two.address


@pytest.mark.parametrize("kind", KINDS)
async def test_a_terminal_has_the_size_it_was_given(tmp_path: Path, kind: str) -> None:
    async with town(tmp_path, kind) as here:
        status, out = await here.ssh(here.one, "tty && stty size", options=("-tt",))
        assert status == 0
        assert out.startswith("/dev/pts/")


@pytest.mark.parametrize("kind", KINDS)
async def test_files_travel_by_scp_sftp_and_rsync(tmp_path: Path, kind: str) -> None:
    for program, package in (("scp", "openssh-client"), ("sftp", "openssh-client"), ("rsync", "rsync")):
        need(program, package)
    data = os.urandom(2_000_003)
    (tmp_path / "sent").write_bytes(data)
    async with town(tmp_path, kind) as here:
        place, port = f"fedora@{here.one.address}", str(here.one.ssh_port)
        assert (await ran(["scp", *here.words("-P", port), str(tmp_path / "sent"), f"{place}:by-scp"]))[0] == 0
        assert (await ran(["scp", "-O", *here.words("-P", port), f"{place}:by-scp", str(tmp_path / "old")]))[0] == 0
        assert (await ran(["sftp", *here.words("-P", port), f"{place}:by-scp", str(tmp_path / "new")]))[0] == 0
        shell = " ".join(["ssh", *here.words("-p", port)])
        assert (await ran(["rsync", "-e", shell, f"{place}:by-scp", str(tmp_path / "rsynced")]))[0] == 0
    for name in ("old", "new", "rsynced"):
        assert (tmp_path / name).read_bytes() == data


@pytest.mark.parametrize("kind", KINDS)
async def test_much_output_arrives_whole(tmp_path: Path, kind: str) -> None:
    async with town(tmp_path, kind) as here:
        status, out = await here.ssh(here.one, "head -c 5000000 /dev/zero | tr '\\0' x")
        assert (status, len(out), set(out)) == (0, 5_000_000, {"x"})


async def test_echo_gives_back_and_discard_swallows(tmp_path: Path) -> None:
    with addresses(tmp_path) as network:
        guest = Guest(namespace="n", name="plain", address=f"{network}.1", speaks_ssh=False)
        async with Guests(guests=(guest,), directory=tmp_path / "guests") as guests, asyncio.timeout(LIMIT_S):
            ports = guests.ports()[guest.address]
            assert set(ports) == set(STANDARD_PORTS)
            reader, writer = await asyncio.open_connection(*guests.translate(guest.address, ports["echo"]))
            writer.write(b"ping" * 100_000)
            assert await reader.readexactly(400_000) == b"ping" * 100_000
            writer.close()
            reader, writer = await asyncio.open_connection(*guests.translate(guest.address, ports["discard"]))
            writer.write(b"gone" * 100_000)
            await writer.drain()
            writer.write_eof()
            assert await reader.read() == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*guests.translate(guest.address, 22))


@pytest.mark.platform
async def test_a_filtered_guest_answers_nothing_at_all(tmp_path: Path) -> None:
    with addresses(tmp_path) as network:
        guest = Guest(namespace="n", name="dark", address=f"{network}.1", ssh_port=2222, is_filtered=True)
        async with Guests(guests=(guest,), directory=tmp_path / "guests"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await asyncio.open_connection(guest.address, 2222)


async def test_where_there_is_one_address_ports_are_mapped(tmp_path: Path) -> None:
    """As on macOS, where nothing but 127.0.0.1 can be bound."""
    line = ssh_key(tmp_path / "key", comment="test")
    accounts = (Account(name="fedora", keys=(line,)),)
    one = Guest(namespace="n", name="one", address="127.0.0.11", accounts=accounts)
    dark = Guest(namespace="n", name="dark", address="127.0.0.12", is_filtered=True)
    async with Guests(guests=(one, dark), directory=tmp_path / "guests", has_one_address=True) as guests:
        host, port = guests.translate(one.address, 22)
        assert (guests.kind, host) == ("asyncssh", "127.0.0.1")
        assert guests.translate(one.address, 7) != (one.address, 7)
        here = Town(guests=guests, one=one, two=dark, folder=tmp_path)
        status, out, _ = await ran(["ssh", *here.words("-p", str(port)), f"fedora@{host}", "echo reached"])
        assert (status, out) == (0, "reached\n")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*guests.translate(one.address, 80))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.open_connection(*guests.translate(dark.address, 22))


async def test_nothing_of_the_guests_is_left_after_their_end(tmp_path: Path) -> None:
    async with town(tmp_path, "sshd") as here:
        assert here.guests.dead() == ()
        found = [line for line in processes() if str(tmp_path) in line]
        assert found
    assert [line for line in processes() if str(tmp_path) in line] == []


def processes() -> list[str]:
    """The command lines of all processes."""
    done = subprocess.run(["ps", "-ewwo", "stat,args"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("Z")]


@pytest.mark.parametrize("kind", KINDS)
async def test_one_guest_pauses_stops_and_starts_while_another_runs(tmp_path: Path, kind: str) -> None:
    async with town(tmp_path, kind) as here:
        assert (await here.ssh(here.one, "true"))[0] == 0
        await here.guests.pause(here.one.key)
        with pytest.raises(TimeoutError):
            await _greeting(here.one, 0.3)
        assert (await here.ssh(here.two, "true"))[0] == 0
        await here.guests.resume(here.one.key)
        assert (await _greeting(here.one, LIMIT_S)).startswith(b"SSH-2.0")
        await here.guests.pause(here.one.key)
        await here.guests.stop_one(here.one.key)
        with pytest.raises(ConnectionRefusedError):
            await _greeting(here.one, LIMIT_S)
        moved = replace(here.one, address=here.one.address.rpartition(".")[0] + ".3")
        await here.guests.start_one(moved)
        # The same host key as before, at another address.
        assert (await here.ssh(moved, "true"))[0] == 0
        assert len({line.split()[2] for line in (tmp_path / "known_hosts").read_text().splitlines()}) == 2
        assert here.guests.dead() == ()


@pytest.mark.parametrize("kind", KINDS)
async def test_all_end_in_time_whoever_is_connected_and_whichever_is_paused(tmp_path: Path, kind: str) -> None:
    connected = []
    async with town(tmp_path, kind) as here:
        for guest in (here.one, here.two) * 20:
            reader, writer = await asyncio.open_connection(guest.address, guest.ssh_port)
            assert (await reader.readline()).startswith(b"SSH-2.0")
            connected.append(writer)
        await here.guests.pause(here.one.key)
        async with asyncio.timeout(LIMIT_S):
            began_s = asyncio.get_running_loop().time()
            await here.guests.stop()
            assert asyncio.get_running_loop().time() - began_s < 4.5  # less than the limit of one guest
    for writer in connected:
        writer.close()
    assert [line for line in processes() if str(tmp_path) in line] == []


async def _greeting(guest: Guest, limit_s: float) -> bytes:
    async with asyncio.timeout(limit_s):
        reader, writer = await asyncio.open_connection(guest.address, guest.ssh_port)
        try:
            return await reader.readline()
        finally:
            writer.close()
