"""What tests share: the shared folder, a current kubectl, a running lab, and CI's rule that nothing is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from broker.lab import process

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("fuzz", max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("suite", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave benchmarks and soaks to their own make targets, without calling them skipped."""
    asked = str(config.option.markexpr)
    left = [item for item in items if any(mark in asked for mark in ("bench", "soak")) or not _is_long(item)]
    dropped = [item for item in items if item not in left]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = left


def _is_long(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("bench", "soak"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turn a skip into a failure where CI runs: there everything is installed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if os.environ.get("CI") == "true" and report.skipped and not item.get_closest_marker("platform"):
        report.outcome = "failed"
        report.longrepr = f"CI skips nothing: {item.nodeid}: {report.longrepr}"


def need(program: str, package: str) -> str:
    """Return a program's path, or skip with the name of the package that brings it."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not here (package {package})")
    return found


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of captures, schemas and references beside the project; a clone without it skips."""
    folder = ROOT.parent / "shared"
    if not (folder / "captures").is_dir():
        pytest.skip("../shared is not beside this clone")
    return folder


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """A kubectl of 1.33 or newer: the one that `make test` put into .tools, else the one on PATH."""
    for candidate in sorted((ROOT / ".tools").glob("kubectl-1.*")):
        return candidate
    if (ROOT.parent / "shared" / "tools" / "kubectl.sh").exists() and sys.platform == "linux":
        script = ROOT.parent / "shared" / "tools" / "kubectl.sh"
        made = subprocess.run(["bash", str(script), str(ROOT / ".tools")], capture_output=True, text=True, check=False)
        if made.returncode == 0:
            return Path(made.stdout.strip().splitlines()[-1])
    pytest.skip("no current kubectl: run `make test` beside ../shared, which brings one")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLab:
    """A lab in a process of its own, for one test session."""

    state_dir: Path

    def kubeconfig(self, user: str = "admin") -> Path:
        """Path of the kubeconfig of one of the lab's users."""
        done = vmbroker("lab", "kubeconfig", "--user", user, "--path", "--state-dir", str(self.state_dir))
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip())


def vmbroker(
    *words: str, env: dict[str, str] | None = None, stdin: str | None = None, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run vmbroker as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "broker.main", *words],
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **(env or {})},
        cwd=ROOT,
        check=False,
    )


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A running lab with its whole seed, shared by the session; tests do not change it."""
    state_dir = tmp_path_factory.mktemp("lab") / "state"
    started = vmbroker("lab", "up", "--state-dir", str(state_dir))
    assert started.returncode == 0, started.stderr
    # Wanted by this process instead of for good: a killed test run leaves no lab behind.
    process.hold(state_dir, str(os.getpid()))
    process.release(state_dir, process.FOR_GOOD)
    try:
        yield RunningLab(state_dir=state_dir)
    finally:
        stopped = vmbroker("lab", "down", "--state-dir", str(state_dir))
        assert stopped.returncode == 0, stopped.stderr
