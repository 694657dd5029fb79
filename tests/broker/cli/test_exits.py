"""Words on stderr."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator

import pytest

from broker.cli import exits
from broker.errors import GuestUnready


@pytest.fixture
def _quiet_logger() -> Iterator[None]:
    logger = logging.getLogger("broker")
    handlers, level, propagates = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers, logger.propagate = handlers, propagates
    logger.setLevel(level)


def test_an_error_is_at_most_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    exits.report(
        GuestUnready("VM web is stopped", code="vm-stopped", cause="runStrategy Halted", next_step="start it"), as_json=False
    )
    exits.report(GuestUnready("short"), as_json=False)
    assert capsys.readouterr().err.splitlines() == [
        "error: VM web is stopped [vm-stopped]",
        "cause: runStrategy Halted",
        "next: start it",
        "error: short [guest-unready]",
    ]


def test_as_json_an_error_is_one_line_with_the_status_that_the_program_ends_with(capsys: pytest.CaptureFixture[str]) -> None:
    exits.report(GuestUnready("é"), as_json=True, status=255)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.isascii()
    assert captured.err.count("\n") == 1
    assert json.loads(captured.err) == {
        "apiVersion": "vmbroker/v1",
        "kind": "Error",
        "code": "guest-unready",
        "exitStatus": 255,
        "message": "é",
        "cause": None,
        "nextStep": None,
    }


def test_the_same_warning_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    exits.warn(["only once, test_exits", "only once, test_exits"])
    exits.warn(["only once, test_exits"])
    assert capsys.readouterr().err == "warning: only once, test_exits\n"


@pytest.fixture
def _json() -> Iterator[None]:
    exits.speak_json(True)
    yield
    exits.speak_json(False)


@pytest.mark.usefixtures("_json", "_quiet_logger")
def test_with_json_each_line_is_an_object_and_what_is_for_people_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits, "_QUIET_S", 0.0)
    before = threading.active_count()
    with exits.progress("listing VMs") as say:
        assert threading.active_count() == before
        say("still")
    exits.note("for people")
    exits.note("two mistakes", matters=True)
    exits.warn(["json only once", "json only once"])
    exits.failure("127.0.0.1:2222", GuestUnready("é"), count=2)
    exits.start_debug()
    logging.getLogger("broker.kube").debug("a\nb")
    exits.report(GuestUnready("the end"), as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["apiVersion"] for line in lines} == {"vmbroker/v1"}
    told = [(line["kind"], line["message"]) for line in lines]
    assert told[:3] == [
        ("Warning", "two mistakes"),
        ("Warning", "json only once"),
        ("Warning", "127.0.0.1:2222: é [guest-unready] (2 times)"),
    ]
    assert told[3][0] == "Debug"
    assert "a\nb" in told[3][1]
    assert told[4:] == [("Error", "the end")]


def test_an_encoding_without_our_signs_gets_others() -> None:
    assert exits._in_encoding("… ✓ é", "ascii") == "... + é"
    assert exits._in_encoding("… ✓ é", "latin-1") == "... + é"
    assert exits._in_encoding("… ✓ é", "utf-8") == "… ✓ é"


def test_quick_work_shows_no_progress_and_leaves_no_thread(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    with exits.progress("quick"):
        pass
    assert threading.active_count() == before
    assert capsys.readouterr().err == ""


def test_slow_work_is_one_plain_line_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits, "_QUIET_S", 0.0)
    written = threading.Event()
    write = exits._write

    def noticing(text: str) -> None:
        write(text)
        written.set()

    monkeypatch.setattr(exits, "_write", noticing)
    with exits.progress("listing VMs"):
        assert written.wait(10)
    assert capsys.readouterr().err == "… listing VMs\n"


@pytest.mark.usefixtures("_quiet_logger")
def test_the_debug_log_hides_secrets_and_control_characters_also_in_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    exits.start_debug()
    logger = logging.getLogger("broker.kube.session")
    logger.debug("GET /version Authorization: Bearer %s \x1b[2J", "Zk9CANARY7")
    try:
        raise ValueError("token=Zk9CANARY7")
    except ValueError:
        logger.debug("failed", exc_info=True)
    said = capsys.readouterr().err
    assert "GET /version" in said
    assert "Traceback" in said
    assert "CANARY" not in said
    assert "\x1b" not in said


def test_a_defect_says_its_type_and_no_secret() -> None:
    error = exits.defect(RuntimeError("password: Zk9CANARY7\nline"), debug=False)
    assert (error.exit_status, error.code) == (1, "defect")
    assert "RuntimeError" in error.message
    assert "CANARY" not in str(error.cause)


@pytest.mark.parametrize(
    ("count", "since_s", "told"),
    [(1, 0.0, ""), (3, 0.0, " (3 times)"), (1, 0.84, " (0.8 s ago)"), (3, 1.0, " (3 times in the last 1.0 s)")],
)
def test_a_failure_that_is_told_late_says_when_it_was(
    capsys: pytest.CaptureFixture[str], count: int, since_s: float, told: str
) -> None:
    exits.failure("127.0.0.1:22", GuestUnready("no"), count=count, since_s=since_s)
    assert capsys.readouterr().err == f"127.0.0.1:22: no [guest-unready]{told}\n"
