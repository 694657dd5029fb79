"""`vmbroker version`: ours, Python's, and the cluster's where it answers soon enough."""

from __future__ import annotations

import platform
from importlib import metadata

from broker.clean import clean
from broker.cli import exits, output
from broker.cli.invocation import Invocation
from broker.errors import BrokerError, TimedOut

SERVER_S = 3.0
"""How long the cluster may take to tell its version, everything included."""


def run(invocation: Invocation) -> int:
    """Print the versions; a cluster that does not answer is a note, not a failure."""
    parsed = invocation.parsed
    known: dict[str, str | None] = {"client": metadata.version("vmbroker"), "python": platform.python_version()}
    if parsed.has("server"):
        known |= _server(invocation)
    if parsed.output in ("json", "yaml"):
        document = {"apiVersion": output.API_VERSION, "kind": "Version", **known}
        (output.json if parsed.output == "json" else output.yaml)(document)
        return 0
    output.fields([(name, clean(value or "-")) for name, value in known.items()])
    return 0


def _server(invocation: Invocation) -> dict[str, str | None]:
    """Ask in a thread that is left behind when it takes too long: name look-ups cannot be interrupted."""
    import queue
    import threading

    answers: queue.SimpleQueue[dict[str, str | None] | BrokerError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_asked(invocation))
        except BrokerError as error:
            answers.put(error)
        except Exception as error:  # in a thread nobody else would tell it
            answers.put(exits.defect(error, debug=invocation.parsed.has("debug")))

    threading.Thread(target=ask, name="version", daemon=True).start()
    answer: dict[str, str | None] | BrokerError
    try:
        answer = answers.get(timeout=SERVER_S)
    except queue.Empty:
        answer = TimedOut(f"the cluster did not answer within {SERVER_S:g} s")
    if isinstance(answer, BrokerError):
        exits.note(f"no server version: {answer.message} [{answer.code}]", matters=True)
        return {"kubernetes": None, "kubevirt": None}
    return answer


def _asked(invocation: Invocation) -> dict[str, str | None]:
    from broker.kube.cold import ColdClient

    client = ColdClient(invocation.endpoint(stdin_is_ours=False))
    kubernetes = _git_version(client.get("/version"))
    try:
        kubevirt = _git_version(client.get("/apis/subresources.kubevirt.io/v1/version"))
    except BrokerError as error:
        exits.note(f"no KubeVirt version: {error.message} [{error.code}]", matters=True)
        kubevirt = None
    return {"kubernetes": kubernetes, "kubevirt": kubevirt}


def _git_version(body: bytes) -> str | None:
    import json

    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    version = document.get("gitVersion") if isinstance(document, dict) else None
    return clean(version, 64) if isinstance(version, str) else None
