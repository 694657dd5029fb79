"""Replace and remove files of a user's ~/.ssh: whole or not at all, owner and mode kept, no path that another user can bend."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.actions.guard_ssh_config import check_parents, refused, unusable
from broker.clean import clean
from broker.errors import BrokerError, Failed, TimedOut

_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW
_LIMIT_BYTES: Final = 16 * 1024 * 1024
_LOCK_S: Final = 10.0
_COPY: Final = re.compile(r"\.(.+)\.vmbroker-[0-9a-f]{16}", re.DOTALL)
"""Name of a file that is being written: what a run that was killed leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A file as it was read: `data` None where there was none; `state` tells whether it has changed since."""

    data: bytes | None
    state: os.stat_result | None

    def is_still(self, state: os.stat_result | None) -> bool:
        """Say whether a later look at the same name shows the same file, unchanged."""
        if self.state is None or state is None:
            return self.state is state
        keys = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
        return all(getattr(self.state, key) == getattr(state, key) for key in keys)


class Folder:
    """An open directory whose files are named relative to it; made by `open_folder`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def read(self, name: str) -> Snapshot:
        """Read a regular file; Refused for anything else under that name, Failed where it cannot be read."""
        with self._told(name, "read"):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _OPEN, dir_fd=self._fd)
            except FileNotFoundError:
                return Snapshot(data=None, state=None)
            except OSError:
                if self.state(name) is not None and stat.S_ISLNK(os.lstat(self.path / name).st_mode):
                    raise refused(self.path / name, "is a symbolic link") from None
                raise
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                os.close(fd)
                raise refused(self.path / name, "is no regular file")
            with os.fdopen(fd, "rb") as file:
                if state.st_nlink > 1:
                    raise refused(self.path / name, f"has {state.st_nlink} hard links, which a new file would part")
                if state.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
                    raise refused(self.path / name, "belongs to another user")
                if state.st_size > _LIMIT_BYTES:
                    raise refused(self.path / name, f"is larger than {_LIMIT_BYTES} bytes")
                return Snapshot(data=file.read(), state=state)

    def state(self, name: str) -> os.stat_result | None:
        """Look at a name without following it; None where nothing has it."""
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def write_beside(
        self, name: str, data: bytes, like: os.stat_result | None, *, mode: int | None = None, lasts: bool = True
    ) -> str:
        """Write a new file next to `name` and return its name; where it `lasts`, it is on disk by then.

        Owner and mode are those of `like`; without it 0600 and, for root, the folder's owner. `mode` wins over both.
        """
        fresh = f".{name}.vmbroker-{os.urandom(8).hex()}"
        with self._told(name, "write"):
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600, dir_fd=self._fd)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    owner = like or (os.fstat(self._fd) if os.geteuid() == 0 else os.fstat(fd))
                    if (owner.st_uid, owner.st_gid) != (os.fstat(fd).st_uid, os.fstat(fd).st_gid):
                        os.fchown(fd, owner.st_uid, owner.st_gid)
                    if like is not None and mode is None:
                        os.fchmod(fd, stat.S_IMODE(like.st_mode))
                        _copy_attributes(self.path / name, fd)
                    elif mode is not None:
                        os.fchmod(fd, mode)
                    if lasts:
                        os.fsync(fd)
            except BaseException:
                self.discard(fresh)
                raise
        return fresh

    def put(self, fresh: str, name: str, before: Snapshot) -> None:
        """Give a written file its name; Failed, and the file gone, where `name` is not as it was read."""
        try:
            with self._told(name, "write"):
                if not before.is_still(self.state(name)):
                    raise Failed(
                        f"{clean(self.path / name, 1024)} was changed by another program meanwhile",
                        code="ssh-config-changed",
                        next_step="run the command again",
                    )
                os.rename(fresh, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
                os.fsync(self._fd)
        except BaseException:
            self.discard(fresh)
            raise

    def replace(self, name: str, data: bytes, before: Snapshot, *, mode: int | None = None) -> None:
        """Write a file whole, in the place of the one that was read."""
        self.put(self.write_beside(name, data, before.state, mode=mode), name, before)

    def save_once(self, name: str, data: bytes) -> bool:
        """Write a new file 0600 unless one of that name is there; say whether it was written."""
        if self.state(name) is not None:
            return False
        self.put(self.write_beside(name, data, None), name, Snapshot(data=None, state=None))
        return True

    def delete(self, name: str, before: Snapshot) -> None:
        """Take a file away; Failed where it is not as it was read."""
        with self._told(name, "remove"):
            if not before.is_still(self.state(name)):
                raise Failed(
                    f"{clean(self.path / name, 1024)} was changed by another program meanwhile",
                    code="ssh-config-changed",
                    next_step="run the command again",
                )
            os.unlink(name, dir_fd=self._fd)
            os.fsync(self._fd)

    def discard(self, name: str) -> None:
        """Take away a file that this run made; no error where it is gone."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._fd)

    def names(self) -> frozenset[str]:
        """Return the names of everything in it."""
        with self._told(".", "list"):
            return frozenset(os.listdir(self._fd))  # noqa: PTH208  # of the open folder

    def sweep(self, names: Collection[str]) -> None:
        """Take away half-written copies of these files: what this run, or one that was killed, left behind.

        Only while the folder is locked, so that no other run is writing them.
        """
        with contextlib.suppress(BrokerError):
            for each in self.names():
                copy = _COPY.fullmatch(each)
                if copy is not None and copy[1] in names:
                    self.discard(each)

    def make_folder(self, name: str) -> bool:
        """Make a folder 0700 of this one's owner, and say whether it was made; Refused for anything unsafe under the name."""
        made = False
        with self._told(name, "make"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self._fd)
                made = True
                if os.geteuid() == 0:
                    owner = os.fstat(self._fd)
                    os.chown(name, owner.st_uid, owner.st_gid, dir_fd=self._fd, follow_symlinks=False)
            state = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        reason = unsafe_folder(state, owners={0, os.geteuid(), os.fstat(self._fd).st_uid})
        if reason is not None:
            step = "take it away, then run this again; sockets of open connections may be in it"
            raise refused(self.path / name, reason, step=step)
        return made

    def discard_folder(self, name: str) -> None:
        """Take away an empty folder that this run made; no error where that does not go."""
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=self._fd)

    @contextlib.contextmanager
    def _told(self, name: str, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise unusable(self.path / name, verb, exc) from exc


@contextlib.contextmanager
def open_folder(path: Path, *, makes: bool = False) -> Iterator[Folder]:
    """Open and lock a directory for the block; `makes` creates it 0700 where it is missing.

    Refused where it or a parent may be bent by another user; TimedOut after 10 s of another vmbroker's lock.
    """
    if makes and not path.exists():
        check_parents(path.parent)
        try:
            path.mkdir(mode=0o700)
            if os.geteuid() == 0:
                owner = os.lstat(path.parent)
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        except OSError as exc:
            raise unusable(path, "make", exc) from exc
    check_parents(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    except OSError as exc:
        raise unusable(path, "open", exc) from exc
    try:
        _lock(fd, path)
        yield Folder(path, fd)
    finally:
        os.close(fd)


def unsafe_folder(state: os.stat_result, *, owners: Collection[int]) -> str | None:
    """Say what makes a folder of ours unfit for sockets; None where nothing does."""
    if stat.S_ISLNK(state.st_mode):
        return "is a symbolic link"
    if not stat.S_ISDIR(state.st_mode):
        return "is no directory"
    if state.st_uid not in owners:
        return "belongs to another user"
    return "may be written by its group or by everyone" if state.st_mode & 0o022 else None


def _lock(fd: int, path: Path) -> None:
    ends = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends:
                raise TimedOut(
                    f"another program holds the lock of {clean(path, 1024)}", next_step="wait for it, then run this again"
                ) from None
            time.sleep(0.05)
        except OSError:
            return  # a file system without locks: the last look before the rename still guards
        else:
            return


def _copy_attributes(path: Path, fd: int) -> None:
    """Keep extended attributes (ACLs, SELinux labels) where the system has them and lets us."""
    if not hasattr(os, "listxattr"):
        return
    with contextlib.suppress(OSError):
        for name in os.listxattr(path, follow_symlinks=False):
            with contextlib.suppress(OSError):
                os.setxattr(fd, name, os.getxattr(path, name, follow_symlinks=False))
