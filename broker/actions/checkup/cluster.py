"""`doctor` and the cluster: the way to the API server, who we are to it, and KubeVirt behind it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from broker.actions.checkup.board import Board, NotLookedAt
from broker.actions.checkup.check import failed, not_looked_at, ok, unknown
from broker.actions.checkup.words import expiry_check, people
from broker.actions.explain_failure import explain_call
from broker.clean import clean
from broker.errors import BrokerError, CredentialError, NotFound, Unreachable
from broker.kube.resources import VIRTUAL_MACHINES
from broker.kube.session import in_thread

if TYPE_CHECKING:
    from broker.kube.cold import ColdClient
    from broker.kube.endpoint import Endpoint
    from broker.kube.rest import Rest

_CONTEXT_CODES: Final = frozenset(
    {"context-missing", "context-unknown", "cluster-unknown", "user-unknown", "unknown-label", "server-invalid", "usage"}
)
"""Errors of a kubeconfig that could be read: the context is what is wrong."""


def settle_endpoint(board: Board, endpoint: Endpoint) -> None:
    """Put on the board what an endpoint that could be opened tells: kubeconfig, context, proxy."""
    from broker.kube.proxy import parse_proxy

    files = ", ".join(clean(path) for path in endpoint.sources)
    board.settle(ok("kubeconfig", files or "none: the service account of this pod"))
    who = f" as {clean(endpoint.user)}" if endpoint.user else ""
    named = clean(endpoint.context) or "this pod's cluster"
    board.settle(ok("context", f"{named}: {clean(endpoint.server)}{who}, namespace {clean(endpoint.namespace)}"))
    if endpoint.proxy_url is None:
        board.settle(ok("proxy", "none: the way is direct"))
    else:
        shown = parse_proxy(endpoint.proxy_url, endpoint.proxy_origin).shown
        board.settle(ok("proxy", f"{shown} ({endpoint.proxy_origin})"))


def settle_no_endpoint(board: Board, error: BrokerError, *, files: str) -> None:
    """Put on the board why there is no endpoint; `files` are the kubeconfig files that could be read, "" for none."""
    if error.code in _CONTEXT_CODES and files:
        board.settle(ok("kubeconfig", files))
        board.settle(failed("context", error))
    else:
        board.settle(failed("kubeconfig", error))
        board.settle(not_looked_at("context", "'kubeconfig' failed"))
    board.settle(not_looked_at("proxy", "there is no context to use"))


async def check_way(board: Board, endpoint: Endpoint, *, limit_s: float) -> None:
    """Take the way to the server stage by stage: name, TCP, TLS, names; `limit_s` bounds each stage."""
    from broker.kube.stages import is_address, look_up, shake_hands

    async with board.judging("server-name", "tcp", "tls-trust", "tls-names"):
        await board.need("context", by=("server-name", "tcp", "tls-trust", "tls-names"))
        if endpoint.proxy_url is not None:
            board.settle(not_looked_at("server-name", "the proxy looks the name up"), is_passable=True)
        elif is_address(endpoint.host):
            board.settle(ok("server-name", f"{clean(endpoint.host)} is an address"))
        else:
            board.waits("server-name", ("tcp", "tls-trust", "tls-names"))
            found = await in_thread(lambda: look_up(endpoint, timeout_s=limit_s))
            board.settle(ok("server-name", f"{clean(endpoint.host)} is {', '.join(found)}"))
        board.waits("tcp", ("tls-trust", "tls-names"))
        began = time.monotonic()
        sock = await in_thread(lambda: endpoint.connect(timeout_s=limit_s))
        board.settle(ok("tcp", f"open after {_ms(time.monotonic() - began)}"))
        board.waits("tls-trust", ("tls-names",))
        try:
            tls = await in_thread(lambda: shake_hands(endpoint, sock, timeout_s=limit_s))
        except BrokerError as exc:
            if exc.code != "tls-name":
                raise
            board.settle(ok("tls-trust", "signed by the CA of the kubeconfig"))
            raise
        if tls is None:
            board.settle(unknown("tls-trust", "the server URL is http: nothing is encrypted"), is_passable=True)
            board.settle(not_looked_at("tls-names", "the server URL is http"), is_passable=True)
        elif not tls.is_checked:
            says = "not checked: the kubeconfig says insecure-skip-tls-verify"
            board.settle(unknown("tls-trust", says), is_passable=True)
            board.settle(unknown("tls-names", "not checked, for the same reason"), is_passable=True)
        else:
            board.settle(ok("tls-trust", f"{tls.version}, signed by a CA that we trust"))
            board.settle(ok("tls-names", f"asked for {clean(tls.asked)}; it names {tls.names or 'it'}"))


async def check_credential(board: Board, endpoint: Endpoint) -> None:
    """Get the credential as every command does (files, plugin, OIDC) and say when it ends."""
    async with board.judging("credential", "credential-expiry"):
        await board.need("context", by=("credential", "credential-expiry"))
        board.waits("credential", ("credential-expiry",))
        try:
            held = await in_thread(endpoint.credential)
        except CredentialError as exc:
            if exc.code != "plugin-interactive":
                raise
            says = "the exec plugin wants to ask you something, and doctor asks nothing"
            board.settle(unknown("credential", says, next_step="run `vmbroker version --server`, then doctor again"))
            raise NotLookedAt("the exec plugin wants to ask you") from exc
        acted = endpoint.impersonation.user
        says = (held.kind if held.kind != "none" else "none: requests go out without one") + (
            f", acting as {clean(acted)}" if acted else ""
        )
        board.settle(unknown("credential", says) if held.kind == "none" else ok("credential", says), is_passable=True)
        board.settle(expiry_check(held.kind, held.expires_at, time.time()))


async def check_identity(board: Board, rest: Rest, client: ColdClient) -> None:
    """Ask the API server who we are to it; `client` finds out why a credential was refused."""
    from broker.kube.access import whoami

    async with board.judging("identity"):
        await board.need("tls-names", "credential", by=("identity",))
        try:
            who = await whoami(rest)
        except CredentialError as exc:
            refusal = exc
            raise await in_thread(lambda: explain_call(client, refusal)) from exc
        except (NotFound, Unreachable) as exc:
            if exc.code not in ("not-found", "api-absent"):
                raise
            # Kubernetes before 1.28 has no SelfSubjectReview; it answered all the same, so it took the credential.
            board.settle(ok("identity", "accepted; this API server is too old to say who you are"))
            return
        if who.user == "system:anonymous":
            raise CredentialError(
                "the API server sees no credentials",
                code="anonymous",
                next_step="check the user entry of this context in the kubeconfig",
            )
        board.settle(ok("identity", people(who.user, who.groups)))


async def check_server(board: Board, rest: Rest, *, limit_s: float) -> None:
    """Ask the API server's version."""
    from broker.kube.discovery import server_version

    async with board.judging("api-version"):
        await board.need("identity", by=("api-version",))
        board.settle(ok("api-version", f"Kubernetes {clean(await server_version(rest, timeout_s=limit_s), 64)}"))


