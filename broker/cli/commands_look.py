"""Rows of the command table: commands that look at VMs."""

from __future__ import annotations

from typing import Final

from broker.cli.command import FORMATS, PORT, READING, TARGET, USER, Command, Flag

LOOK: Final[tuple[Command, ...]] = (
    Command(
        name="vms",
        group="Look",
        summary="list virtual machines",
        module="vms",
        usage="vms [-n NS | -A] [-l SELECTOR] [-o FORMAT]",
        flags=(
            Flag(names=("-l", "--selector"), dest="selector", metavar="SELECTOR", help="label selector, as kubectl takes it"),
        ),
        formats=FORMATS,
        statuses=READING,
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
        operands=(("[USER@]TARGET", TARGET[1]),),
        least=1,
        most=1,
        flags=(USER, PORT),
        formats=("table", "json", "yaml", "name"),
        statuses=READING,
        text="Joins the VM and its instance, and says where each address, the guest user and the SSH port come from.",
        examples=(("vmbroker show web -n shop", "one VM"), ("vmbroker show vm/web/shop -o json", "the same for a script")),
    ),
    Command(
        name="wait",
        group="Look",
        summary="wait until a VM runs, has an address, has its agent, or answers ssh",
        module="wait",
        usage="wait TARGET --for running|address|agent|ssh [--timeout S]",
        operands=(TARGET,),
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
            PORT,
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
        operands=(("[USER@]TARGET", TARGET[1]),),
        most=1,
        flags=(
            Flag(names=("--budget",), dest="budget", metavar="S", help="seconds for all checks together"),
            PORT,
        ),
        formats=("table", "json", "yaml"),
        statuses=(0, 1, 2),
        text=(
            "Lists every check as ok, failed or unknown, each failure with its cause and the next step."
            " A check that has no answer when the budget ends is unknown. Ends with 1 where a check failed, with 0 otherwise,"
            " also where all are unknown: a script reads `summary.unknown` of `-o json`."
        ),
        examples=(
            ("vmbroker doctor", "the cluster, your rights and your ssh configuration"),
            ("vmbroker doctor vm/web/shop", "why you cannot get into this VM"),
        ),
    ),
)
