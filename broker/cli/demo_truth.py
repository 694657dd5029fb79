"""Steps of the demo that ask why: what is told where a way cannot work, and what `wait` and `doctor` say."""

from __future__ import annotations

import json

from broker.cli.demo_bench import WEB, Bench
from broker.cli.demo_seen import check, ok

_FAULTS = (
    ("vm/stopped/shop", "vm-stopped"),
    ("vm/paused/shop", "vm-paused"),
    ("vm/noaddress/team-a", "no-address"),
    ("vm/closed/team-a", "port-not-listed"),
    ("vm/silent/team-a", "port-closed"),
    ("vm/tenant/team-b", "primary-udn"),
    ("vm/web/team-b", "wrong-namespace"),
)
"""Machines of the lab's seed that cannot be reached, and the code of the true cause."""


def name_causes(bench: Bench) -> str:
    """See that each machine that cannot be reached is told with its own cause."""
    seen: list[str] = []
    for target, code in _FAULTS:
        done = bench.vmbroker("-o", "json", "proxy", target)
        said = json.loads(done.stderr.strip().splitlines()[-1])
        check(said["code"] == code and done.stdout == "", f"{target}: {said['code']}, not {code}")
        seen.append(code)
    return ", ".join(seen)


def explain_rights(bench: Bench) -> str:
    """See that a missing right is named."""
    path = ok(bench.vmbroker("lab", "kubeconfig", "--user", "carol", "--path", lab=False)).stdout.strip()
    done = bench.vmbroker("--kubeconfig", path, "proxy", WEB, lab=False)
    check(done.returncode == 4 and "portforward" in done.stderr, f"{done.returncode}: {done.stderr}")
    return done.stderr.splitlines()[0]


def wait_for_ssh(bench: Bench) -> str:
    """Wait for a machine that answers, and in vain for one that does not."""
    done = ok(bench.vmbroker("wait", WEB, "--for", "ssh", "--timeout", "20"))
    late = bench.vmbroker("wait", "vm/stopped/shop", "--for", "running", "--timeout", "0.3")
    check(late.returncode == 6 and "seen last" in late.stderr, f"{late.returncode}: {late.stderr}")
    return done.stdout.strip()


def consult_doctor(bench: Bench) -> str:
    """Let the doctor look at a machine that is well, and at one that is not."""
    well = json.loads(ok(bench.vmbroker("doctor", WEB, "-o", "json")).stdout)
    ill = bench.vmbroker("doctor", "vm/paused/shop", "-o", "json")
    failed = [each["name"] for each in json.loads(ill.stdout)["checks"] if each["state"] == "failed"]
    check(ill.returncode == 1 and bool(failed), f"{ill.returncode}: {failed}")
    return f"{len(well['checks'])} checks of a VM that is well; of a paused one it finds: {', '.join(failed)}"
