"""Connections that break and answers that are no HTTP are told in plain words, by both ways of asking, over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from broker.errors import BrokerError
from broker.kube.cold import ColdClient
from broker.kube.endpoint import open_endpoint
from broker.kube.rest import Rest
from broker.kube.session import open_session
from broker.kube.status import Call
from tests.hostile.liar import liar, reply

PATH = "/api/v1/namespaces/shop"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MIDDLE = ("connection-lost", "the connection was lost in the middle of the answer")
EARLY = ("connection-lost", "the connection was closed before an answer came")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (OK + b"Content-Length: 400\r\n\r\n{", MIDDLE),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", MIDDLE),
        (b"", EARLY),
        (b"HTT", EARLY),
        (b"HTTP/1.1 2", EARLY),
        (b"HTTP/1.1 200 OK", EARLY),
        (OK[:30], EARLY),
        (OK, EARLY),
        (b"SSH-2.0-x\r\n", ("not-http", "does not begin as HTTP does")),
        (b"SSH-2.0-x", ("not-http", "does not begin as HTTP does")),
        (OK + b"X: " + b"x" * 70_000 + b"\r\n\r\n", ("not-http", "is too long")),
        (OK + b"".join(b"X-%d: a\r\n" % each for each in range(2_000)) + b"\r\n", ("not-http", "more than 100 headers")),
    ],
    ids=["length", "chunks", "nothing", "3", "10", "line", "head", "no-end", "ssh", "ssh-no-end", "long", "many"],
)
async def test_each_end_has_its_words_by_both_ways(answer: bytes, words: tuple[str, str], tmp_path: Path) -> None:
    with liar(tmp_path, lambda asked: answer) as server:
        endpoint = open_endpoint(
            kubeconfig=str(server.kubeconfig), context=None, namespace=None, as_user=None, environ={}, stdin_is_ours=False
        )
        call = Call(verb="get", resource="namespaces", path=PATH, name="shop")
        async with open_session(endpoint, connect_s=5) as session:
            with pytest.raises(BrokerError) as caught:
                await Rest(session, timeout_s=5).get(PATH, call)
        _judge(caught.value, words)
        by_pool = caught.value

        def ask() -> bytes:
            with ColdClient(endpoint, connect_s=5, request_s=5) as client:
                return client.get(PATH)

        with pytest.raises(BrokerError) as caught:
            await asyncio.to_thread(ask)
        assert (caught.value.message, caught.value.cause) == (by_pool.message, by_pool.cause)


async def test_what_is_packed_wrongly_is_not_blamed_on_the_network_only(tmp_path: Path) -> None:
    answer = reply(200, b"no gzip", extra="Content-Encoding: gzip\r\n")
    with liar(tmp_path, lambda asked: answer) as server:
        endpoint = open_endpoint(
            kubeconfig=str(server.kubeconfig), context=None, namespace=None, as_user=None, environ={}, stdin_is_ours=False
        )
        async with open_session(endpoint, connect_s=5) as session:
            with pytest.raises(BrokerError) as caught:
                await Rest(session, timeout_s=5).get(PATH, Call(verb="get", resource="namespaces", path=PATH, name="shop"))
        _judge(caught.value, ("connection-lost", "cannot be unpacked"))
        with ColdClient(endpoint, connect_s=5, request_s=5) as client:  # never asks for packed answers, hands on the bytes
            assert await asyncio.to_thread(client.get, PATH) == b"no gzip"


def _judge(error: BrokerError, wanted: tuple[str, str]) -> None:
    assert (error.code, wanted[1] in (error.cause or "")) == (wanted[0], True), error.cause
    for word in ("Error", "message", "url=", "_", "Incomplete", "400"):
        assert word not in f"{error.message} {error.cause}"
