"""A process that has loaded vmbroker once and forks a child on two fresh terminals for each command line it is given.

Run as `python -P -m tests.hostile.zygote`; one JSON line in, one out. Each child is a process of its own with real PTYs; only
the imports are shared, which makes hundreds of runs affordable.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import pkgutil
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import NoReturn

from tests.hostile.terminal import Seen, attach, collect, open_terminals


def main() -> None:
    """Serve until stdin ends."""
    import broker.main

    for found in pkgutil.walk_packages(broker.__path__, "broker."):
        if not found.name.startswith("broker.lab."):
            importlib.import_module(found.name)
    for name in ("aiohttp", "yaml", "broker.lab.command"):
        importlib.import_module(name)
    from broker.kube.library import load_transport

    load_transport()
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        seen = run(asked["words"], asked["env"], asked["limit_s"])
        answer = {
            "status": seen.status,
            "stdout": base64.b64encode(seen.stdout).decode(),
            "stderr": base64.b64encode(seen.stderr).decode(),
            "peak_bytes": seen.peak_bytes,
            "took_s": seen.took_s,
        }
        print(json.dumps(answer), flush=True)


def run(words: Sequence[str], env: Mapping[str, str], limit_s: float) -> Seen:
    """Fork one run of vmbroker and return what it wrote on its terminals."""
    terminals = open_terminals()
    pid = os.fork()
    if pid == 0:
        _be(words, env, terminals)
    return collect(pid, terminals, limit_s)


def _be(words: Sequence[str], env: Mapping[str, str], terminals: tuple[tuple[int, int], tuple[int, int]]) -> NoReturn:
    status = 99
    try:
        os.setsid()
        attach(terminals)
        os.environ.clear()
        os.environ.update(env)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        from broker.main import main as vmbroker

        status = vmbroker(list(words))
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    os._exit(status)


if __name__ == "__main__":
    main()
