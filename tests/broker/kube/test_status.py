"""Every refused answer has one true cause (kubevirt.md A3, cases C-001, C-008, C-009)."""

# ruff: noqa: E501  (one case a line)

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clean import is_shown
from broker.errors import BrokerError
from broker.kube.answer import call_of
from broker.kube.status import READ_BYTES, error_from_response

FORWARD = "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances/web/portforward/22/tcp"
LIST = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines"


def status(code: int, message: str, reason: str | None = None, **more: object) -> bytes:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code, **more}
    return json.dumps(body if reason is None else {**body, "reason": reason}).encode()


def dialing(text: str) -> bytes:
    return status(500, f"Internal error occurred: dialing VM: {text}", "InternalError")


def forbidden(user: str, verb: str) -> bytes:
    where = 'resource "virtualmachines" in API group "kubevirt.io" in the namespace "shop"'
    return status(
        403, f'virtualmachines.kubevirt.io "web" is forbidden: User {json.dumps(user)} cannot {verb} {where}', "Forbidden"
    )


CASES: list[tuple[int, str, bytes, str, str, int]] = [
    (404, "application/json", status(404, 'virtualmachineinstance.kubevirt.io "web" not found', "NotFound"), FORWARD, "vmi-not-found", 3),
    (409, "application/json", status(409, "x: VMI is not started", "Conflict"), FORWARD, "vm-stopped", 5),
    (409, "application/json", status(409, "x: VMI is paused", "Conflict"), FORWARD, "vm-paused", 5),
    (400, "application/json", status(400, "no network interfaces are present", "BadRequest"), FORWARD, "no-interface", 5),
    (500, "application/json", status(500, "Internal error occurred: unable to retrieve vmi [x] for vm: <nil>"), FORWARD, "vmi-foreign", 5),
    (500, "", dialing("dial tcp 10.0.0.5:22: connect: connection refused"), FORWARD, "port-refused", 5),
    (500, "", dialing("dial tcp [fd00::5]:22: connect: no route to host"), FORWARD, "no-route", 5),
    (500, "", dialing("dial tcp 10.0.0.5:22: connect: connection timed out"), FORWARD, "port-filtered", 5),
    (500, "", dialing("dial tcp 10.0.0.5:22: i/o timeout"), FORWARD, "port-filtered", 5),
    (500, "", dialing("dial tcp 10.0.0.5:22: connect: connection reset by peer"), FORWARD, "port-reset", 5),
    (500, "", dialing("dial tcp: lookup tcp/nope: unknown port"), FORWARD, "bad-port", 2),
    (500, "", dialing("dial tcp :22: connect: connection refused"), FORWARD, "no-address", 5),
    (500, "", dialing("dial tcp: address 99999: invalid port"), FORWARD, "bad-port", 2),
    (500, "", dialing("dial sctp: unknown network sctp"), FORWARD, "bad-protocol", 2),
    (500, "", dialing("something new"), FORWARD, "dial-failed", 5),
    (403, "application/json", forbidden("carol", "get"), FORWARD, "forbidden", 4),
    (403, "", forbidden("system:anonymous", "get"), FORWARD, "anonymous", 4),
    (403, "", forbidden("b", "impersonate-on:user-info:list"), LIST, "impersonation-forbidden", 4),
    (403, "text/html", b"<html><title>Blocked</title></html>", LIST, "forbidden-by-proxy", 4),
    (401, "application/json", status(401, "Unauthorized", "Unauthorized"), FORWARD, "unauthorized", 4),
    (401, "text/plain", b"not allowed", FORWARD, "forbidden-by-virt-api", 4),
    (401, "application/json", b'{"type":"error","status":"401","message":"must authenticate"}', LIST, "unauthorized", 4),
    (500, "text/plain", b"", FORWARD, "access-check-failed", 5),
    (500, "text/plain", b"error dialing backend: dial tcp 10.96.0.9:443: connect: no route to host", FORWARD, "virt-api-unreachable", 5),
    (500, "text/plain", b"error dialing backend: remote error: tls: bad certificate", FORWARD, "virt-api-unreachable", 5),
    (503, "text/plain", b"service unavailable", FORWARD, "virt-api-unreachable", 5),
    (503, "text/html", b"<html><title>503 Service Unavailable</title></html>", FORWARD, "api-unavailable", 5),
    (502, "text/html", b"<html><title>502 Bad Gateway</title></html>", LIST, "api-unavailable", 5),
    (504, "application/json", status(504, "Timeout: Too large resource version", "Timeout"), LIST, "api-timeout", 6),
    (404, "text/plain", b"404 page not found\n", "/k8s/clusters/c-1" + FORWARD, "api-absent", 5),
    (404, "text/html", b"<html>nope</html>", LIST, "api-absent", 5),
    (404, "", status(404, "the server could not find the requested resource", "NotFound"), LIST, "api-absent", 5),
    (404, "", status(404, 'namespaces "nowhere" not found', "NotFound"), LIST, "namespace-not-found", 3),
    (406, "text/plain", b"406: Not Acceptable\n\nAvailable representations: ", FORWARD, "not-acceptable", 1),
    (302, "text/html", b"", FORWARD, "redirected", 5),
    (200, "text/html", b"<html>login</html>", FORWARD, "upgrade-ignored", 5),
    (500, "text/plain", b"No virt-handler on node node-1 found", FORWARD.replace("portforward/22/tcp", "guestosinfo"), "virt-handler-absent", 5),
    (422, "", status(422, 'admission webhook "v" denied the request: no'), LIST, "admission-denied", 7),
    (409, "", status(409, 'vms "a" already exists', "AlreadyExists"), LIST, "already-exists", 7),
    (410, "", status(410, "too old", "Expired"), LIST, "expired", 1),
    (418, "", b"teapot", LIST, "server-error", 1),
]  # fmt: skip


