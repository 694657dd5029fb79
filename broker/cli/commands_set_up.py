"""Rows of the command table: the lab, setting up, and commands that only our own scripts call."""

from __future__ import annotations

from typing import Final

from broker.cli.command import Command, Flag

SET_UP: Final[tuple[Command, ...]] = (
    Command(
        name="lab",
        group="Try",
        summary="a pretend KubeVirt cluster with real SSH servers, on this machine",
        module="",
        usage="lab run | up | down | status | kubeconfig [--user USER] [--path] | fault set|list|clear [NAME[=VALUE]…]",
        most=None,
        reading="raw",
        statuses=(0, 1, 2, 3, 6),
        examples=(
            ("vmbroker lab up", "start it"),
            ("vmbroker --lab vms -A", "use it for one command"),
            ("vmbroker lab fault set latency=0.5", "let it go wrong while it runs"),
        ),
    ),
    Command(
        name="demo",
        group="Try",
        summary="real ssh, scp, sftp and rsync into the lab's VMs, as a table of what worked",
        module="demo",
        usage="demo",
        formats=("table", "json"),
        statuses=(0, 1),
        examples=(("vmbroker demo", "about a minute"),),
    ),
    Command(
        name="ssh-config",
        group="Set up",
        summary="make NAME.NAMESPACE.vm work in every tool that reads ~/.ssh/config",
        module="ssh_config",
        usage="ssh-config install | print [--flat] | check | remove",
        operands=(("install | print | check | remove", "write it; show it; say what defeats it; take it away again"),),
        least=1,
        most=1,
        flags=(
            Flag(names=("--flat",), dest="flat", help="without Include and Match, for paramiko and asyncssh (print)"),
            Flag(names=("--virtctl-aliases",), dest="virtctl_aliases", help="blocks for vm.* and vmi.* too (vm.example.com!)"),
            Flag(
                names=("--follow-current",),
                dest="follow_current",
                help="*.vm means the context that is current at each connection, not the one of today",
            ),
            Flag(
                names=("--per-vm",), dest="per_vm", help="a block for each VM that you may see, with its user and HostKeyAlias"
            ),
            Flag(names=("--file",), dest="file", metavar="FILE", help="your ssh configuration instead of ~/.ssh/config"),
        ),
        statuses=(0, 1, 2, 3, 4, 5, 6, 7),
        text=(
            "install adds one Include line before any Host or Match of your file and writes a file of our own; `remove` puts"
            " every byte back. check changes nothing."
        ),
        examples=(
            ("vmbroker ssh-config install", "then: ssh fedora@web.shop.vm, scp, rsync, git, Ansible"),
            ("vmbroker ssh-config print --flat > vmbroker.conf", "for clients that know no Include"),
            ("vmbroker ssh-config check", "what in your own file defeats it"),
        ),
    ),
    Command(
        name="config",
        group="Set up",
        summary="show, check or locate the settings",
        module="configuration",
        usage="config show [--origin] | check | path",
        operands=(("show | check | path", "values; what is wrong with the files; where the files are"),),
        least=1,
        most=1,
        flags=(Flag(names=("--origin",), dest="origin", help="say where each value came from"),),
        formats=("table", "json", "yaml"),
        statuses=(0, 2),
        examples=(
            ("vmbroker config show --origin", "every setting and its origin"),
            ("vmbroker config check", "read the files, name each mistake with its line"),
        ),
    ),
    Command(
        name="completion",
        group="Set up",
        summary="print the completion script of a shell",
        module="completion",
        usage="completion bash | zsh | fish",
        operands=(("bash | zsh | fish", "the shell"),),
        least=1,
        most=1,
        examples=(
            ("source <(vmbroker completion bash)", "bash, for this session"),
            ("vmbroker completion zsh > ~/.zfunc/_vmbroker", "zsh, with ~/.zfunc in fpath"),
            ("vmbroker completion fish > ~/.config/fish/completions/vmbroker.fish", "fish"),
        ),
    ),
    Command(
        name="version",
        group="Set up",
        summary="print the versions",
        module="version",
        usage="version [--server]",
        flags=(Flag(names=("--server",), dest="server", help="ask the cluster too, for at most 3 s"),),
        formats=("table", "json", "yaml"),
        statuses=(0, 2),
        examples=(("vmbroker version --server -o json", "client, Python, Kubernetes and KubeVirt"),),
    ),
    Command(
        name="help",
        group="Set up",
        summary="print the help of a command",
        module="help",
        usage="help [COMMAND]",
        operands=(("COMMAND", "the command"),),
        most=1,
        examples=(("vmbroker help ssh", "the same as `vmbroker ssh --help`"),),
    ),
    Command(
        name="ssh-for-rsync",
        group="",
        summary="ssh with a host word of ours, for programs that run ssh themselves",
        module="remote_shell",
        usage="ssh-for-rsync [SSH OPTION…] [USER@]TARGET [COMMAND…]",
        most=None,
        reading="raw",
        statuses=(0, 255),
        hidden=True,
    ),
    Command(
        name="__complete",
        group="",
        summary="answer a shell's completion",
        module="completion",
        usage="__complete SHELL WORD…",
        most=None,
        reading="raw",
        hidden=True,
    ),
    Command(
        name="__refresh",
        group="",
        summary="renew the names that completion knows",
        module="completion",
        usage="__refresh",
        hidden=True,
    ),
)
