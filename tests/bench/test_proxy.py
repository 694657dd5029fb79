"""`vmbroker proxy` against a bare loop of the websockets package over the same lab (bars of the design)."""

from __future__ import annotations

import base64
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from broker.paths.dial import portforward_path
from tests.bench import proxy_rounds
from tests.bench.proxy_rounds import Program
from tests.conftest import ROOT, RunningLab

BULK_BYTES = 256 << 20
PORT_OFFSET = 0 if os.geteuid() == 0 else 7000
PYTHON = Path(sys.executable)


@pytest.fixture
def pair(lab: RunningLab, tmp_path: Path) -> Callable[[int], tuple[Program, Program]]:
    """Ours and the bare loop, for one port of the guest `web` in namespace `shop`."""
    kubeconfig = lab.kubeconfig()
    found = yaml.safe_load(kubeconfig.read_text())
    cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
    ca = tmp_path / "ca.pem"
    ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))

    def make(port: int) -> tuple[Program, Program]:
        environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT)}
        url = cluster["server"].replace("https://", "wss://", 1) + portforward_path("vm", "shop", "web", port)
        ours = Program(argv=[str(PYTHON), "-m", "broker.main", "proxy", "vm/web/shop", str(port)], environ=environ)
        bare = Program(
            argv=[str(PYTHON), str(Path(__file__).with_name("proxy_bare.py"))],
            environ={**environ, "BARE_URL": url, "BARE_CA": str(ca), "BARE_TOKEN": user["token"]},
        )
        return ours, bare

    return make


def medians(ours: Program, bare: Program, measure: Callable[[Program], float], rounds: int) -> tuple[float, float]:
    """Medians of both, rounds interleaved."""
    found = [(measure(ours), measure(bare)) for _ in range(rounds)]
    return statistics.median(one for one, _ in found), statistics.median(other for _, other in found)


@pytest.mark.bench
@pytest.mark.parametrize("way", ["down", "up"])
def test_bulk_keeps_up_with_the_bare_loop(pair: Callable[[int], tuple[Program, Program]], way: str) -> None:
    ours, bare = pair((19 if way == "down" else 9) + PORT_OFFSET)
    rate = proxy_rounds.down_rate if way == "down" else proxy_rounds.up_rate
    mine, other = medians(ours, bare, lambda program: rate(program, BULK_BYTES), 5)
    print(f"\nproxy {way}: {mine / 1e6:.0f} MB/s, bare {other / 1e6:.0f} MB/s, ratio {mine / other:.2f} (bar 0.85)")
    assert mine >= 0.85 * other


@pytest.mark.bench
def test_one_byte_round_trip(pair: Callable[[int], tuple[Program, Program]]) -> None:
    ours, bare = pair(7 + PORT_OFFSET)
    mine, other = medians(ours, bare, lambda program: proxy_rounds.round_trip_s(program, 1000), 5)
    print(f"\nround trip: {mine * 1e6:.0f} us, bare {other * 1e6:.0f} us, ratio {mine / other:.2f} (bar 1.3)")
    assert mine <= 1.3 * other


@pytest.mark.bench
def test_cold_start_to_banner(pair: Callable[[int], tuple[Program, Program]]) -> None:
    ours, bare = pair(22 if PORT_OFFSET == 0 else 2222)
    mine, imports, opens = [], [], []
    for _ in range(15):
        mine.append(proxy_rounds.banner_s(ours)[0])
        began = time.perf_counter()
        subprocess.run([str(PYTHON), "-c", "import ssl, websockets.asyncio.client"], check=True)
        imports.append(time.perf_counter() - began)
        opens.append(float(proxy_rounds.banner_s(bare)[1].split()[0]))
    took, bar = statistics.median(mine), statistics.median(imports) + statistics.median(opens)
    print(f"\nstart to banner: {took * 1e3:.0f} ms, imports and open {bar * 1e3:.0f} ms, ratio {took / bar:.2f} (bar 1.5)")
    assert took <= 1.5 * bar
