"""What ssh itself said, as checks of `doctor`: its version, keys, the length of a ControlPath. **Pure.**"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from broker.actions.checkup.check import Check, failed, ok
from broker.clean import clean
from broker.errors import Failed

OLDEST: Final = (8, 1)
"""The oldest OpenSSH that knows `%n` in a ProxyCommand, which our aliases stand on (release notes of 8.1)."""
_VERSION: Final = re.compile(r"OpenSSH\D{0,20}(\d{1,3})\.(\d{1,3})")
_SOCKET_BYTES: Final = {"darwin": 103, "linux": 107}
_SOCKET_ENDING_BYTES: Final = 17
"""What ssh puts behind the path while it makes a master's socket: with ControlMaster it ends with 255 past that (measured)."""


def version_check(status: int, words: str) -> Check:
    """Judge what `ssh -V` said."""
    found = _VERSION.search(words[:400])
    if found is None:
        error = Failed(
            "ssh is not OpenSSH, or not one that tells its version",
            code="ssh-unknown",
            cause=f"ssh -V ended with status {status} and said: {clean(words, 120) or 'nothing'}",
            next_step="install OpenSSH, or set ssh.program to it",
        )
        return failed("ssh-version", error)
    if (int(found[1]), int(found[2])) < OLDEST:
        error = Failed(
            f"OpenSSH {found[1]}.{found[2]} is too old",
            code="ssh-old",
            cause=f"the aliases of ssh-config need %n in a ProxyCommand, which came with {OLDEST[0]}.{OLDEST[1]}",
            next_step="install a newer OpenSSH, or set ssh.program to one",
        )
        return failed("ssh-version", error)
    return ok("ssh-version", clean(words.strip(), 80))


def read_options(text: str) -> dict[str, tuple[str, ...]]:
    """Read what `ssh -G` prints: each option in lower case with its values in order."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        found[name.lower()] = (*found.get(name.lower(), ()), value)
    return found


def key_check(files: Sequence[str], agent_keys: int | None, *, tried: int) -> Check:
    """Judge which key files are there and how many keys an agent holds (None: there is no agent)."""
    parts = [f"{files[0]}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")] if files else []
    parts += [f"{agent_keys} in the agent"] if agent_keys else []
    if parts:
        return ok("ssh-key", ", ".join(parts))
    agent = "there is no agent" if agent_keys is None else "the agent is empty"
    return failed(
        "ssh-key",
        Failed(
            "ssh has no private key to log in with",
            code="ssh-no-key",
            cause=f"none of the {tried} files that it tries is there, and {agent}",
            next_step="make one (ssh-keygen -t ed25519) and put its public half into the VM, or start your agent",
        ),
    )


def socket_check(alias: str, options: Mapping[str, Sequence[str]], system: str) -> Check:
    """Predict whether ssh's ControlPath for an alias fits into a socket (case C-013); `system` as sys.platform says."""
    path = (options.get("controlpath") or ("none",))[0]
    is_master = (options.get("controlmaster") or ("false",))[0] not in ("false", "no")
    limit = _SOCKET_BYTES.get(system, min(_SOCKET_BYTES.values())) - (_SOCKET_ENDING_BYTES if is_master else 0)
    size = len(path.encode("utf-8", "surrogateescape"))
    if path == "none":
        return ok("ssh-control-path", "none is set for our aliases")
    if size <= limit:
        return ok("ssh-control-path", f"{size} bytes of at most {limit} for {_short(alias)}")
    error = Failed(
        f"ControlPath has {size} bytes for {_short(alias)}, and {limit} is the most",
        code="controlpath-too-long",
        cause="ssh stops with `ControlPath too long` or `unix_listener: path … too long`, which looks like our fault",
        next_step="use %C instead of %h or %n (ControlPath ~/.ssh/%C), or run vmbroker ssh-config install, whose blocks do",
    )
    return failed("ssh-control-path", error)


def _short(alias: str) -> str:
    return clean(alias if len(alias) <= 48 else f"an alias of {len(alias)} characters", 64)