async def check_kubevirt(board: Board, rest: Rest, client: ColdClient, *, namespace: str) -> None:
    """Ask whether the API server serves KubeVirt's API; `client` tells a cluster without it from another kind of server."""
    from broker.kube.discovery import kubevirt_state

    async with board.judging("kubevirt"):
        await board.need("identity", by=("kubevirt",))
        api = await kubevirt_state(rest)
        if api.state == "not-permitted":
            board.settle(unknown("kubevirt", "you may not read what the API server serves"), is_passable=True)
        elif api.state == "absent":
            # The words of every other command, from the same answer.
            try:
                async for _ in rest.list_pages(VIRTUAL_MACHINES, namespace):
                    break
            except BrokerError as exc:
                absence = exc
                raise await in_thread(lambda: explain_call(client, absence)) from exc
            board.settle(unknown("kubevirt", "discovery says that it is absent, and its API answers"), is_passable=True)
        else:
            board.settle(ok("kubevirt", f"kubevirt.io/v1 with {len(api.resources)} kinds"))


async def check_virt_api(board: Board, rest: Rest, *, limit_s: float) -> None:
    """Ask virt-api's version through the API server: every authenticated user may."""
    from broker.kube.discovery import kubevirt_version

    async with board.judging("virt-api"):
        await board.need("kubevirt", by=("virt-api",))
        board.settle(ok("virt-api", f"KubeVirt {clean(await kubevirt_version(rest, timeout_s=limit_s), 64)}"))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
