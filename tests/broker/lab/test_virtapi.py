"""virt-api's own judgement, behind the API server's, and what it tells of a guest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from broker.lab.authn import User
from broker.lab.faults import Faults, parse_fault
from broker.lab.guestinfo import GuestInformation
from broker.lab.objects import Objects
from broker.lab.rbac import Attributes, Decision
from broker.lab.seed import plant
from broker.lab.virtapi import NotAvailable, VirtApi

PERSON = User(name="somebody", groups=())


def virt_api(*, is_allowed: bool, asked: list[Attributes]) -> VirtApi:
    """A virt-api whose review gives one answer and notes the question; nothing behind it may be reached."""

    def review(user: User, attributes: Attributes) -> Decision:
        asked.append(attributes)
        return Decision(allowed=is_allowed, reason="" if is_allowed else "not with these rights")

    async def stream(*_: Any) -> web.StreamResponse:
        return web.Response(text="reached the guest")

    return VirtApi(allowed=review, portforward=stream, information=lambda *_: web.Response(text="told"), faults=Faults())


async def answer(api: VirtApi, subresource: str, *rest: str, method: str = "GET") -> web.Response:
    """Ask for a subresource of the VMI n/a."""
    request = make_mocked_request(method, "/")
    found = await api.answer(request, PERSON, "virtualmachineinstances", "n", "a", subresource, rest)
    assert isinstance(found, web.Response)
    return found


async def test_its_own_review_refuses_in_plain_text() -> None:
    asked: list[Attributes] = []
    found = await answer(virt_api(is_allowed=False, asked=asked), "portforward", "22", "tcp")
    assert (found.status, found.text, found.content_type) == (401, "not with these rights", "text/plain")
    (question,) = asked
    assert (question.verb, question.resource, question.subresource) == ("get", "virtualmachineinstances", "portforward")
    assert (question.group, question.namespace, question.name) == ("subresources.kubevirt.io", "n", "a")


async def test_what_it_allows_is_served() -> None:
    assert (await answer(virt_api(is_allowed=True, asked=[]), "portforward", "22")).text == "reached the guest"
    assert (await answer(virt_api(is_allowed=True, asked=[]), "guestosinfo")).text == "told"


@pytest.mark.parametrize(("subresource", "rest", "method"), [("console", (), "GET"), ("portforward", ("22",), "POST")])
async def test_what_the_lab_has_not_is_said_to_be_absent(subresource: str, rest: tuple[str, ...], method: str) -> None:
    with pytest.raises(NotAvailable):
        await answer(virt_api(is_allowed=True, asked=[]), subresource, *rest, method=method)


@pytest.fixture(scope="module")
def information() -> GuestInformation:
    """What the seed's guests tell."""
    objects = Objects()
    plant(objects, network="127.9.8", keys=())
    return GuestInformation(objects)


def test_an_agent_tells_of_its_guest(information: GuestInformation) -> None:
    found = information.answer("shop", "db", "guestosinfo")
    told = json.loads(found.body if isinstance(found.body, bytes) else b"")
    assert (found.status, told["hostname"], told["os"]["id"]) == (200, "db", "debian")
    assert any(command["name"] == "guest-ssh-add-authorized-keys" for command in told["supportedCommands"])
    users = information.answer("shop", "db", "userlist")
    assert json.loads(users.body if isinstance(users.body, bytes) else b"")["items"] == []


@pytest.mark.parametrize(
    ("namespace", "name", "text"),
    [
        ("shop", "absent", 'virtualmachineinstance.kubevirt.io "absent" not found'),
        ("infra", "quiet", "VMI does not have guest agent connected"),
        ("team-a", "starting", "VMI is not running"),
    ],
)
def test_what_cannot_be_told_is_plain_text(information: GuestInformation, namespace: str, name: str, text: str) -> None:
    found = information.answer(namespace, name, "guestosinfo")
    assert (found.status, found.text, found.content_type) == (500, text, "text/plain")


def test_faults_are_named_in_words() -> None:
    faults = Faults()
    parse_fault("virt-api-unreachable=bad-certificate", faults)
    parse_fault("strip-upgrade", faults)
    assert (faults.virt_api_unreachable, faults.strip_upgrade) == ("bad-certificate", True)
    for word in ("virt-api-unreachable=never", "strip-upgrade=yes", ""):
        with pytest.raises(ValueError, match="no such fault"):
            parse_fault(word, faults)
