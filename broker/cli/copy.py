"""`vmbroker scp` and `vmbroker sftp`: the user's own programs, with every remote operand led to its VM."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from broker.cli.guest import Reached, become, resolve
from broker.cli.invocation import Invocation
from broker.cli.ssh_options import taken
from broker.errors import UsageError
from broker.paths.openssh import ClientFiles, Origin, alias_command, copy_argv, remote_operand
from broker.refs import Login, Target, parse_login, parse_port, parse_user


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """One operand: a local path in `path`, or a login with the path on that VM (None where sftp was given none)."""

    login: Login | None
    path: str | None


def run(invocation: Invocation) -> int:
    """Replace this process by scp or sftp; raises BrokerError where that cannot be, returns never."""
    parsed = invocation.parsed
    name = parsed.command.name if parsed.command else "scp"
    operands = [read_operand(word, is_sftp=name == "sftp") for word in parsed.operands]
    if not any(operand.login for operand in operands):
        raise UsageError("no operand names a VM", next_step="write [USER@]TARGET:PATH, for instance web.shop.vm:/tmp/")
    options, said_port = taken(parsed.foreign, "P")
    port = parse_port(said_port) if said_port else None
    user = parsed.text("user")
    reached: dict[tuple[str | None, Target], Reached] = {}
    for operand in operands:
        if operand.login and (operand.login.user, operand.login.target) not in reached:
            who = operand.login.user or (parse_user(user) if user else None)
            reached[operand.login.user, operand.login.target] = resolve(invocation, operand.login.target, user=who, port=port)
    first = next(iter(reached.values()))
    program = first.settings.ssh.program
    if program != "ssh":
        options = ("-S", program, *options)
    hosts = {(each.guest.host, each.guest.port, each.guest.kind) for each in reached.values()}
    if len(hosts) == 1:
        words = [
            (operand.path or "") if operand.login is None else remote_operand(_of(reached, operand.login).guest, operand.path)
            for operand in operands
        ]
        return become(
            copy_argv(name, first.origin, first.guest, first.files, options=options, operands=words), package="openssh-client"
        )
    words = [
        (operand.path or "") if operand.login is None else _uri(_of(reached, operand.login), operand.path)
        for operand in operands
    ]
    # Before OpenSSH 8.7 the first guest would have been told to dial the second, which it cannot.
    through = () if "-R" in options else ("-3",)
    return become(
        [name, *through, *options, *shared_options(first.origin, first.files), "--", *words], package="openssh-client"
    )


def read_operand(word: str, *, is_sftp: bool) -> Operand:
    """Read a local path or `[USER@]TARGET:PATH`; a word is remote as in scp: a colon before which no path begins.

    A slash before the colon is one of ours only in `vm/…` and `vmi/…`, so `./a:b` and `/tmp/a:b` stay local; sftp's one
    operand is always remote. UsageError for a remote operand with an unfit target.
    """
    before, colon, path = word.partition(":")
    if is_sftp:
        return Operand(login=parse_login(before), path=path if colon else None)
    type_word = before.rpartition("@")[2].partition("/")[0].lower()
    types = (
        "vm",
        "vms",
        "vmi",
        "vmis",
        "virtualmachine",
        "virtualmachines",
        "virtualmachineinstance",
        "virtualmachineinstances",
    )
    if not colon or not before or ("/" in before and type_word not in types):
        return Operand(login=None, path=word if not word.startswith("-") else f"./{word}")
    return Operand(login=parse_login(before), path=path)


def shared_options(origin: Origin, files: ClientFiles) -> tuple[str, ...]:
    """Return the `-o` options for a copy between two VMs: ssh names the host to one ProxyCommand (`%n`, `%p`).

    Our host word is the name of the key in known_hosts too, and HostName keeps a later one in the user's file away.
    """
    return (
        "-o",
        f"ProxyCommand={alias_command(origin)}",
        "-o",
        "ProxyJump=none",
        "-o",
        "HostName=%h",
        "-o",
        "CanonicalizeHostname=no",
        *files.options(),
    )


def _of(reached: dict[tuple[str | None, Target], Reached], login: Login) -> Reached:
    return reached[login.user, login.target]


def _uri(reached: Reached, path: str | None) -> str:
    """scp takes one -P for all hosts; only its URI form gives each its own port (scp(1)). `//` begins an absolute path."""
    guest = reached.guest
    user = f"{guest.user}@" if guest.user else ""
    return f"scp://{user}{guest.host}:{guest.port}/{quote(path or '', safe='/~*?[]')}"
