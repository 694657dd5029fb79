"""A guest as OpenSSH's sshd in mount, UTS and PID namespaces of its own, with its own accounts, homes and host key.

As root every account has an unprivileged uid of its own, the guest's `root` too, so that no login is the host's uid 0.
As an ordinary user everything is one uid: bind mounts happen as root of a user namespace, sshd runs in a nested one as
uid 1000.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from enum import Enum
from pathlib import Path

from broker.lab.guest import Guest
from broker.lab.running import process_identity
from broker.lab.ssh_keys import ssh_key

__all__ = ["Mode", "SshdGuest", "possible_mode"]

_FIRST_UID = 50000
_UIDS_PER_GUEST = 16
_NESTED_UID = 1000
_SEARCH = "/usr/sbin:/sbin:/usr/local/sbin:/usr/lib/ssh"
_STOP_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.005

_SETUP = r"""
set -e
guest=$1 name=$2 sshd=$3 nested=$4
mount --make-rprivate /
for stage in /mnt /media /srv; do [ -d "$stage" ] && break; done
mount --bind "$guest" "$stage"
for file in passwd shadow group hosts hostname nsswitch.conf; do
    if [ -e "/etc/$file" ]; then mount --bind "$stage/etc/$file" "/etc/$file"; fi
done
mount --bind "$stage/ssh" /etc/ssh
mount --bind "$stage/home" /home
mount --bind "$stage/root" /root
mount --bind "$stage/run" /run
mount --bind "$stage/tmp" /tmp
umount "$stage"
cd /
echo "$name" >/proc/sys/kernel/hostname 2>/dev/null || hostname "$name" || true
if [ "$nested" = yes ]; then exec unshare -U --map-user=1000 --map-group=1000 "$sshd" -D -e -f /etc/ssh/sshd_config; fi
exec "$sshd" -D -e -f /etc/ssh/sshd_config
"""

_CONFIG = """\
Port {port}
ListenAddress {address}
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile none
AuthorizedKeysFile .ssh/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication yes
PermitRootLogin yes
AllowAgentForwarding yes
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
X11Forwarding no
PermitTunnel no
PrintMotd no
UseDNS no
MaxStartups 200
MaxSessions 200
LoginGraceTime 60
Subsystem sftp internal-sftp
"""


class Mode(Enum):
    """How the namespaces are had: as root, or by an ordinary user through user namespaces."""

    ROOT = "root"
    USER = "user"


def possible_mode() -> Mode | None:
    """Return how sshd can run here, or None: no Linux, no sshd, no unshare, or namespaces forbidden. Tries it (blocking)."""
    if not sys.platform.startswith("linux") or _sshd() is None or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return None
    mode = Mode.ROOT if os.geteuid() == 0 else Mode.USER
    with tempfile.TemporaryDirectory(prefix="vmbroker-lab-") as folder:
        check = 'mount --make-rprivate / && mount --bind "$1" /tmp && mount --bind /etc/hosts /etc/passwd'
        if mode is Mode.USER:
            check += " && exec unshare -U --map-user=1000 --map-group=1000 true"
        words = [*_unshare(mode), "sh", "-c", check, "sh", folder]
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
    return mode if done.returncode == 0 else None


class SshdGuest:
    """One guest's sshd; `folder` keeps its homes and its host key from one lab to the next."""

    kind = "sshd"

    def __init__(self, guest: Guest, folder: Path, *, index: int, mode: Mode, host_names: str) -> None:
        self._guest = guest
        self._folder = folder
        self._index = index
        self._mode = mode
        self._host_names = host_names
        self._process: subprocess.Popen[bytes] | None = None
        self.port = guest.ssh_port

    async def start(self) -> None:
        """Write the guest's files and start its sshd; it ends with this process, however that ends."""
        await asyncio.to_thread(self._prepare)
        sshd = _sshd()
        if sshd is None:
            raise RuntimeError("sshd is not here any more (package openssh-server)")
        nested = "yes" if self._mode is Mode.USER else "no"
        inner = ["sh", "-c", _SETUP, "sh", str(self._folder.absolute()), self._guest.name, sshd, nested]
        with (self._folder / "sshd.log").open("ab") as log:
            # Started from the loop's thread: the death signal comes when the starting thread ends.
            self._process = subprocess.Popen(  # noqa: ASYNC220
                ["setpriv", "--pdeathsig", "KILL", *_unshare(self._mode), *inner],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"},
            )

    def is_alive(self) -> bool:
        """Whether sshd's outer process runs."""
        return self._process is not None and self._process.poll() is None

    async def stop(self) -> None:
        """Kill the namespaces' outer process: the kernel ends everything inside. Returns when that is done."""
        process, self._process = self._process, None
        if process is None:
            return
        inside = _descendants(process.pid)
        process.kill()
        for pid in inside:
            # They die with it; what is stopped (a paused guest) or held up is told once more.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(_await_end, process, inside)

    async def pause(self) -> None:
        """Stop every process of the guest (SIGSTOP): what connects hangs, sessions stand still."""
        self._signal(signal.SIGSTOP)

    async def resume(self) -> None:
        """Let them go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        for pid in _descendants(self._process.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _prepare(self) -> None:
        for name in ("etc", "ssh", "home", "root", "run", "run/sshd", "tmp"):
            (self._folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        self._folder.chmod(0o755)
        (self._folder / "tmp").chmod(0o1777)
        self._write_accounts()
        etc = self._folder / "etc"
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{self._host_names}")
        (etc / "hostname").write_text(f"{self._guest.name}\n")
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
        (self._folder / "ssh/sshd_config").write_text(_CONFIG.format(port=self._guest.ssh_port, address=self._guest.address))
        ssh_key(self._folder / "ssh/ssh_host_ed25519_key", comment=self._guest.key)

    def _write_accounts(self) -> None:
        shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
        names = [account.name for account in self._guest.accounts]
        if "root" not in names:
            names.append("root")
        keys = {account.name: account.keys for account in self._guest.accounts}
        passwd, shadow, group = [], [], []
        for offset, name in enumerate(names):
            uid = _NESTED_UID if self._mode is Mode.USER else _FIRST_UID + self._index * _UIDS_PER_GUEST + offset
            home = "/root" if name == "root" else f"/home/{name}"
            passwd.append(f"{name}:x:{uid}:{uid}:{name}:{home}:{shell}")
            shadow.append(f"{name}:*:19000:0:99999:7:::")
            group.append(f"{name}:x:{uid}:")
            self._write_home(self._folder / home.lstrip("/"), uid, keys.get(name, ()))
        # In the nested namespace no group may own the terminal but the user's own, so there is no group tty there.
        uid = _NESTED_UID if self._mode is Mode.USER else 65534
        group += ["nogroup:x:65534:"] if self._mode is Mode.USER else ["tty:x:5:", "nogroup:x:65534:"]
        passwd += [f"sshd:x:{uid}:{uid}::/run/sshd:/usr/sbin/nologin", "nobody:x:65534:65534::/:/usr/sbin/nologin"]
        shadow += ["sshd:!:19000::::::", "nobody:!:19000::::::"]
        for file, lines in (("passwd", passwd), ("shadow", shadow), ("group", group)):
            (self._folder / "etc" / file).write_text("\n".join(lines) + "\n")
        (self._folder / "etc/shadow").chmod(0o600)

    def _write_home(self, home: Path, uid: int, keys: tuple[str, ...]) -> None:
        ssh = home / ".ssh"
        ssh.mkdir(parents=True, exist_ok=True)
        authorized = ssh / "authorized_keys"
        old = authorized.read_text().splitlines() if authorized.exists() else []
        authorized.write_text("".join(f"{line}\n" for line in dict.fromkeys([*old, *keys])))
        home.chmod(0o700)
        ssh.chmod(0o700)
        authorized.chmod(0o600)
        if self._mode is Mode.ROOT:
            for path in (home, ssh, authorized):
                os.chown(path, uid, uid)


def _await_end(process: subprocess.Popen[bytes], inside: list[int]) -> None:
    """Wait for a killed process and for those inside it: the port is free only when the last of them is gone."""
    end_s = time.monotonic() + _STOP_WITHIN_S
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        return
    while time.monotonic() < end_s and any(process_identity(pid) is not None for pid in inside):
        time.sleep(_LOOK_EVERY_S)


def _descendants(pid: int) -> list[int]:
    """The processes below one, parents first; the one itself is left out, for its own waits must go on."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for listing in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            try:
                below = [int(word) for word in listing.read_text().split()]
            except OSError:
                continue
            found += below
            waiting += below
    return found


def _sshd() -> str | None:
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":" + _SEARCH)


def _unshare(mode: Mode) -> list[str]:
    user = ["-U", "-r"] if mode is Mode.USER else []
    return ["unshare", *user, "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
