"""A guest as an asyncssh server in the lab's own process: for machines without sshd or without namespaces.

Shells and commands are real subprocesses in a home of the guest's own. As root they run as `nobody`, and files go
through OpenSSH's sftp-server as `nobody`; where that program is not there, root's lab has no sftp.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import asyncssh
from asyncssh.channel import SSHChannel

from broker.lab.asyncssh_child import Command, run_command
from broker.lab.guest import Guest
from broker.lab.guest_ports import Blackhole, blackhole
from broker.lab.ssh_keys import ssh_key

__all__ = ["AsyncsshGuest"]

_NOBODY = 65534
_STOP_WITHIN_S = 5.0
_SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)


class AsyncsshGuest:
    """One guest's server on `address:port` (0: a free port, then in `port`)."""

    kind = "asyncssh"

    def __init__(self, guest: Guest, folder: Path, address: str, port: int) -> None:
        self._guest = guest
        self._folder = folder
        self._address = address
        self.port = port
        self._homes = folder / "home"
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._key: asyncssh.SSHKey | None = None
        self._hole: Blackhole | None = None
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._sessions = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Make homes and host key, and listen."""
        self._key = await asyncio.to_thread(self._prepare)
        await self._listen()

    async def pause(self) -> None:
        """Take the port away and let it swallow what connects; sessions that are open go on."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is None:
            return
        # Not awaited until closed: that would wait for the sessions that stay open.
        acceptor.close()
        self._hole = await blackhole(self._address, self.port)

    async def resume(self) -> None:
        """Listen again."""
        hole, self._hole = self._hole, None
        if hole is not None:
            hole.close()
            await self._listen()

    async def _listen(self) -> None:
        self._acceptor = await asyncssh.listen(
            self._address,
            self.port,
            server_host_keys=[self._key],
            server_factory=lambda: _Door(self._guest, self._session, self._connections),
            encoding=None,
            line_editor=False,
            agent_forwarding=True,
            backlog=200,
        )
        self.port = self._acceptor.get_port()

    def is_alive(self) -> bool:
        """Whether it listens, or is paused."""
        return self._acceptor is not None or self._hole is not None

    async def stop(self) -> None:
        """Stop listening and cut the connections."""
        if not self.is_alive():
            return
        acceptor, self._acceptor = self._acceptor, None
        hole, self._hole = self._hole, None
        if acceptor is not None:
            acceptor.close()
        if hole is not None:
            hole.close()
        # First, for a listener is closed only when its connections are.
        for connection in tuple(self._connections):
            connection.abort()
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                if acceptor is not None:
                    await acceptor.wait_closed()
                await self._idle.wait()
        except TimeoutError:
            pass
        if os.geteuid() == 0:
            await asyncio.to_thread(shutil.rmtree, self._homes, ignore_errors=True)

    def _prepare(self) -> asyncssh.SSHKey:
        (self._folder / "ssh").mkdir(mode=0o755, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            # The state directory is closed to the account that root's guests run under.
            self._homes = Path(tempfile.mkdtemp(prefix="vmbroker-guest-"))
            self._homes.chmod(0o711)
        for account in self._guest.accounts:
            home = self._home(account.name)
            (home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.geteuid() == 0:
                for path in (home, home / ".ssh"):
                    os.chown(path, _guest_uid(), _guest_uid())
        path = self._folder / "ssh/ssh_host_ed25519_key"
        ssh_key(path, comment=self._guest.key)
        return asyncssh.read_private_key(str(path))

    def _home(self, user: str) -> Path:
        return self._homes / user

    def _session(self) -> asyncssh.SSHServerProcess[bytes]:
        if _sftp_server() is not None:
            return _Session(self._serve, None, 0, False)
        return asyncssh.SSHServerProcess(self._serve, None if os.geteuid() == 0 else self._files, 0, False)

    def _files(self, channel: SSHChannel[bytes]) -> asyncssh.SFTPServer:
        assert isinstance(channel, asyncssh.SSHServerChannel)
        user = str(channel.get_extra_info("username"))
        return _HomeFiles(channel, self._home(user))

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        user = str(process.get_extra_info("username"))
        words = _words(process)
        if words is None:
            process.stderr.write(b"This subsystem is not here.\n")
            process.exit(1)
            return
        command = Command(
            words=words,
            home=self._home(user),
            environ=self._environment(process, user),
            uid=_guest_uid() if os.geteuid() == 0 else None,
        )
        self._sessions += 1
        self._idle.clear()
        try:
            status = await run_command(process, command)
        finally:
            self._sessions -= 1
            if not self._sessions:
                self._idle.set()
        if status < 0:
            process.exit_with_signal(_signal_name(-status))
        else:
            process.exit(status)

    def _environment(self, process: asyncssh.SSHServerProcess[bytes], user: str) -> dict[str, str]:
        found = {
            "HOME": str(self._home(user)),
            "USER": user,
            "LOGNAME": user,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PS1": f"{user}@{self._guest.name}:\\w\\$ ",
        }
        if process.term_type:
            found["TERM"] = process.term_type
        connection = process.channel.get_connection()
        agent = connection.get_agent_path() if isinstance(connection, asyncssh.SSHServerConnection) else None
        if agent:
            found["SSH_AUTH_SOCK"] = agent
            if os.geteuid() == 0:
                for path in (Path(agent).parent, Path(agent)):
                    os.chown(path, _guest_uid(), _guest_uid())
        return found


class _Session(asyncssh.SSHServerProcess[bytes]):
    """A session in which sftp is a process like any other: OpenSSH's sftp-server under the guest's own uid."""

    def subsystem_requested(self, subsystem: str) -> bool:
        """Say whether there is such a subsystem."""
        return subsystem == "sftp"

    def session_started(self) -> None:
        """Start the process; asyncssh itself would look for its own SFTP server here."""
        if self.channel.get_subsystem() != "sftp":
            super().session_started()
            return
        made = self._start_process(
            asyncssh.SSHReader(self, self.channel),
            asyncssh.SSHWriter(self, self.channel),
            asyncssh.SSHWriter(self, self.channel, asyncssh.EXTENDED_DATA_STDERR),
        )
        if inspect.isawaitable(made):
            self.channel.get_connection().create_task(made)


class _Door(asyncssh.SSHServer):
    """Lets in the accounts by their keys; forwards TCP as a plain sshd would."""

    def __init__(
        self,
        guest: Guest,
        session: Callable[[], asyncssh.SSHServerProcess[bytes]],
        connections: set[asyncssh.SSHServerConnection],
    ) -> None:
        self._session = session
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None
        self._accounts = {account.name: account for account in guest.accounts}
        self._keys: list[asyncssh.SSHKey] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Note the connection, for the guest's end."""
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        """Collect the keys of the user who knocks."""
        account = self._accounts.get(username)
        self._keys = [asyncssh.import_public_key(line) for line in account.keys] if account else []
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys are the only way in."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Accept a key that cloud-init would have written."""
        return key in self._keys

    def session_requested(self) -> asyncssh.SSHServerProcess[bytes]:
        """Shell, command or sftp."""
        return self._session()

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        """-L, -D and ProxyJump."""
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        """-R."""
        return True


class _HomeFiles(asyncssh.SFTPServer):
    """SFTP that starts in the guest's home."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: Path) -> None:
        super().__init__(channel)
        self._home_path = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        """Relative paths are the home's."""
        return path if path.startswith(b"/") else self._home_path + b"/" + path

    def realpath(self, path: bytes) -> bytes:
        """Absolute form of a path."""
        return os.path.realpath(self.map_path(path))


def _words(process: asyncssh.SSHServerProcess[bytes]) -> tuple[str, ...] | None:
    if process.subsystem == "sftp":
        server = _sftp_server()
        return None if server is None else (server,)
    if process.subsystem is not None:
        return None
    shell = shutil.which("bash") or "/bin/sh"
    if process.command is None:
        return (shell, "-i") if process.term_type else (shell,)
    return (shell, "-c", process.command)


def _guest_uid() -> int:
    """The account of root's guests: one that /etc/passwd names, as sftp-server demands."""
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return _NOBODY


def _sftp_server() -> str | None:
    return next((path for path in _SFTP_SERVERS if Path(path).exists()), None)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return "TERM"
