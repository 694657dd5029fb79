"""The one table of commands, flags and examples: parsing, help, completion and the reference follow from it. Pure."""

from __future__ import annotations

from typing import Final

from broker.cli.command import Command, Flag
from broker.cli.commands_enter import ENTER
from broker.cli.commands_look import LOOK
from broker.cli.commands_set_up import SET_UP

GLOBALS: Final[tuple[Flag, ...]] = (
    Flag(
        names=("--kubeconfig",), dest="kubeconfig", metavar="FILE", help="kubeconfig instead of KUBECONFIG and ~/.kube/config"
    ),
    Flag(names=("--context",), dest="context", metavar="NAME", help="kubeconfig context instead of the current one"),
    Flag(names=("-n", "--namespace"), dest="namespace", metavar="NS", help="namespace instead of the context's"),
    Flag(names=("-A", "--all-namespaces"), dest="all_namespaces", help="every namespace (lists)"),
    Flag(names=("--as",), dest="as_user", metavar="USER", help="act as this user of the cluster (impersonation)"),
    Flag(names=("--as-group",), dest="as_groups", metavar="GROUP", repeats=True, help="act with this group; may be repeated"),
    Flag(names=("--as-uid",), dest="as_uid", metavar="UID", help="act with this user id"),
    Flag(names=("--lab",), dest="lab", help="use the pretend cluster of `vmbroker lab`, started if need be"),
    Flag(
        names=("-o", "--output"), dest="output", metavar="FORMAT", help="table, wide, json, yaml or name; json for errors too"
    ),
    Flag(
        names=("--set",), dest="sets", metavar="KEY=VALUE", repeats=True, help="one setting, as `vmbroker config show` names it"
    ),
    Flag(names=("--no-color",), dest="no_color", help="no colour; NO_COLOR does the same"),
    Flag(names=("--debug",), dest="debug", help="what happens inside, on stderr, secrets redacted"),
    Flag(names=("-h", "--help"), dest="help", help="this help"),
    Flag(names=("--unwarned",), dest="unwarned", help="no warnings: a run of ours has already given them", hidden=True),
)

STATUSES: Final[dict[int, str]] = {
    0: "done",
    1: "failed",
    2: "usage, or a settings file or kubeconfig that cannot be used",
    3: "not found",
    4: "not permitted, or no valid credential",
    5: "unreachable: the API server, or a guest that is not ready",
    6: "timed out",
    7: "refused by a rule",
    130: "interrupted",
    255: "ssh, scp, sftp: we failed before ssh ran (the code stands in the message), or ssh's own failure",
}

COMMANDS: Final[tuple[Command, ...]] = (*LOOK, *ENTER, *SET_UP)

BY_NAME: Final[dict[str, Command]] = {command.name: command for command in COMMANDS}
SHOWN: Final[tuple[Command, ...]] = tuple(command for command in COMMANDS if not command.hidden)
GROUPS: Final[tuple[str, ...]] = tuple(dict.fromkeys(command.group for command in SHOWN))
SSH_KIN: Final = frozenset({"ssh", "scp", "sftp", "ssh-for-rsync"})
"""Commands that end with OpenSSH's own status, and with 255 where we fail before it runs."""
