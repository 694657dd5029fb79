"""The lab as a process: up, down, status, kubeconfig, labs side by side, and labs that end with those who asked for them."""

from __future__ import annotations

import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from broker.errors import Failed, SettingsError
from broker.lab import process, running
from tests.conftest import ROOT, RunningLab, vmbroker

LIMIT_S = 20.0


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory of this test's own; what runs in it is stopped afterwards."""
    folder = tmp_path / "state"
    yield folder
    if folder.exists():
        process.stop(folder)


def until(is_done: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + LIMIT_S
    while not is_done():
        assert time.monotonic() < end
        time.sleep(0.01)


def lab_of(state: Path) -> process.RunningLab:
    """The lab that runs in a state directory."""
    found = process.find(state)
    assert found is not None
    return found


def version_through(kubeconfig: Path) -> str:
    """What /version says to a user by a kubeconfig; HTTPError where the credentials are not good."""
    told = yaml.safe_load(kubeconfig.read_text())
    cluster, user = told["clusters"][0]["cluster"], told["users"][0]["user"]
    import base64

    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    request = urllib.request.Request(cluster["server"] + "/apis/kubevirt.io/v1/virtualmachines?limit=1")
    request.add_header("Authorization", f"Bearer {user['token']}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=LIMIT_S) as answer:
        return str(json.load(answer)["kind"])


def descendants_in(folder: Path) -> list[str]:
    """Living processes whose command line names a folder."""
    done = subprocess.run(["ps", "-ewwo", "stat,args"], capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Z")]
    return [line for line in lines if str(folder) in line and "ps -eww" not in line]


def test_up_status_and_down_tell_and_do(state: Path) -> None:
    where = ("--state-dir", str(state))
    assert vmbroker("lab", "status", *where).returncode == 3
    started = time.monotonic()
    up = vmbroker("lab", "up", *where)
    assert up.returncode == 0, up.stderr
    assert time.monotonic() - started < 10
    assert "vmbroker lab down" in up.stdout
    told = json.loads(vmbroker("lab", "status", "-o", "json", *where).stdout)
    assert (told["running"], told["kind"], told["apiVersion"]) == (True, "LabStatus", "vmbroker/v1")
    again = vmbroker("lab", "up", *where)
    assert (again.returncode, told["url"] in again.stdout) == (0, True)
    assert version_through(Path(told["kubeconfig"])) == "VirtualMachineList"
    down = vmbroker("lab", "down", *where)
    assert down.returncode == 0
    assert process.process_identity(told["pid"]) is None
    assert descendants_in(state) == []
    assert vmbroker("lab", "down", *where).stdout.strip() == "no lab runs"


def test_what_is_secret_is_for_its_owner_only(lab: RunningLab) -> None:
    assert stat.S_IMODE(lab.state_dir.stat().st_mode) == 0o700
    for path in (
        lab.kubeconfig("admin"),
        lab.kubeconfig("dana"),
        lab.state_dir / "ssh" / "id_ed25519",
        lab.state_dir / "ca.key",
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_kubeconfigs_are_printed_and_named(lab: RunningLab) -> None:
    where = ("--state-dir", str(lab.state_dir))
    printed = vmbroker("lab", "kubeconfig", "--user", "carol", *where)
    assert yaml.safe_load(printed.stdout)["current-context"] == "vmbroker-lab"
    assert yaml.safe_load(printed.stdout) == yaml.safe_load(lab.kubeconfig("carol").read_text())
    wrong = vmbroker("lab", "kubeconfig", "--user", "mallory", *where)
    assert wrong.returncode == 3
    assert "carol" in wrong.stderr


def test_a_token_is_good_for_what_its_user_may_do(lab: RunningLab) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        version_through(lab.kubeconfig("norights"))
    assert refused.value.code == 403


def test_a_client_certificate_opens_the_api(lab: RunningLab, kubectl: Path) -> None:
    words = [str(kubectl), "--kubeconfig", str(lab.kubeconfig("dana")), "get", "virtualmachines.kubevirt.io", "-o", "name"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert "virtualmachine.kubevirt.io/web" in done.stdout.split()
    others = subprocess.run([*words, "-n", "infra"], capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert 'User "dana" cannot list resource "virtualmachines"' in others.stderr


def test_labs_stand_side_by_side(lab: RunningLab, state: Path) -> None:
    up = vmbroker("lab", "up", "--state-dir", str(state))
    assert up.returncode == 0, up.stderr
    mine, theirs = lab_of(state), lab_of(lab.state_dir)
    assert mine.network != theirs.network
    assert mine.url != theirs.url
    with pytest.raises(ssl.SSLError):
        mixed = state / "mixed.yaml"
        told = yaml.safe_load(mine.kubeconfig.read_text())
        told["clusters"][0]["cluster"]["server"] = theirs.url
        mixed.write_text(yaml.safe_dump(told))
        try:
            version_through(mixed)
        except urllib.error.URLError as exc:
            raise exc.reason if isinstance(exc.reason, ssl.SSLError) else exc from exc


def test_a_second_lab_in_the_same_directory_is_refused(lab: RunningLab) -> None:
    done = vmbroker("lab", "run", "--state-dir", str(lab.state_dir))
    assert done.returncode == 1
    assert "runs in this state directory already" in done.stderr
    assert process.find(lab.state_dir) is not None


def test_a_killed_lab_takes_its_guests_along_and_is_no_lab_any_more(state: Path) -> None:
    assert vmbroker("lab", "up", "--state-dir", str(state)).returncode == 0
    first = lab_of(state)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: process.find(state) is None)
    until(lambda: descendants_in(state) == [])
    assert vmbroker("lab", "status", "--state-dir", str(state)).returncode == 3
    assert vmbroker("lab", "up", "--state-dir", str(state)).returncode == 0
    assert lab_of(state).pid != first.pid


def test_the_address_outlives_a_lab(state: Path) -> None:
    """Kubeconfigs and host keys of the last time keep their meaning."""
    assert vmbroker("lab", "up", "--state-dir", str(state)).returncode == 0
    before, key = lab_of(state).url, (state / "ssh" / "id_ed25519").read_bytes()
    assert vmbroker("lab", "down", "--state-dir", str(state)).returncode == 0
    assert vmbroker("lab", "up", "--state-dir", str(state)).returncode == 0
    assert (lab_of(state).url, (state / "ssh" / "id_ed25519").read_bytes()) == (before, key)


HOLDER = (
    "import sys; from pathlib import Path; from broker.lab import process; print(process.ensure(Path(sys.argv[1])), flush=True)"
)


def test_a_lab_for_one_command_ends_when_the_last_of_them_has_ended(state: Path) -> None:
    """Also where the command has become another program by exec, as ssh does."""
    stays = HOLDER + "; import os; os.execvp('cat', ['cat'])"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    first = subprocess.Popen([sys.executable, "-c", stays, str(state)], **pipes)  # type: ignore[call-overload]
    second = subprocess.Popen([sys.executable, "-c", stays, str(state)], **pipes)  # type: ignore[call-overload]
    assert first.stdout.readline() == second.stdout.readline() == f"{state / 'kubeconfigs' / 'admin.yaml'}\n"
    lab = lab_of(state)
    first.communicate()
    assert process.is_held(state)
    assert not process.is_abandoned(state)
    assert process.find(state) == lab
    second.communicate()
    until(lambda: process.process_identity(lab.pid) is None)


def test_a_lab_that_was_brought_up_stays_after_a_command(state: Path) -> None:
    assert vmbroker("lab", "up", "--state-dir", str(state)).returncode == 0
    done = subprocess.run([sys.executable, "-c", HOLDER, str(state)], capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    lab = lab_of(state)
    assert process.is_held(state)
    assert process.find(state) == lab


def test_a_lab_in_the_foreground_ends_by_ctrl_c(state: Path) -> None:
    words = [sys.executable, "-m", "broker.main", "lab", "run", "--state-dir", str(state)]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stderr is not None
    assert "the lab is ready" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    _, rest = child.communicate(timeout=LIMIT_S)
    assert (child.returncode, "Traceback" in rest) == (0, False)
    assert descendants_in(state) == []


def test_a_lab_that_still_starts_is_seen_and_ended(state: Path) -> None:
    words = [sys.executable, "-m", "broker.main", "lab", "run", "--held", "--state-dir", str(state)]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    with child:
        until(lambda: running.holder(state) is not None)
        assert process.find(state) is None
        down = vmbroker("lab", "down", "--state-dir", str(state))
        assert (down.returncode, down.stdout) == (0, f"the lab is down (process {child.pid})\n")
        _, told = child.communicate(timeout=LIMIT_S)
    assert (child.returncode in (0, -signal.SIGTERM), told) == (True, "")
    assert descendants_in(state) == []


def test_ctrl_c_at_the_start_leaves_nothing_behind(state: Path) -> None:
    words = [sys.executable, "-m", "broker.main", "lab", "up", "--state-dir", str(state)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as up:
        until(lambda: running.holder(state) is not None)
        up.send_signal(signal.SIGINT)
        _, told = up.communicate(timeout=LIMIT_S)
    if up.returncode == 130:  # else it was quicker than we
        assert "Traceback" not in told
        until(lambda: running.holder(state) is None)
        assert not process.is_held(state)


def test_a_lab_that_cannot_start_says_why(state: Path) -> None:
    state.mkdir()
    (state / "guests").write_text("in the way")
    with pytest.raises(Failed) as failed:
        process.bring_up(state, process.FOR_GOOD, [])
    assert "guests" in (failed.value.cause or "")
    assert not process.is_held(state)


def test_a_state_directory_that_is_no_directory_is_a_matter_of_settings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError):
        process.bring_up(tmp_path / "file", process.FOR_GOOD, [])


@pytest.mark.parametrize(
    "words",
    [("up", "--vms", "10001"), ("up", "--pong-deadline", "0"), ("up", "--fault", "weather"), ("sideways",), ("status", "more")],
)
def test_a_wrong_word_is_a_usage_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = vmbroker("lab", *words, *(() if words[0] == "sideways" else ("--state-dir", str(tmp_path / "s"))))
    assert done.returncode == 2, done.stderr
    assert "next:" in done.stderr


def test_faults_and_fleet_are_as_asked_for(state: Path) -> None:
    up = vmbroker("lab", "up", "--vms", "30", "--fault", "virt-api-unreachable=unavailable", "--state-dir", str(state))
    assert up.returncode == 0, up.stderr
    assert lab_of(state).vms > 44
    done = vmbroker("proxy", "vm/web/shop", "22", "--kubeconfig", str(lab_of(state).kubeconfig))
    assert done.returncode not in (0, 1)
    assert "service unavailable" in done.stderr


def test_a_folder_of_somebody_elses_files_is_no_state_directory(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("mine")
    tmp_path.chmod(0o755)
    done = vmbroker("lab", "up", "--state-dir", str(tmp_path))
    assert done.returncode == 2
    assert (sorted(path.name for path in tmp_path.iterdir()), tmp_path.stat().st_mode & 0o777) == (["letter"], 0o755)
