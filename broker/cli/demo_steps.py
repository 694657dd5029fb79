"""What the demo tries, in order: each step is a name, the programs it needs, and a function that says what it saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.cli.demo_alias import forward_ports, use_alias
from broker.cli.demo_bench import Bench
from broker.cli.demo_sessions import (
    copy_up_and_down,
    forward_local_port,
    forward_remote_port,
    forward_socks,
    keep_exit_status,
    list_vms,
    open_terminal,
    read_banner,
    run_command,
    share_agent,
    share_connection,
    show_vm,
    use_rsync,
    use_sftp,
)
from broker.cli.demo_truth import consult_doctor, explain_rights, name_causes, wait_for_ssh


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is tried. `needs` holds (program, package) pairs; `run` returns what was seen or raises StepFailed."""

    name: str
    run: Callable[[Bench], str]
    needs: tuple[tuple[str, str], ...] = ()


STEPS: tuple[Step, ...] = (
    Step(name="list VMs", run=list_vms),
    Step(name="show a VM", run=show_vm),
    Step(name="proxy: SSH banner", run=read_banner),
    Step(name="ssh: command", run=run_command, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh: exit status", run=keep_exit_status, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh: terminal", run=open_terminal, needs=(("ssh", "openssh-client"),)),
    Step(name="scp both ways", run=copy_up_and_down, needs=(("scp", "openssh-client"),)),
    Step(name="sftp batch", run=use_sftp, needs=(("sftp", "openssh-client"),)),
    Step(name="rsync", run=use_rsync, needs=(("rsync", "rsync"), ("ssh", "openssh-client"))),
    Step(name="ssh -L", run=forward_local_port, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh -R", run=forward_remote_port, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh -D", run=forward_socks, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh ControlMaster", run=share_connection, needs=(("ssh", "openssh-client"),)),
    Step(name="ssh -A", run=share_agent, needs=(("ssh-agent", "openssh-client"), ("ssh-add", "openssh-client"))),
    Step(name="ssh and scp by alias", run=use_alias, needs=(("ssh", "openssh-client"), ("scp", "openssh-client"))),
    Step(name="forward: TCP and UDP", run=forward_ports),
    Step(name="wait", run=wait_for_ssh),
    Step(name="doctor", run=consult_doctor),
    Step(name="true causes are named", run=name_causes),
    Step(name="a missing right is named", run=explain_rights),
)
"""In the order in which they are tried; more than ten need nothing but the OpenSSH client."""
