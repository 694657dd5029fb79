"""Find the files of a user's ssh configuration: the one that is named, what it leads to, and ours beside it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.actions.guard_ssh_config import unusable
from broker.clean import clean
from broker.errors import Refused, UsageError
from broker.paths.ssh_include import own_name

_CONF: Final = ".conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things stand: `file` as the user names it, `real` what it leads to when it is a link, `own` ours beside `file`."""

    file: Path
    real: Path
    own: Path

    @property
    def control(self) -> Path:
        """The folder of this file's ControlMaster sockets: `.vmbroker` beside `config`, short and hidden from `Include *`."""
        return self.own.with_name("." + self.own.name.removesuffix(_CONF))


def locate(file: Path) -> Places:
    """Find the files for a user's configuration; a link of the user's own (dotfiles) is followed and stays a link.

    Refused for a link of another user and for one that leads nowhere a file can be, UsageError for a path without a name.
    """
    path = Path(os.path.abspath(file))  # noqa: PTH100  # `..` is taken away, links are not
    if not path.name:
        raise UsageError(f"{clean(path)} is a folder", next_step="name a file with --file")
    own = path.with_name(own_name(path.name))
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return Places(file=path, real=path, own=own)
    except OSError as exc:
        raise unusable(path, "read", exc) from exc
    if not stat.S_ISLNK(state.st_mode):
        return Places(file=path, real=path, own=own)
    real = Path(os.path.realpath(path))
    if state.st_uid not in (os.geteuid(), 0) or real.is_symlink() or not real.parent.is_dir():
        raise Refused(
            f"{clean(path, 1024)} is a symbolic link that cannot be followed",
            code="ssh-config-unsafe",
            cause="it belongs to another user, or leads nowhere",
            next_step="name the real file with --file",
        )
    return Places(file=path, real=real, own=own)
