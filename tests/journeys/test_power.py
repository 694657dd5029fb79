"""A lab in which VMs start, pause, restart and stop while people work with them: kubectl asks, vmbroker and ssh see it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.lab import process
from tests.conftest import RunningLab, need, vmbroker
from tests.journeys.person import Person, until

Json = dict[str, Any]
STOPPED = "vm/stopped/shop"
PAUSED = "vm/paused/shop"
CALLS = "/apis/subresources.kubevirt.io/v1/namespaces/shop"
ALL_PHASES = ["Stopped", "Starting", "Running", "Stopping", "Stopped"]


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[RunningLab]:
    """A quick lab of this test's own, for its VMs change."""
    need("ssh", "openssh-client")
    state_dir = tmp_path / "state"
    started = vmbroker("lab", "up", "--state-dir", str(state_dir), "--pace", "0.2", "--agent-scale", "0.02")
    assert started.returncode == 0, started.stderr
    try:
        yield RunningLab(state_dir=state_dir)
    finally:
        assert vmbroker("lab", "down", "--state-dir", str(state_dir)).returncode == 0
        assert process.find(state_dir) is None


def test_a_vm_lives_through_its_powers(own_lab: RunningLab, kubectl: Path, tmp_path: Path) -> None:
    person = Person(lab=own_lab, home=tmp_path)
    call = _Caller(kubectl=kubectl, person=person)
    with call.watching() as watch:
        call.power("virtualmachines/stopped/start")
        waited = person.vmbroker("wait", STOPPED, "--for", "ssh")
        assert waited.returncode == 0, waited.stderr
        told = person.ssh("hostname", target=STOPPED)
        assert (told.returncode, told.stdout) == (0, b"stopped\n"), told.stderr
        assert person.vmbroker("wait", STOPPED, "--for", "agent").returncode == 0
        until(lambda: call.vmi()["status"]["guestOSInfo"].get("id") == "fedora", "the agent's word of the system")

        first = call.vmi()
        call.power("virtualmachines/stopped/restart")
        until(lambda: call.uid() not in ("", first["metadata"]["uid"]), "another instance")
        assert person.vmbroker("wait", STOPPED, "--for", "ssh").returncode == 0
        second = call.vmi()
        assert second["status"]["interfaces"][0]["ipAddress"] != first["status"]["interfaces"][0]["ipAddress"]
        # The disk is the same: the host key too, and no question is asked.
        assert person.ssh("true", target=STOPPED).returncode == 0

        address = second["status"]["interfaces"][0]["ipAddress"]
        port = 22 if _answers(address, 22) else 2222
        call.power("virtualmachineinstances/stopped/pause")
        until(lambda: call.printable() == "Paused", "Paused")
        until(lambda: not _answers(address, port), "the port to hang")
        paused = person.ssh("true", target=STOPPED)
        assert paused.returncode == 255 and b"vm-paused" in paused.stderr
        call.power("virtualmachineinstances/stopped/unpause")
        until(lambda: call.printable() == "Running" and _answers(address, port), "the guest to go on")
        call.power("virtualmachineinstances/stopped/softreboot")
        assert person.vmbroker("wait", STOPPED, "--for", "ssh").returncode == 0

        call.power("virtualmachines/stopped/stop")
        until(lambda: call.uid() == "", "the end of the instance")
        stopped = person.ssh("true", target=STOPPED)
        assert stopped.returncode == 255 and b"vm-stopped" in stopped.stderr
        with pytest.raises(OSError):
            socket.create_connection((address, port), timeout=5)
        refused = call.run("replace", "--raw", f"{CALLS}/virtualmachines/stopped/stop", "-f", str(call.empty()))
        assert refused.returncode != 0 and b"VM is not running" in refused.stderr
        seen = watch.seen(until_last="Stopped")
    assert _without_repeats(seen)[:3] == ALL_PHASES[:3]
    assert _without_repeats(seen)[-2:] == ALL_PHASES[-2:]
    events = call.run("get", "events", "-n", "shop", "-o", "custom-columns=R:.reason").stdout.decode()
    assert {"SuccessfulCreate", "SuccessfulDelete"} <= set(events.split())


def test_what_is_advised_for_a_paused_vm_works(own_lab: RunningLab, kubectl: Path, tmp_path: Path) -> None:
    person = Person(lab=own_lab, home=tmp_path)
    call = _Caller(kubectl=kubectl, person=person)
    refused = person.ssh("true", target=PAUSED)
    assert refused.returncode == 255 and b"unpause it: virtctl unpause vm paused -n shop" in refused.stderr
    call.power("virtualmachineinstances/paused/unpause")
    waited = person.vmbroker("wait", PAUSED, "--for", "ssh")
    assert waited.returncode == 0, waited.stderr
    told = person.ssh("hostname", target=PAUSED)
    assert (told.returncode, told.stdout) == (0, b"paused\n"), told.stderr


class _Watch:
    """`kubectl get vm -w` of one VM, into a file."""

    def __init__(self, child: subprocess.Popen[bytes], file: Path) -> None:
        self._child = child
        self._file = file

    def __enter__(self) -> _Watch:
        until(lambda: bool(self._states()), "the watch's first word")
        return self

    def __exit__(self, *_: object) -> None:
        self._child.terminate()
        self._child.wait(timeout=10)

    def seen(self, *, until_last: str) -> list[str]:
        """The states shown so far, once the last one is shown twice or more in a row."""
        until(lambda: self._states()[-1] == until_last, f"{until_last} in the watch")
        return self._states()

    def _states(self) -> list[str]:
        return self._file.read_text().split()


class _Caller:
    """kubectl as the person, with the stopped VM of the seed."""

    def __init__(self, *, kubectl: Path, person: Person) -> None:
        self._kubectl = kubectl
        self._person = person

    def empty(self) -> Path:
        """A file with an empty JSON object."""
        path = self._person.home / "empty.json"
        path.write_text("{}")
        return path

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run kubectl to its end."""
        return self._person.run([str(self._kubectl), *words])

    def power(self, path: str) -> None:
        """PUT a lifecycle subresource."""
        done = self.run("replace", "--raw", f"{CALLS}/{path}", "-f", str(self.empty()))
        assert done.returncode == 0, done.stderr

    def watching(self) -> _Watch:
        """Watch the VM's status from now on."""
        file = self._person.home / "watched"
        words = ["get", "vm", "stopped", "-n", "shop", "-w", "--no-headers", "-o", "custom-columns=S:.status.printableStatus"]
        with file.open("wb") as out:
            child = subprocess.Popen([str(self._kubectl), *words], stdout=out, env=self._person.environ)
        return _Watch(child, file)

    def vmi(self) -> Json:
        """The instance."""
        done = self.run("get", "vmi", "stopped", "-n", "shop", "-o", "json")
        assert done.returncode == 0, done.stderr
        found: Json = json.loads(done.stdout)
        return found

    def uid(self) -> str:
        """The instance's uid, empty for none."""
        words = ("get", "vmi", "stopped", "-n", "shop", "-o", "jsonpath={.metadata.uid}", "--ignore-not-found")
        return self.run(*words).stdout.decode()

    def printable(self) -> str:
        """The VM's printableStatus."""
        return self.run("get", "vm", "stopped", "-n", "shop", "-o", "jsonpath={.status.printableStatus}").stdout.decode()


def _answers(address: str, port: int) -> bool:
    """Whether an SSH server greets there, soon."""
    try:
        with socket.create_connection((address, port), timeout=0.5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _without_repeats(states: list[str]) -> list[str]:
    return [state for index, state in enumerate(states) if index == 0 or states[index - 1] != state]
