"""`vmbroker lab run`: a lab in this process, from the words of its command line to the signal that ends it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from broker.errors import Failed, UsageError
from broker.lab import console, control, process
from broker.lab.faults import Faults, parse_fault

if TYPE_CHECKING:
    from broker.lab.crd_files import Definitions

__all__ = ["definitions_of", "faults_of", "run", "tell"]

_LOOK_EVERY_S = 0.5


def run(given: argparse.Namespace, state_dir: Path) -> int:
    """Run a lab in this process until a signal ends it, or nobody holds it any more; raises Failed or UsageError."""
    faults = faults_of(given)
    # Before there is a loop: until here a signal ends us at once.
    definitions = definitions_of(given)
    with process.owned(state_dir):
        if given.held and not process.is_held(state_dir):
            process.hold(state_dir, str(os.getppid()))
        return asyncio.run(_serve(given, state_dir, faults, definitions))


async def _serve(given: argparse.Namespace, state_dir: Path, faults: Faults, definitions: Definitions | None) -> int:
    from broker.lab.cluster import Cluster, ClusterSettings

    settings = ClusterSettings(
        state_dir=state_dir,
        fleet=given.vms,
        pong_deadline_s=given.pong_deadline,
        faults=faults,
        guest_kind=given.guests,
        pace=given.pace,
        agent_scale=given.agent_scale,
        crds=definitions,
        openapi=given.openapi,
    )
    asked, is_up = asyncio.Event(), False
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def end() -> None:
        if not asked.is_set() and not is_up and task is not None:
            # It still starts: it is left where it stands. Once only, for what it tears down then is not to be cut short.
            task.cancel()
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end)
    try:
        async with Cluster.start(settings) as cluster, AsyncExitStack() as stack:
            lab = process.RunningLab(
                pid=os.getpid(),
                started=process.process_identity(os.getpid()) or "",
                url=cluster.url,
                network=cluster.network,
                guests=cluster.guest_kind,
                vms=cluster.objects.count("virtualmachines.kubevirt.io"),
                state_dir=state_dir,
            )
            await stack.enter_async_context(control.serving(state_dir, cluster.faults, lab.description))
            process.write_description(lab)
            is_up = True
            _tell_ready(given, lab)
            while not asked.is_set() and not (given.held and process.is_abandoned(state_dir)):
                try:
                    async with asyncio.timeout(_LOOK_EVERY_S if given.held else None):
                        await asked.wait()
                except TimeoutError:
                    continue
            (state_dir / "lab.json").unlink(missing_ok=True)
    except ValueError as exc:
        raise UsageError(f"vmbroker lab: {exc}", next_step="see `vmbroker lab run --help`") from exc
    except asyncio.CancelledError:
        if not asked.is_set():
            raise
    except (OSError, RuntimeError) as exc:
        raise Failed("the lab could not start", code="lab-start", cause=str(exc)[:200]) from exc
    return 0


def _tell_ready(given: argparse.Namespace, lab: process.RunningLab) -> None:
    if given.output == "json":
        tell(given, lab, "")
        return
    console.progress(f"the lab is ready: {lab.url}, {lab.vms} VMs, guests by {lab.guests}")
    console.progress(f"KUBECONFIG={lab.kubeconfig}")


def tell(given: argparse.Namespace, lab: process.RunningLab, text: str, *, faults: Sequence[str] | None = None) -> None:
    """Write a text about a running lab, or with -o json the document about it."""
    if given.output == "table":
        console.answer(text)
        return
    console.answer_json(
        {
            "apiVersion": "vmbroker/v1",
            "kind": "LabStatus",
            "running": True,
            "pid": lab.pid,
            "url": lab.url,
            "network": f"{lab.network}.0/24",
            "guests": lab.guests,
            "vms": lab.vms,
            "kubeconfig": str(lab.kubeconfig),
            "stateDir": str(lab.state_dir),
            **({} if faults is None else {"faults": list(faults)}),
        }
    )


def faults_of(given: argparse.Namespace) -> Faults:
    """Read what --fault says; UsageError."""
    faults = Faults()
    for word in given.fault:
        try:
            parse_fault(word, faults)
        except ValueError as exc:
            raise UsageError(f"vmbroker lab: {exc}", next_step="see `vmbroker lab run --help`") from exc
    return faults


def definitions_of(given: argparse.Namespace) -> Definitions | None:
    """Read what --crds names, and look at what --openapi does; UsageError by file and field where that is wrong."""
    from broker.lab.crd_files import read_definitions
    from broker.lab.openapi import read_documents

    try:
        if given.openapi is not None:
            read_documents(given.openapi)
        return None if given.crds is None else read_definitions(given.crds)
    except ValueError as exc:
        raise UsageError(f"vmbroker lab: {exc}", next_step="see `vmbroker lab run --help`") from exc
