"""`vmbroker vms`: the list of VMs as a table, names, JSON or YAML."""

from __future__ import annotations

import time
from functools import lru_cache

from broker.clean import Clean, clean
from broker.cli import exits, output
from broker.cli.invocation import Invocation
from broker.cli.reading import listed

_TINTS = {
    "Running": "green",
    "Starting": "yellow",
    "Provisioning": "yellow",
    "Migrating": "yellow",
    "Stopping": "yellow",
    "Terminating": "yellow",
    "WaitingForVolumeBinding": "yellow",
    "Paused": "yellow",
    "Stopped": "dim",
    "Succeeded": "dim",
}
_SHRINKING = frozenset({"NAME", "NODE", "ADDRESSES", "NETWORKS", "GUEST OS", "USER FROM"})


def run(invocation: Invocation) -> int:
    """Print the VMs; an empty list is a note and exit status 0."""
    from broker.actions.vm_rows import columns, list_to_json

    parsed = invocation.parsed
    wide = parsed.output in ("wide", "json", "yaml")
    listing = listed(invocation, all_namespaces=parsed.has("all_namespaces"), selector=parsed.text("selector"), wide=wide)
    found = listing.found
    exits.warn(clean(warning) for warning in found.warnings)
    if parsed.output in ("json", "yaml"):
        (output.json if parsed.output == "json" else output.yaml)(list_to_json(found))
        return 0
    if not found.rows:
        exits.note("no VMs" + (f" in namespace {clean(found.namespace)}" if found.namespace else " in any namespace"))
        return 0
    if parsed.output == "name":
        output.names([clean(row.target, 600) for row in found.rows])
        return 0
    now_s = time.time()
    chosen = [
        column
        for column in columns(wide=wide)
        if column.title != "NAMESPACE" or parsed.has("all_namespaces") or parsed.output == "wide"
    ]
    heads = [
        output.Column(title=c.title, shrinks=c.title in _SHRINKING, tint=tint if c.title == "STATUS" else None) for c in chosen
    ]
    # Most cells repeat (states, nodes, networks): each text is cleaned once.
    cleaned = lru_cache(maxsize=4096)(clean)
    takers = [column.cell for column in chosen]
    rows = [[cleaned(cell(row, now_s)) for cell in takers] for row in found.rows]
    output.table(heads, rows, color=listing.settings.output.color)
    return 0


def tint(status: Clean) -> str:
    """Return the colour of a status word; what is not known to be well or resting is red."""
    return _TINTS.get(status, "red" if status else "")
