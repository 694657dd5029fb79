"""What a ProxyCommand of somebody else does with a host word: dotted virtctl targets and shells. **Pure.**"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_TOKEN: Final = re.compile(r"%[hnrk]")
_FORWARD: Final = re.compile(r"(?:virtctl|kubectl[ -]virt|oc[ -]virt)\S*\s.*\bport-forward\b(.*)", re.DOTALL)
_KIND: Final = re.compile(r"""(?:^|[\s"'])(?:vms?|vmis?|virtualmachines?|virtualmachineinstances?)/(.*)""", re.DOTALL | re.I)
_SUBSTITUTED: Final = re.compile(r"\$\([^()]*\)|`[^`]*`|\$\{[^{}]*\}")
_SHELL: Final = re.compile(r"\b(?:ba|da|z|k|c|fi)?sh\s+-[a-z]*c\b")


def targets_dotted_virtctl(command: str, patterns: Sequence[str]) -> bool:
    """Say whether virtctl is given `TYPE/NAME.NAMESPACE`, which its releases from 1.7 on read as one name (case C-010).

    `patterns` are the words of the block's Host line: a `%h` in the target has the dots that they have.
    """
    forward = _FORWARD.search(command)
    kind = _KIND.search(forward.group(1)) if forward else None
    if kind is None:
        return False
    plain = kind.group(1)
    while (shorter := _SUBSTITUTED.sub("X", plain)) != plain:
        plain = shorter
    word = re.split(r"[\s\"';|&]", plain, maxsplit=1)[0]
    if _TOKEN.search(word):
        return "/" not in word and (any("." in pattern for pattern in patterns) or "." in word)
    return "." in word and "/" not in word


def runs_host_in_shell(command: str) -> bool:
    """Say whether a host or user word (`%h %n %r %k`) stands where a shell expands it: `$(…)`, backquotes or `sh -c`."""
    if not _TOKEN.search(command):
        return False
    return "$(" in command or "`" in command or _SHELL.search(command) is not None
