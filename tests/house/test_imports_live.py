"""The cold path after a real connection: still no event loop and no generated client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import RunningLab
from tests.house.test_imports import PROBE
from tests.house.tree import ROOT


def test_a_proxy_that_carried_bytes_loaded_neither(tmp_path: Path, lab: RunningLab) -> None:
    seen = tmp_path / "seen.json"
    words = ["--kubeconfig", str(lab.kubeconfig()), "proxy", "vm/web/shop"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**os.environ, "WORDS": json.dumps(words), "SEEN": str(seen)},
        cwd=ROOT,
        input=b"not ssh\r\n",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.startswith(b"SSH-2.0-"), done.stderr
    assert set(json.loads(seen.read_text())) & {"asyncio", "kubernetes_asyncio", "aiohttp", "asyncssh", "cryptography"} == set()
