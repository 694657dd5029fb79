"""Reads against a real TLS server: pages, repetitions, limits, and how trouble is told."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.errors import (
    BrokerError,
    CredentialError,
    Failed,
    NotFound,
    NotPermitted,
    TimedOut,
    TrustError,
    Unreachable,
)
from broker.kube.access import Question, may, whoami
from broker.kube.discovery import kubevirt_state
from broker.kube.endpoint import Endpoint
from broker.kube.resources import VIRTUAL_MACHINES
from broker.kube.rest import Rest
from broker.kube.session import open_session
from broker.kube.status import Call
from broker.lab.certificates import Authority
from tests.broker.kube.recorded_api import Answer, Asked, Script, answer, captured, recorded_api, refused

CALL = Call(verb="get", resource="version", path="/version")


@asynccontextmanager
async def rest_to(endpoint: Endpoint, **limits: Any) -> AsyncIterator[Rest]:
    async with open_session(endpoint, connect_s=5) as session:
        yield Rest(session, **limits)


def vm(name: str) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {}}


def page(names: list[str], token: str = "") -> Answer:
    return answer({"metadata": {"continue": token, "resourceVersion": "1"}, "items": [vm(name) for name in names]})


def sequence(*answers: Answer) -> Script:
    left = list(answers)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


async def names_of(rest: Rest) -> list[str]:
    names: list[str] = []
    async for found in rest.list_pages(VIRTUAL_MACHINES):
        if found.is_first:
            names.clear()
        names += [item.metadata.name for item in found.items]
    return names


async def test_a_read_sends_the_token_the_prefix_and_accepts_json(tmp_path: Path) -> None:
    with recorded_api(tmp_path, lambda asked: answer(vm("web"))) as api:
        async with rest_to(api.endpoint(prefix="/k8s/clusters/c-m-abc12/")) as rest:
            found = await rest.read(VIRTUAL_MACHINES, "shop", "web")
    assert found.metadata.name == "web"
    [asked] = api.asked
    assert asked.path == "/k8s/clusters/c-m-abc12/apis/kubevirt.io/v1/namespaces/shop/virtualmachines/web"
    assert asked.headers["Authorization"] == "Bearer token-one"
    assert asked.headers["Accept"] == "application/json"
    assert asked.headers["Host"] == f"127.0.0.1:{api.port}"


async def test_a_list_follows_continue_tokens_with_limit_and_selector(tmp_path: Path) -> None:
    with recorded_api(tmp_path, sequence(page(["a", "b"], "t/1&="), page(["c"]))) as api:
        async with rest_to(api.endpoint(), page_size=2) as rest:
            pages = [p async for p in rest.list_pages(VIRTUAL_MACHINES, "shop", selector="app=web,tier!=db")]
    assert [[item.metadata.name for item in p.items] for p in pages] == [["a", "b"], ["c"]]
    assert [p.is_first for p in pages] == [True, False]
    assert [asked.query for asked in api.asked] == [
        {"limit": "2", "labelSelector": "app=web,tier!=db"},
        {"limit": "2", "continue": "t/1&=", "labelSelector": "app=web,tier!=db"},
    ]


async def test_a_list_whose_token_expired_starts_anew(tmp_path: Path, shared: Path) -> None:
    expired = captured(shared, "list-continue-expired")
    with recorded_api(tmp_path, sequence(page(["old"], "t"), expired, page(["new"], "u"), page(["last"]))) as api:
        async with rest_to(api.endpoint()) as rest:
            assert await names_of(rest) == ["new", "last"]
    assert "continue" not in api.asked[2].query


async def test_a_list_that_expires_for_ever_ends_with_that_reason(tmp_path: Path, shared: Path) -> None:
    expired = captured(shared, "list-continue-expired")

    def script(asked: Asked) -> Answer:
        return expired if "continue" in asked.query else page(["a"], "t")

    with recorded_api(tmp_path, script) as api:
        async with rest_to(api.endpoint()) as rest:
            with pytest.raises(Failed) as caught:
                await names_of(rest)
    assert caught.value.code == "expired"
    assert len(api.asked) == 6


async def test_a_list_that_repeats_its_token_ends(tmp_path: Path) -> None:
    with recorded_api(tmp_path, lambda asked: page(["a"], "same")) as api:
        async with rest_to(api.endpoint()) as rest:
            with pytest.raises(Failed) as caught:
                await names_of(rest)
    assert caught.value.code == "list-endless"


async def test_a_malformed_object_costs_itself_alone(tmp_path: Path) -> None:
    items = [vm("a"), {"metadata": {"name": ["no"]}}, vm("c")]
    with recorded_api(tmp_path, lambda asked: answer({"metadata": {}, "items": items})) as api:
        async with rest_to(api.endpoint()) as rest:
            [found] = [p async for p in rest.list_pages(VIRTUAL_MACHINES)]
    assert ([item.metadata.name for item in found.items], found.unreadable) == (["a", "c"], 1)


async def test_a_refused_login_is_renewed_once(tmp_path: Path, shared: Path) -> None:
    def script(asked: Asked) -> Answer:
        if asked.headers["Authorization"] == "Bearer token-two":
            return answer(vm("web"))
        api.token_file.write_text("token-two\n")
        return captured(shared, "unauthorized")

    with recorded_api(tmp_path, script) as api:
        async with rest_to(api.endpoint()) as rest:
            found = await rest.read(VIRTUAL_MACHINES, "shop", "web")
    assert found.metadata.name == "web"
    assert len(api.asked) == 2


async def test_a_login_refused_twice_is_told(tmp_path: Path, shared: Path) -> None:
    with recorded_api(tmp_path, lambda asked: captured(shared, "unauthorized")) as api:
        async with rest_to(api.endpoint()) as rest:
            with pytest.raises(CredentialError):
                await rest.read(VIRTUAL_MACHINES, "shop", "web")
    assert len(api.asked) == 2


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_asks_for_patience_gets_it(tmp_path: Path, status: int) -> None:
    busy = refused(status, "TooManyRequests", "wait", Retry_After="0")
    with recorded_api(tmp_path, sequence(busy, busy, answer(vm("web")))) as api:
        async with rest_to(api.endpoint()) as rest:
            assert (await rest.read(VIRTUAL_MACHINES, "shop", "web")).metadata.name == "web"
    assert len(api.asked) == 3


async def test_patience_ends_after_three_tries(tmp_path: Path) -> None:
    with recorded_api(tmp_path, lambda asked: refused(429, "TooManyRequests", "wait", Retry_After="0")) as api:
        async with rest_to(api.endpoint()) as rest:
            with pytest.raises(BrokerError) as caught:
                await rest.read(VIRTUAL_MACHINES, "shop", "web")
    assert caught.value.retry_after_s == 0
    assert len(api.asked) == 3


async def test_patience_never_outlasts_the_call(tmp_path: Path) -> None:
    with recorded_api(tmp_path, lambda asked: refused(429, "TooManyRequests", "wait", Retry_After="200")) as api:
        async with rest_to(api.endpoint(), timeout_s=20) as rest:
            with pytest.raises(BrokerError):
                await rest.read(VIRTUAL_MACHINES, "shop", "web")
    assert len(api.asked) == 1


async def test_a_silent_server_is_left_after_the_limit(tmp_path: Path) -> None:
    with recorded_api(tmp_path, lambda asked: Answer(delay_s=30)) as api:
        async with rest_to(api.endpoint(), timeout_s=0.3) as rest:
            with pytest.raises(TimedOut):
                await rest.get("/version", CALL)


async def test_a_dropped_connection_is_tried_once_more_for_reads_only(tmp_path: Path) -> None:
    with recorded_api(tmp_path, lambda asked: Answer(closes=True)) as api:
        async with rest_to(api.endpoint()) as rest:
            with pytest.raises(Unreachable):
                await rest.get("/version", CALL)
            assert len(api.asked) == 2
            with pytest.raises(Unreachable):
                await rest.post("/version", b"{}", CALL)
    assert len(api.asked) == 3


async def test_a_closed_port_is_unreachable_and_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with recorded_api(tmp_path, lambda asked: Answer()) as api:
            async with rest_to(api.endpoint(server=f"https://127.0.0.1:{port}")) as rest:
                with pytest.raises(Unreachable) as caught:
                    await rest.get("/version", CALL)
    assert f"127.0.0.1:{port}" in caught.value.message
    assert "refused" in (caught.value.cause or "").lower()


@pytest.mark.parametrize("wrong", ["authority", "name"])
async def test_a_server_that_is_not_trusted_is_a_tls_error(tmp_path: Path, wrong: str) -> None:
    with recorded_api(tmp_path, lambda asked: Answer()) as api:
        if wrong == "authority":
            endpoint = api.endpoint(ca=Authority.create().certificate_pem)
        else:
            endpoint = api.endpoint(server_name="elsewhere.example")
        async with rest_to(endpoint) as rest:
            with pytest.raises(TrustError):
                await rest.get("/version", CALL)
    assert api.asked == []


@pytest.mark.parametrize(
    ("name", "kind"), [("get-vm-notfound", NotFound), ("list-forbidden", NotPermitted), ("get-absent-crd", Unreachable)]
)
async def test_refusals_of_the_real_server_keep_their_class(
    tmp_path: Path, shared: Path, name: str, kind: type[BrokerError]
) -> None:
    with recorded_api(tmp_path, lambda asked: captured(shared, name)) as api:
        async with rest_to(api.endpoint()) as rest:
            with pytest.raises(kind):
                await rest.read(VIRTUAL_MACHINES, "team-a", "nope")


@pytest.mark.parametrize(
    ("name", "state"), [("discovery-kubevirt-v1", "present"), ("get-absent-crd", "absent"), ("list-forbidden", "not-permitted")]
)
async def test_discovery_tells_absent_from_not_permitted(tmp_path: Path, shared: Path, name: str, state: str) -> None:
    with recorded_api(tmp_path, lambda asked: captured(shared, name)) as api:
        async with rest_to(api.endpoint()) as rest:
            found = await kubevirt_state(rest)
    assert found.state == state
    assert found.serves("virtualmachines") is (state == "present")
    assert not found.serves("virtualmachines/status")


@pytest.mark.parametrize(("name", "allowed"), [("ssar-portforward-allowed", True), ("ssar-portforward-denied", False)])
async def test_access_reviews_are_asked_as_kubectl_asks(tmp_path: Path, shared: Path, name: str, allowed: bool) -> None:
    question = Question(
        verb="get",
        group="subresources.kubevirt.io",
        resource="virtualmachineinstances",
        subresource="portforward",
        namespace="a",
    )
    with recorded_api(tmp_path, lambda asked: captured(shared, name)) as api:
        async with rest_to(api.endpoint()) as rest:
            found = await may(rest, question)
    assert found.is_allowed is allowed
    assert api.asked[0].path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert b'"subresource":"portforward"' in api.asked[0].body


async def test_whoami_names_user_and_groups(tmp_path: Path, shared: Path) -> None:
    with recorded_api(tmp_path, lambda asked: captured(shared, "selfsubjectreview-alice")) as api:
        async with rest_to(api.endpoint()) as rest:
            found = await whoami(rest)
    assert (found.user, found.groups) == ("alice", ("team-a-devs", "system:authenticated"))


async def test_an_answer_that_is_no_json_is_told(tmp_path: Path) -> None:
    with recorded_api(tmp_path, lambda asked: Answer(body=b"<html>login</html>", content_type="text/html")) as api:
        async with rest_to(api.endpoint()) as rest:
            with pytest.raises(Failed) as caught:
                await rest.read(VIRTUAL_MACHINES, "shop", "web")
    assert caught.value.code == "unreadable-answer"
