"""`vmbroker lab run|up|down|status|kubeconfig|fault`: the lab's own command line."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from broker.errors import BrokerError, NotFound, UsageError
from broker.lab import console, control, fault_command, foreground, process
from broker.lab.faults import FAULT_NAMES
from broker.lab.seed_access import USERS

__all__ = ["main"]

_FLEET_LIMIT = 10_000
_PONG_DEADLINE_S = 60.0
_FACTOR_LIMIT = 100.0
_ANOTHER = "name another one with --state-dir"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise instead of leaving the process."""
        raise UsageError(f"vmbroker lab: {message}", next_step="see `vmbroker lab --help`")


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one `lab` command and return its exit status; BrokerError for the caller to show."""
    parser = _parser()
    try:
        given = parser.parse_args(list(argv))
    except SystemExit as exc:
        return int(exc.code or 0)
    if given.command is None:
        console.answer(parser.format_help().rstrip())
        return 0
    if given.command == "fault" and given.action is None:
        console.answer(given.show().rstrip())
        return 0
    state_dir = _state_dir(given.state_dir, environ)
    if given.command == "run":
        return foreground.run(given, state_dir)
    if given.command == "up":
        return _up(given, state_dir)
    if given.command == "down":
        return _down(given, state_dir)
    if given.command == "status":
        return _status(given, state_dir)
    if given.command == "fault":
        return fault_command.run(given, state_dir)
    return _kubeconfig(given, state_dir)


def _state_dir(text: str | None, environ: Mapping[str, str]) -> Path:
    try:
        path = Path(text).expanduser().absolute() if text else process.default_state_dir(environ)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.lstat()
    except RuntimeError as exc:  # `~name` of nobody
        raise UsageError("the lab's folder cannot be found", cause="there is no such user", next_step=_ANOTHER) from exc
    except (OSError, ValueError) as exc:
        cause = getattr(exc, "strerror", None) or "no file can have that name"
        raise UsageError("the lab's folder cannot be used", cause=cause, next_step=_ANOTHER) from exc
    if not str(path).isprintable():
        # Its path is part of what is printed to be typed again: cleaned it would be another path.
        what = "the lab's folder has a name with characters that a terminal does not show as they are"
        raise UsageError(what, next_step=_ANOTHER)
    return path


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="vmbroker lab",
        description="A pretend KubeVirt cluster on this machine: a Kubernetes API over TLS, guests that are real SSH servers.",
        epilog="examples:\n  vmbroker lab up\n  vmbroker --lab ssh vm/web/shop\n  vmbroker lab kubeconfig --user carol --path\n"
        "  vmbroker lab fault set latency=0.5\n"
        "  vmbroker lab down\n\nexit status: 0 done, 1 failed, 2 usage, 3 no such user or no lab runs, 6 timed out",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="run|up|down|status|kubeconfig|fault", parser_class=_Parser)
    run = commands.add_parser("run", help="run the lab in the foreground until Ctrl-C")
    up = commands.add_parser("up", help="start the lab in the background, or name the one that runs")
    for command in (run, up):
        command.add_argument(
            "--vms", type=_fleet, default=0, metavar="N", help=f"N more VMs without guests (up to {_FLEET_LIMIT})"
        )
        command.add_argument(
            "--pong-deadline",
            type=_seconds,
            default=_PONG_DEADLINE_S,
            metavar="S",
            help="seconds until a silent client is cut off",
        )
        command.add_argument("--fault", action="append", default=[], metavar="NAME", help="go wrong: " + ", ".join(FAULT_NAMES))
        command.add_argument("--crds", type=_folder, metavar="DIR", help="CustomResourceDefinitions to list and explain")
        command.add_argument("--openapi", type=_folder, metavar="DIR", help="a kube-apiserver's OpenAPI v3 documents to show")
        command.add_argument(
            "--pace", type=_factor, default=1.0, metavar="F", help="times of starts and stops, 1 as on a cluster, 0 at once"
        )
        command.add_argument(
            "--agent-scale", type=_factor, default=1.0, metavar="F", help="the same for the guest agents (about 20 s at 1)"
        )
        command.add_argument("--guests", choices=("sshd", "asyncssh"), help="what the guests run (default: sshd where it can)")
    run.add_argument("--held", action="store_true", help=argparse.SUPPRESS)
    down = commands.add_parser("down", help="stop the lab")
    status = commands.add_parser("status", help="say whether the lab runs, and where")
    config = commands.add_parser("kubeconfig", help="print a user's kubeconfig")
    people = "; ".join(f"{person.name}: {person.purpose}" for person in USERS)
    config.add_argument("--user", default="admin", help=f"one of {people}")
    config.add_argument("--path", action="store_true", help="print the file's path instead")
    faulty = fault_command.add_parser(commands, _Parser)
    for command in (run, up, down, status, config, *faulty):
        command.add_argument("--state-dir", metavar="DIR", help="where the lab keeps its state (another one is another lab)")
        command.add_argument("-o", dest="output", choices=("table", "json"), default="table", help="output format")
        command.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    return parser


def _up(given: argparse.Namespace, state_dir: Path) -> int:
    foreground.faults_of(given)
    foreground.definitions_of(given)
    options = ["--vms", str(given.vms), "--pong-deadline", str(given.pong_deadline)]
    options += ["--pace", str(given.pace), "--agent-scale", str(given.agent_scale)]
    options += [word for fault in given.fault for word in ("--fault", fault)]
    for name in ("guests", "crds", "openapi"):
        value = getattr(given, name)
        options += [f"--{name}", str(value)] if value else []
    if process.find(state_dir) is None and given.output == "table":
        console.progress("starting the lab")
    lab, is_new = process.bring_up(state_dir, process.FOR_GOOD, options)
    if not is_new:
        foreground.tell(given, lab, f"a lab runs already: {lab.url} (process {lab.pid})")
        return 0
    foreground.tell(given, lab, f"the lab is up: {lab.url}, {lab.vms} VMs, guests by {lab.guests}")
    if given.output == "table":
        where = f" --state-dir {shlex.quote(given.state_dir)}" if given.state_dir else ""
        if given.state_dir:
            console.answer(f"try: vmbroker --kubeconfig {shlex.quote(str(lab.kubeconfig))} vms -A")
        else:
            console.answer("try: vmbroker --lab vms -A\n     vmbroker --lab ssh vm/web/shop")
        console.answer(f"end: vmbroker lab down{where}")
    return 0


def _down(given: argparse.Namespace, state_dir: Path) -> int:
    pid = process.stop(state_dir)
    if given.output == "json":
        console.answer_json({"apiVersion": "vmbroker/v1", "kind": "LabStatus", "running": False, "stateDir": str(state_dir)})
    else:
        console.answer("no lab runs" if pid is None else f"the lab is down (process {pid})")
    return 0


def _status(given: argparse.Namespace, state_dir: Path) -> int:
    lab = process.find(state_dir)
    if lab is not None:
        text = f"running: {lab.url}, process {lab.pid}, {lab.vms} VMs, guests by {lab.guests}, {lab.network}.0/24"
        try:
            faults = control.ask(state_dir).active
        except BrokerError as exc:
            faults = ()
            text += f"\nfaults: unknown, {exc}"
        foreground.tell(given, lab, text + "".join(f"\nfault: {word}" for word in faults), faults=faults)
        return 0
    if given.output == "json":
        console.answer_json({"apiVersion": "vmbroker/v1", "kind": "LabStatus", "running": False, "stateDir": str(state_dir)})
    else:
        console.answer("no lab runs; start one with `vmbroker lab up`")
    return NotFound.exit_status


def _kubeconfig(given: argparse.Namespace, state_dir: Path) -> int:
    from broker.lab.kubeconfigs import kubeconfig_path

    if process.find(state_dir) is None:
        raise NotFound("no lab runs", code="no-lab", next_step="start one with `vmbroker lab up`")
    try:
        path = kubeconfig_path(state_dir, given.user)
    except KeyError:
        names = ", ".join(person.name for person in USERS)
        raise NotFound("the lab has no user of that name", code="no-user", next_step=f"its users are {names}") from None
    console.answer(str(path) if given.path else path.read_text().rstrip())
    return 0


def _fleet(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _FLEET_LIMIT:
        raise argparse.ArgumentTypeError(f"a number from 0 to {_FLEET_LIMIT} is needed")
    return int(text)


def _factor(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= _FACTOR_LIMIT:
        raise argparse.ArgumentTypeError(f"a number from 0 to {_FACTOR_LIMIT:g} is needed")
    return number


def _folder(text: str) -> Path:
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # too long a name, `~name` of nobody
        path = Path(text).expanduser().absolute()
        if path.is_dir():
            return path
    raise argparse.ArgumentTypeError("a folder is needed")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.5 <= value <= 3600:
        raise argparse.ArgumentTypeError("seconds from 0.5 to 3600 are needed")
    return value
