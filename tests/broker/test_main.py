"""The program as it is typed: help, errors, exit statuses, and that no traceback gets out."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from broker.cli.commands import COMMANDS, SHOWN
from tests.conftest import ROOT, vmbroker


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment with no kubeconfig, no settings and no cluster."""
    return {
        "HOME": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "none"),
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "KUBERNETES_SERVICE_HOST": "",
    }


def test_alone_it_prints_its_help() -> None:
    done = vmbroker()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == vmbroker("--help").stdout == vmbroker("help").stdout
    assert all(f"  {command.name} " in done.stdout for command in SHOWN)
    assert "__complete" not in done.stdout


def test_the_lab_alone_prints_its_help() -> None:
    done = vmbroker("lab")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: vmbroker lab ")


@pytest.mark.parametrize("name", [command.name for command in SHOWN if command.reading != "raw"])
def test_each_command_has_help_with_examples_and_exit_statuses(name: str) -> None:
    done = vmbroker(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: vmbroker {name}" in done.stdout
    assert "Examples:" in done.stdout
    assert "Exit statuses:" in done.stdout


def test_every_module_of_the_table_is_there() -> None:
    for command in COMMANDS:
        if command.module and command.name != "demo":
            assert (ROOT / "broker" / "cli" / f"{command.module}.py").exists(), command.name


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["vsm"], 2, "error: unknown command 'vsm' [unknown-command]\nnext: did you mean 'vms'?\n"),
        (["proxy", "web;id"], 2, "error: 'web;id' is not a VM's name [usage]\n"),
        (["proxy", "web", "0"], 2, "error: '0' is not a port [usage]\n"),
        (["show", "pod/web"], 2, "error: 'pod' before '/' is no type of VM [usage]\n"),
        (["ssh", "-oProxyCommand=id"], 255, "has no output"),
        (["ssh", "--", "-oProxyCommand=id"], 255, "begins with a dash [usage]"),
        (["ssh", "a b@web"], 255, "'a b' is not a user name"),
        (["ssh", "web", "-p", "99999"], 255, "'99999' is not a port [usage]"),
        (["scp", "a", "b"], 255, "no operand names a VM [usage]"),
        (["sftp", "we%b"], 255, "'we%b' is not a VM's name [usage]"),
        (["ssh-for-rsync", "-l", "x"], 255, "no TARGET stands among the arguments [usage]"),
        (["config", "shwo"], 2, "config knows no 'shwo' [usage]"),
        (
            ["config", "show", "--set", "api.page_size=x"],
            2,
            "--set: api.page_size takes a whole number from 1 to 10000, not 'x'",
        ),
        (["version", "-n", "Bad_Name", "--server"], 0, "no server version: 'Bad_Name' is not a namespace"),
    ],
)
def test_wrong_input_ends_with_its_status_and_says_what_to_do(
    nowhere: dict[str, str], words: list[str], status: int, text: str
) -> None:
    done = vmbroker(*words, env=nowhere)
    assert done.returncode == status, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    if words[0] != "version":
        assert done.stdout == ""


def test_errors_are_one_json_object_where_json_was_asked_for(nowhere: dict[str, str]) -> None:
    done = vmbroker("vms", "-o", "json", "--bad", env=nowhere)
    assert (done.returncode, done.stdout) == (2, "")
    assert json.loads(done.stderr)["code"] == "unknown-flag"
    before_ssh = vmbroker("ssh", "we;b", "-o", "json", env=nowhere)
    error = json.loads(before_ssh.stderr)
    assert (before_ssh.returncode, error["exitStatus"], error["kind"]) == (255, 255, "Error")


def test_settings_of_the_user_are_read_and_their_mistakes_named(nowhere: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "xdg" / "vmbroker"
    folder.mkdir(parents=True)
    path = folder / "vmbroker.toml"
    path.write_text('[stream]\nhandshake_s = "7 s"\n')
    done = vmbroker("config", "show", "--origin", env=nowhere)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("stream.handshake_s")]
    assert line.split() == ["stream.handshake_s", "7", "s", "user:", f"{path}:2"]
    assert vmbroker("config", "check", env=nowhere).stdout == f"settings are good: {path}\n"
    path.write_text("[stream]\nhandshake = 7\n")
    done = vmbroker("config", "show", env=nowhere)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: {path}:2: unknown key 'stream.handshake' [settings]",
        "next: did you mean 'stream.handshake_s'?",
    ]
    assert vmbroker("config", "check", env=nowhere).returncode == 2


def test_settings_as_json_tell_value_and_origin(nowhere: dict[str, str]) -> None:
    done = vmbroker("config", "show", "-o", "json", env={**nowhere, "VMBROKER_API_PAGE_SIZE": "250"})
    items = {item["key"]: item for item in json.loads(done.stdout)["items"]}
    assert items["api.page_size"] == {
        "key": "api.page_size",
        "value": 250,
        "origin": {"layer": "environment", "place": "VMBROKER_API_PAGE_SIZE"},
    }


def test_a_reader_that_goes_away_is_no_failure_to_talk_about() -> None:
    script = f"{sys.executable} -m broker.main help ssh | true; exit ${{PIPESTATUS[0]}}"
    many = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert many.stderr == ""
    assert many.returncode in (0, 141)


def test_as_a_kubectl_plugin_it_calls_itself_what_the_user_types(tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-vmbroker"
    plugin.write_text(f"#!{sys.executable}\nimport sys\nfrom broker.main import main\nsys.exit(main())\n")
    plugin.chmod(0o755)
    done = subprocess.run([str(plugin), "--help"], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("usage: kubectl vmbroker ")
    assert "  kubectl vmbroker demo" in done.stdout


def test_a_defect_of_ours_is_one_line_and_its_traceback_only_for_debug(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom broker import main\n"
        "def bad(words, program):\n    raise RuntimeError('token=Zk9CANARY7 \\x1b[2J')\n"
        "main._command = bad\nsys.exit(main.main(sys.argv[1:]))\n"
    )
    done = subprocess.run([sys.executable, str(script), "vms"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: vmbroker met a defect of its own: RuntimeError [defect]\n")
    assert "Traceback" not in done.stderr
    assert "CANARY" not in done.stderr
    assert "\x1b" not in done.stderr


def test_the_reference_in_the_repository_is_what_the_program_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "broker.cli.reference", "--check", "docs/reference.md"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.platform
@pytest.mark.parametrize("words", [("--help",), ("version",), ("config", "show")])
def test_a_full_disk_behind_stdout_is_told(words: tuple[str, ...], nowhere: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "broker.main", *words], stdout=full, stderr=subprocess.PIPE, text=True, env=nowhere, cwd=ROOT
        )
    assert done.returncode == 1
    assert "the output could not be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words", [("--help",), ("version",), ("config", "show"), ("config", "path", "-o", "json"), ("vms", "--help")]
)
@pytest.mark.parametrize("how", [">&-", "1</dev/null"])
def test_a_stdout_that_takes_nothing_is_no_success(words: tuple[str, ...], how: str, nowhere: dict[str, str]) -> None:
    line = " ".join(map(shlex.quote, [sys.executable, "-m", "broker.main", *words]))
    done = subprocess.run(
        ["sh", "-c", f"{line} {how}"], capture_output=True, text=True, timeout=60, env=nowhere, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    assert "standard output is closed" in done.stderr
    assert "defect" not in done.stderr
    assert "Exception ignored" not in done.stderr
