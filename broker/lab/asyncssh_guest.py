"""A guest as an asyncssh server in the lab's own process: for machines without sshd or without namespaces.

Shells and commands are real subprocesses in a home of the guest's own. As root they run under an unprivileged uid,
and files go through OpenSSH's sftp-server under that uid or not at all.
"""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import asyncssh

from broker.lab.guests import Guest

__all__ = ["AsyncsshGuest"]

_FIRST_UID = 50000
_UIDS_PER_GUEST = 16
_SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)
_TAKE_TERMINAL = "import fcntl,os,sys,termios;fcntl.ioctl(0,termios.TIOCSCTTY,0);os.execv(sys.argv[1],sys.argv[1:])"


class AsyncsshGuest:
    """One guest's server on `address:port` (0: a free port, then in `port`)."""

    kind = "asyncssh"

    def __init__(self, guest: Guest, folder: Path, address: str, port: int, *, index: int) -> None:
        self._guest = guest
        self._folder = folder
        self._address = address
        self.port = port
        self._index = index
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self) -> None:
        """Make homes and host key, and listen."""
        key = await asyncio.to_thread(self._prepare)
        self._acceptor = await asyncssh.listen(
            self._address,
            self.port,
            server_host_keys=[key],
            server_factory=lambda: _Door(self._guest),
            process_factory=self._serve,
            encoding=None,
            sftp_factory=None if os.geteuid() == 0 else self._files,
            allow_scp=os.geteuid() != 0,
            agent_forwarding=True,
            backlog=200,
        )
        self.port = self._acceptor.get_port()

    def is_alive(self) -> bool:
        """Whether it listens."""
        return self._acceptor is not None

    async def stop(self) -> None:
        """Stop listening and cut the connections."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
            await acceptor.wait_closed()

    def _prepare(self) -> asyncssh.SSHKey:
        for account in self._guest.accounts:
            home = self._home(account.name)
            (home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.geteuid() == 0:
                uid = self._uid(account.name)
                for path in (home, home / ".ssh"):
                    os.chown(path, uid, uid)
        self._folder.chmod(0o755)
        path = self._folder / "asyncssh_host_key"
        if not path.exists():
            made = asyncssh.generate_private_key("ssh-ed25519", comment=self._guest.key)
            path.touch(mode=0o600)
            path.write_bytes(made.export_private_key())
        return asyncssh.read_private_key(str(path))

    def _home(self, user: str) -> Path:
        return self._folder / "home" / user

    def _uid(self, user: str) -> int:
        names = [account.name for account in self._guest.accounts]
        return _FIRST_UID + self._index * _UIDS_PER_GUEST + names.index(user)

    def _files(self, channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        user = str(channel.get_extra_info("username"))
        return _HomeFiles(channel, self._home(user))

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        user = str(process.get_extra_info("username"))
        words = _words(process)
        if words is None:
            process.stderr.write(b"This subsystem is not here.\n")
            process.exit(1)
            return
        terminal = pty.openpty() if process.term_type else None
        home = self._home(user)
        env = {
            "HOME": str(home),
            "USER": user,
            "LOGNAME": user,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PS1": f"{user}@{self._guest.name}:\\w\\$ ",
            **({"TERM": process.term_type} if process.term_type else {}),
        }
        if terminal is not None:
            words = [sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, *words]
        ends: int = subprocess.PIPE if terminal is None else terminal[1]
        root = os.geteuid() == 0
        child = await asyncio.create_subprocess_exec(
            *words,
            stdin=ends,
            stdout=ends,
            stderr=ends,
            cwd=home,
            env=env,
            start_new_session=True,
            user=self._uid(user) if root else None,
            group=self._uid(user) if root else None,
            extra_groups=[] if root else None,
        )
        if terminal is None:
            await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        else:
            os.close(terminal[1])
            keyboard = os.fdopen(os.dup(terminal[0]), "wb", 0)
            screen = os.fdopen(terminal[0], "rb", 0)
            await process.redirect(stdin=keyboard, stdout=screen)
        try:
            status = await child.wait()
            await process.stdout.drain()
        except asyncio.CancelledError:
            child.kill()
            raise
        if status < 0:
            process.exit_with_signal(_signal_name(-status))
        else:
            process.exit(status)


class _Door(asyncssh.SSHServer):
    """Lets in the accounts by their keys; forwards TCP as a plain sshd would."""

    def __init__(self, guest: Guest) -> None:
        self._accounts = {account.name: account for account in guest.accounts}
        self._keys: list[asyncssh.SSHKey] = []

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
        return path if path.startswith(b"/") else os.path.join(self._home_path, path)

    def realpath(self, path: bytes) -> bytes:
        """Absolute form of a path."""
        return os.path.realpath(self.map_path(path))


def _words(process: asyncssh.SSHServerProcess[bytes]) -> list[str] | None:
    if process.subsystem == "sftp":
        server = next((path for path in _SFTP_SERVERS if Path(path).exists()), None)
        return None if server is None else [server]
    if process.subsystem is not None:
        return None
    shell = shutil.which("bash") or "/bin/sh"
    if process.command is None:
        return [shell, "-i"] if process.term_type else [shell]
    return [shell, "-c", process.command]


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return "TERM"
