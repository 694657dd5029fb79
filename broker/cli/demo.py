"""`vmbroker demo`: the main job on a lab of its own, with the real OpenSSH, ending in a table of what worked."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from broker.clean import Clean, clean, literal
from broker.cli import exits, output
from broker.cli.demo_bench import Bench
from broker.cli.demo_seen import StepFailed
from broker.cli.demo_steps import STEPS, Step
from broker.cli.invocation import Invocation, own_words
from broker.errors import Failed

STEP_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one step: `outcome` is worked, failed or not tried; `took_s` in seconds."""

    step: Step
    outcome: str
    detail: Clean
    took_s: float


def run(invocation: Invocation) -> int:
    """Start a private lab, try every step, print the table; 1 when one of them failed, else 0."""
    folder = Path(tempfile.mkdtemp(prefix="vmb-"))
    environment = {
        **{name: value for name, value in invocation.environ.items() if name not in ("KUBECONFIG", "SSH_AUTH_SOCK")},
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    bench = Bench(words=own_words(), environ=environment, folder=folder, limit_s=STEP_LIMIT_S)
    exits.note("starting a lab: a pretend cluster with real SSH servers, on this machine only")
    try:
        _start_lab(bench)
        results = [_try(step, bench, number) for number, step in enumerate(STEPS, 1)]
    finally:
        bench.vmbroker("lab", "down", lab=False)
        shutil.rmtree(folder, ignore_errors=True)
    _show(results, invocation)
    return 1 if any(result.outcome == "failed" for result in results) else 0


def _start_lab(bench: Bench) -> None:
    started = bench.vmbroker("lab", "up", lab=False)
    if started.returncode != 0:
        raise Failed(
            "the lab did not start",
            cause=clean(started.stderr.strip().splitlines()[-1] if started.stderr.strip() else "it said nothing"),
            next_step="run `vmbroker lab run` to see what it says",
        )


def _try(step: Step, bench: Bench, number: int) -> Result:
    missing = [package for program, package in step.needs if shutil.which(program, path=os.environ.get("PATH")) is None]
    if missing:
        return Result(step=step, outcome="not tried", detail=clean(f"install {', '.join(missing)}"), took_s=0.0)
    exits.note(f"{number}/{len(STEPS)} {step.name}")
    began = time.monotonic()
    try:
        outcome, detail = "worked", clean(step.run(bench))
    except StepFailed as failure:
        outcome, detail = "failed", clean(failure)
    except subprocess.TimeoutExpired:
        outcome, detail = "failed", clean(f"no end within {bench.limit_s:g} s")
    except (KeyError, IndexError, ValueError, OSError) as odd:
        outcome, detail = "failed", clean(f"an answer of another shape: {type(odd).__name__} {odd}")
    return Result(step=step, outcome=outcome, detail=detail, took_s=time.monotonic() - began)


def _show(results: list[Result], invocation: Invocation) -> None:
    if invocation.parsed.text("output") == "json":
        output.json(
            {
                "apiVersion": output.API_VERSION,
                "kind": "DemoResult",
                "items": [
                    {"name": r.step.name, "outcome": r.outcome, "detail": r.detail, "seconds": round(r.took_s, 3)}
                    for r in results
                ],
            }
        )
        return
    columns = [
        output.Column(title="TRIED"),
        output.Column(title="OUTCOME", tint=lambda cell: {"worked": "green", "failed": "red"}.get(cell, "yellow")),
        output.Column(title="SECONDS"),
        output.Column(title="WHAT WAS SEEN", shrinks=True),
    ]
    tried = [r for r in results if r.outcome != "not tried"]
    rows = [(literal(r.step.name), literal(r.outcome), literal(f"{r.took_s:.2f}"), r.detail) for r in tried]
    output.table(columns, rows, color=invocation.settings().output.color)
    for result in results:
        if result.outcome == "not tried":
            output.text(f"not tried: {result.step.name} ({result.detail})")
    worked = sum(r.outcome == "worked" for r in tried)
    output.text(f"{worked} of {len(tried)} worked")