@pytest.mark.parametrize(("code", "content_type", "body", "path", "expected", "exit_status"), CASES)
def test_each_refusal_has_its_code(
    code: int, content_type: str, body: bytes, path: str, expected: str, exit_status: int
) -> None:
    error = error_from_response(code, content_type, body, call_of(path))
    assert (error.code, error.exit_status) == (expected, exit_status)


def test_lost_upgrade_is_told_from_the_plain_line_before_the_status() -> None:
    body = b"Bad Request\n" + status(
        400, "websocket: the client is not using the websocket protocol: 'upgrade' token", "BadRequest"
    )
    error = error_from_response(400, "text/plain", body, call_of(FORWARD))
    assert error.code == "upgrade-stripped"
    assert error.exit_status == 5
    assert "removed the websocket upgrade" in str(error.cause)


def test_backend_and_guest_are_told_apart() -> None:
    error = error_from_response(
        500, "text/plain", b"error dialing backend: dial tcp 10.96.0.9:443: connect: no route to host", call_of(FORWARD)
    )
    assert error.message == "the API server cannot reach KubeVirt's virt-api"
    assert "v1.subresources.kubevirt.io" in str(error.next_step)


@pytest.mark.parametrize(
    "user", ["impersonate", "system:anonymous-not", 'x" cannot impersonate resource "y', "dialing VM: ", "denied"]
)
def test_a_user_may_be_called_anything(user: str) -> None:
    error = error_from_response(403, "", forbidden(user, "get"), call_of(FORWARD))
    assert error.code == "forbidden"
    assert "you are " in str(error.cause)


def test_foreign_404_names_the_prefix() -> None:
    error = error_from_response(404, "text/html", b"<html>", call_of("/k8s/clusters/c-m-abc12" + FORWARD))
    assert error.message == "the server at /k8s/clusters/c-m-abc12 does not know the KubeVirt API"


@pytest.mark.parametrize(("header", "expected"), [("7", 7.0), ("99999", 300.0), ("-1", None), ("soon", None), (None, 3.0)])
def test_retry_after_is_carried_and_bounded(header: str | None, expected: float | None) -> None:
    details = {"retryAfterSeconds": 3} if header is None else {}
    body = status(429, "too many requests", "TooManyRequests", details=details)
    error = error_from_response(429, "", body, call_of(LIST), retry_after=header)
    assert (error.code, error.retry_after_s) == ("api-busy", expected)


def test_an_object_inside_a_message_is_not_shown() -> None:
    body = status(422, ' "" is invalid: patch: Invalid value: "{\\"data\\":{\\"key\\":\\"c2VjcmV0\\"}}"', "Invalid")
    error = error_from_response(422, "", body, call_of(LIST))
    assert "c2VjcmV0" not in f"{error.message} {error.cause} {error.next_step}"


@given(
    st.integers(100, 599),
    st.sampled_from(["", "application/json", "text/plain", "text/html"]),
    st.one_of(
        st.binary(max_size=4000),
        st.text(max_size=600).map(lambda text: status(500, text)),
        st.text(max_size=600).map(lambda text: dialing(f"dial tcp {text}")),
        st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)).map(
            lambda found: json.dumps({"kind": "Status", "message": found, "details": found, "reason": found}).encode()
        ),
        st.just(b'{"kind":' * 5000),
        st.just(b"[" * READ_BYTES * 2),
    ),
    st.sampled_from(
        [
            FORWARD,
            LIST,
            "/",
            "",
            "/api/v1/namespaces/x/secrets/y",
            "/apis/subresources.kubevirt.io/v1/namespaces/a/b/c/userlist",
        ]
    ),
)
def test_any_answer_is_one_bounded_clean_error(code: int, content_type: str, body: bytes, path: str) -> None:
    error = error_from_response(code, content_type, body, call_of(path))
    assert isinstance(error, BrokerError)
    for line in (error.message, error.cause, error.next_step):
        assert line is None or (len(line) <= 400 and all(is_shown(char) for char in line))


def test_captured_refusals_map_to_their_causes(shared: Path) -> None:
    expected = {
        "accept-json": "not-acceptable", "bad-port": "bad-port", "bad-protocol": "bad-protocol", "closed-port": "port-refused",
        "forbidden": "forbidden", "no-ip": "no-address", "not-websocket": "upgrade-stripped", "nothing-listens": "port-refused",
        "paused": "vm-paused", "vm-notfound": "vm-not-found", "vm-stopped": "vm-stopped", "vmi-notfound": "vmi-not-found",
    }  # fmt: skip
    files = sorted((shared / "captures").glob("portforward-*.json"))
    found = {}
    for file in files:
        capture = json.loads(file.read_bytes())
        answer = capture["response"]
        body = answer["text"].encode() if "text" in answer else json.dumps(answer["json"]).encode()
        call = call_of(capture["request"]["path"])
        found[file.stem.removeprefix("portforward-")] = error_from_response(
            answer["status"], answer["headers"]["Content-Type"], body, call
        ).code
    assert found == expected
