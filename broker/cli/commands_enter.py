"""Rows of the command table: commands that lead into a VM."""

from __future__ import annotations

from typing import Final

from broker.cli.command import PORT, TARGET, USER, Command, Flag

ENTER: Final[tuple[Command, ...]] = (
    Command(
        name="ssh",
        group="Get in",
        summary="open a shell or run a command in a VM, with your own OpenSSH",
        module="secure_shell",
        usage="ssh [USER@]TARGET [COMMAND…] | ssh [USER@]TARGET -- [SSH OPTION…] [COMMAND…]",
        operands=(("[USER@]TARGET", TARGET[1]), ("COMMAND", "runs in the guest; options for ssh itself go after `--`")),
        least=1,
        most=None,
        flags=(USER, PORT),
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
        operands=(("[USER@]TARGET[:PATH]", TARGET[1]),),
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
        operands=(TARGET, ("PORT", "TCP port of the guest; its SSH port where none is given")),
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
            TARGET,
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
)
