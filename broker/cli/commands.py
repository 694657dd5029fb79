"""The one table of commands, flags and examples: parsing, help, completion and the reference follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Reading = Literal["plain", "ssh", "copy", "raw"]
"""How the words after a command are read: as flags and operands; until the remote command begins; with the options of
scp or sftp between; or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag: `metavar` None takes no value, `repeats` collects every value, `choices` limits them."""

    names: tuple[str, ...]
    dest: str
    help: str
    metavar: str | None = None
    repeats: bool = False
    choices: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: `module` under broker.cli has `run`; at least `least` and at most `most` operands (None: no bound).

    `formats` are the values of -o that it knows; commands without a table of their own take -o json for their errors.
    """

    name: str
    group: str
    summary: str
    module: str
    usage: str
    operands: tuple[tuple[str, str], ...] = ()
    least: int = 0
    most: int | None = 0
    flags: tuple[Flag, ...] = ()
    formats: tuple[str, ...] = ("table", "json")
    reading: Reading = "plain"
    foreign_plain: str = ""
    foreign_valued: str = ""
    statuses: tuple[int, ...] = (0, 2)
    text: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    hidden: bool = False


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

_READING: Final = (0, 1, 2, 3, 4, 5, 6)
_FORMATS: Final = ("table", "wide", "json", "yaml", "name")
_USER: Final = Flag(
    names=("-l", "--user"), dest="user", metavar="USER", help="guest user; `USER@` before the target is the same"
)
_PORT: Final = Flag(names=("-p", "--port"), dest="port", metavar="PORT", help="SSH port of the guest")
_TARGET: Final = (
    "TARGET",
    "a VM: NAME, vm/NAME[/NAMESPACE], vmi/NAME[/NAMESPACE] or NAME.NAMESPACE.vm[.CONTEXT]",
)

COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        name="vms",
        group="Look",
        summary="list virtual machines",
        module="vms",
        usage="vms [-n NS | -A] [-l SELECTOR] [-o FORMAT]",
        flags=(
            Flag(names=("-l", "--selector"), dest="selector", metavar="SELECTOR", help="label selector, as kubectl takes it"),
        ),
        formats=_FORMATS,
        statuses=_READING,
        text=(
            "Lists VirtualMachines joined with their VirtualMachineInstances, and instances that have no VirtualMachine."
            " A selector is matched on the labels of VirtualMachines: it leaves out instances without one."
        ),
        examples=(
            ("vmbroker vms", "the VMs of the context's namespace"),
            ("vmbroker vms -A -o wide", "every VM that you may see, with more columns"),
            ("vmbroker vms -l tier=web -o name", "names for a script"),
        ),
    ),
    Command(
        name="show",
        group="Look",
        summary="show one virtual machine: state, interfaces, addresses, user",
        module="show",
        usage="show [USER@]TARGET [-o FORMAT]",
        operands=(("[USER@]TARGET", _TARGET[1]),),
        least=1,
        most=1,
        flags=(_USER, _PORT),
        formats=("table", "json", "yaml", "name"),
        statuses=_READING,
        text="Joins the VM and its instance, and says where each address, the guest user and the SSH port come from.",
        examples=(("vmbroker show web -n shop", "one VM"), ("vmbroker show vm/web/shop -o json", "the same for a script")),
    ),
    Command(
        name="wait",
        group="Look",
        summary="wait until a VM runs, has an address, has its agent, or answers ssh",
        module="wait",
        usage="wait TARGET --for running|address|agent|ssh [--timeout S]",
        operands=(_TARGET,),
        least=1,
        most=1,
        flags=(
            Flag(
                names=("--for",),
                dest="aim",
                metavar="WHAT",
                choices=("running", "address", "agent", "ssh"),
                help="running, address, agent or ssh (an SSH banner through the API server); ssh where it is not given",
            ),
            Flag(names=("--timeout",), dest="timeout", metavar="S", help="seconds to wait at most; 0 looks once"),
            _PORT,
        ),
        statuses=(0, 1, 2, 3, 4, 5, 6),
        text=(
            "Watches the VM and its instance. When the time runs out it says what it waited for and what it saw last,"
            " and ends with 6. A name that is not there, or a VM that is deleted meanwhile, ends it at once with 3; a missing"
            " right with 4; an API server that cannot be reached at the start, or something on the way that takes the"
            " websocket out of a dial, with 5. Other trouble on the way is waited out. A user@ before TARGET is ignored."
        ),
        examples=(
            ("vmbroker wait web -n shop --for ssh --timeout 120", "after a start, before a script goes in"),
            ("vmbroker wait vm/db/shop --for address -o json", "for a script"),
        ),
    ),
    Command(
        name="doctor",
        group="Look",
        summary="check the cluster, your rights, a VM and the ssh configuration",
        module="doctor",
        usage="doctor [[USER@]TARGET] [--budget S]",
        operands=(("[USER@]TARGET", _TARGET[1]),),
        most=1,
        flags=(
            Flag(names=("--budget",), dest="budget", metavar="S", help="seconds for all checks together"),
            _PORT,
        ),
        formats=("table", "json", "yaml"),
        statuses=(0, 1, 2),
        text=(
            "Lists every check as ok, failed or unknown, each failure with its cause and the next step."
            " A check that has no answer when the budget ends is unknown. Ends with 1 where a check failed."
        ),
        examples=(
            ("vmbroker doctor", "the cluster, your rights and your ssh configuration"),
            ("vmbroker doctor vm/web/shop", "why you cannot get into this VM"),
        ),
    ),
    Command(
        name="ssh",
        group="Get in",
        summary="open a shell or run a command in a VM, with your own OpenSSH",
        module="secure_shell",
        usage="ssh [USER@]TARGET [COMMAND…] | ssh [USER@]TARGET -- [SSH OPTION…] [COMMAND…]",
        operands=(("[USER@]TARGET", _TARGET[1]), ("COMMAND", "runs in the guest; options for ssh itself go after `--`")),
        least=1,
        most=None,
        flags=(_USER, _PORT),
        reading="ssh",
        statuses=(0, 255),
        text=(
            "Runs your ssh with a ProxyCommand that goes through the API server. Your ssh_config and known_hosts hold;"
            " host keys are checked as your ssh checks them. The exit status is ssh's own."
        ),
        examples=(
            ("vmbroker ssh fedora@web -n shop", "a shell"),
            ("vmbroker ssh vm/web/shop uptime", "one command"),
            ("vmbroker ssh web -n shop -- -L 8080:localhost:80 -N", "a forwarded port"),
        ),
    ),
    Command(
        name="scp",
        group="Get in",
        summary="copy files to and from VMs with your own scp",
        module="copy",
        usage="scp [SCP OPTION…] SOURCE… DESTINATION",
        operands=(("SOURCE, DESTINATION", "a local path, or [USER@]TARGET:PATH"),),
        least=2,
        most=None,
        flags=(Flag(names=("--user",), dest="user", metavar="USER", help="guest user where none stands before a target"),),
        reading="copy",
        foreign_plain="346ABCOpqRrsTv",
        foreign_valued="cDFiJloPSX",
        statuses=(0, 255),
        text="Options of scp are handed on; -P sets the guest's port. The exit status is scp's own.",
        examples=(
            ("vmbroker scp -r site/ fedora@web.shop.vm:/srv/www", "a directory into a VM"),
            ("vmbroker scp vm/web/shop:/etc/hosts vm/db/shop:/tmp/", "from one VM to another"),
        ),
    ),
    Command(
        name="sftp",
        group="Get in",
        summary="open an sftp session with a VM",
        module="copy",
        usage="sftp [SFTP OPTION…] [USER@]TARGET[:PATH]",
        operands=(("[USER@]TARGET[:PATH]", _TARGET[1]),),
        least=1,
        most=1,
        flags=(Flag(names=("--user",), dest="user", metavar="USER", help="guest user where none stands before the target"),),
        reading="copy",
        foreign_plain="46AaCfNpqrv",
        foreign_valued="BbcDFiJloPRSsX",
        statuses=(0, 255),
        text="Options of sftp are handed on; -P sets the guest's port. The exit status is sftp's own.",
        examples=(("vmbroker sftp web.shop.vm", "interactive"), ("vmbroker sftp -b batch.txt web.shop.vm", "from a file")),
    ),
    Command(
        name="rsync-e",
        group="Get in",
        summary="print the word that rsync -e takes",
        module="remote_shell",
        usage="rsync-e",
        statuses=(0, 2),
        text="The word carries kubeconfig, context, namespace and impersonation. Name VMs as NAME.NAMESPACE.vm in rsync.",
        examples=(('rsync -e "$(vmbroker rsync-e)" -a site/ web.shop.vm:/srv/www/', "rsync into a VM"),),
    ),
    Command(
        name="proxy",
        group="Get in",
        summary="connect stdin and stdout to a port of a VM (for ProxyCommand)",
        module="proxy",
        usage="proxy TARGET [PORT]",
        operands=(_TARGET, ("PORT", "TCP port of the guest; its SSH port where none is given")),
        least=1,
        most=2,
        flags=(Flag(names=("--stdio",), dest="stdio", help="as virtctl port-forward takes it; it is always so", hidden=True),),
        statuses=(0, 1, 2, 3, 4, 5, 6, 7),
        text="Not one byte on stdout that is not the guest's.",
        examples=(
            ("ssh -o ProxyCommand='vmbroker proxy %n %p' fedora@web.shop.vm", "plain ssh"),
            ("vmbroker proxy vm/web/shop 80 < request.txt", "any TCP port"),
        ),
    ),
    Command(
        name="forward",
        group="Get in",
        summary="forward local TCP and UDP ports to ports of a VM",
        module="forward",
        usage="forward TARGET [udp/][ADDRESS:][LOCAL:]REMOTE…",
        operands=(
            _TARGET,
            ("PORTS", "[udp/][ADDRESS:][LOCAL:]REMOTE; LOCAL 0 takes a free port; an IPv6 ADDRESS stands in brackets"),
        ),
        least=2,
        most=None,
        flags=(
            Flag(
                names=("--address",), dest="address", metavar="ADDRESS", help="local address where a port names none; 127.0.0.1"
            ),
            Flag(
                names=("--exit-when-idle",),
                dest="exit_when_idle",
                metavar="S",
                help="end once no connection was open for this many seconds",
            ),
        ),
        statuses=(0, 1, 2, 3, 4, 5, 6, 7),
        text=(
            "Each client gets a stream of its own through the API server. A client whose stream cannot be opened is closed,"
            " the reason goes to stderr, and the port stays open. At most 1000 clients, UDP peers included, are open at once,"
            " fewer where `ulimit -n` is low. Ctrl-C (130), SIGTERM and --exit-when-idle (0) end it with a count."
        ),
        examples=(
            ("vmbroker forward web -n shop 8080:80", "http://127.0.0.1:8080 is the guest's port 80"),
            ("vmbroker forward vm/db/shop 0:5432 udp/5353:53 -o json", "a free port, printed, and one of UDP"),
            ("vmbroker forward web.shop.vm '[::1]:8443:443'", "on an IPv6 address"),
        ),
    ),
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

BY_NAME: Final[dict[str, Command]] = {command.name: command for command in COMMANDS}
SHOWN: Final[tuple[Command, ...]] = tuple(command for command in COMMANDS if not command.hidden)
GROUPS: Final[tuple[str, ...]] = tuple(dict.fromkeys(command.group for command in SHOWN))
SSH_KIN: Final = frozenset({"ssh", "scp", "sftp", "ssh-for-rsync"})
"""Commands that end with OpenSSH's own status, and with 255 where we fail before it runs."""
