"""Which places of an ssh configuration may be written: no path that another user can bend, no file that others depend on."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from broker.clean import clean
from broker.errors import BrokerError, Failed, Refused

_STEPS: Final = {
    errno.ENOSPC: "make room on that file system",
    errno.EDQUOT: "make room within your quota",
    errno.EROFS: "that file system is read-only: name a file on another one with --file",
    errno.ENOENT: "make that folder first (mkdir -p -m 700), or name another file with --file",
    errno.ENAMETOOLONG: "name a file with a shorter path with --file",
    errno.EACCES: "give yourself the right to it, or name another file with --file",
    errno.EPERM: "give yourself the right to it, or name another file with --file",
    errno.EIO: "that disk has an error: name a file on another one with --file",
}


def check_parents(path: Path) -> None:
    """Refused where a directory is a symbolic link, belongs to another user, or may be written by group or others.

    Above the last one, links of root's and sticky directories (as /tmp) pass: nobody else can change them.
    """
    own = {0, os.geteuid()}
    with contextlib.suppress(OSError):
        own |= {os.lstat(path).st_uid} if os.geteuid() == 0 else set()
    for part in (path, *path.parents):
        try:
            state = os.lstat(part)
        except OSError as exc:
            raise unusable(part, "read", exc) from exc
        if stat.S_ISLNK(state.st_mode):
            if part == path or state.st_uid != 0:
                raise refused(part, "is a symbolic link")
            check_parents(Path(os.path.realpath(part)))
            continue
        if not stat.S_ISDIR(state.st_mode):
            raise refused(part, "is no directory")
        if state.st_uid not in own:
            raise refused(part, "belongs to another user")
        if state.st_mode & 0o022 and not (part != path and state.st_mode & stat.S_ISVTX):
            raise refused(part, "may be written by its group or by everyone", step=f"chmod go-w {shlex.quote(clean(part))}")


def check_readers(file: Path) -> None:
    """Refused for a file that other users' ssh reads: our own one beside it is for one person, and theirs would stop there.

    That is one in a folder which everybody may enter, unless it is closed to them or below the home of its owner or of ours;
    a file that is still to be made counts below /etc only, where the system's own Include finds it.
    """
    try:
        state = file.stat()
    except FileNotFoundError:
        state = None
    except OSError as exc:
        raise unusable(file, "read", exc) from exc
    if not (state.st_mode & 0o004 if state is not None else file.is_relative_to("/etc")):
        return
    owners = {os.getuid(), os.geteuid(), *([state.st_uid] if state is not None else [])}
    if any(home in file.parents for owner in owners for home in _home_of(owner)):
        return
    with contextlib.suppress(OSError):
        if not all(parent.stat().st_mode & 0o001 for parent in file.parents):
            return
    raise Refused(
        f"{clean(file, 1024)} is read by other users too",
        code="ssh-config-shared",
        cause="our file beside it is yours alone (0600), and their ssh would stop at it",
        next_step="name a file of your own with --file (~/.ssh/config); or close its folder to others (chmod o-rx)",
    )


def unusable(path: Path, verb: str, error: OSError) -> BrokerError:
    """Turn an OSError about a file into an error of ours, with the step that fits its number."""
    return Failed(
        f"cannot {verb} {clean(path, 1024)}",
        code="ssh-config-file",
        cause=clean(error.strerror or str(error)),
        next_step=_STEPS.get(error.errno or 0, "mend what the system names, or name another file with --file"),
    )


def refused(path: Path, reason: str, *, step: str | None = None) -> Refused:
    """Make the error for a path that another user, or another program's link, could change."""
    return Refused(
        f"{clean(path, 1024)} {reason}",
        code="ssh-config-unsafe",
        cause="ssh runs what such a file says, and another user, or another program's link, could change it",
        next_step=step or "name the real file in a folder of your own with --file",
    )


def _home_of(uid: int) -> Iterator[Path]:
    """The home of a user by the passwd entry; none where it is `/` or missing, since everything is below that."""
    with contextlib.suppress(KeyError):
        home = Path(pwd.getpwuid(uid).pw_dir)
        if home.is_absolute() and home != Path("/"):
            yield home
            yield Path(os.path.realpath(home))
