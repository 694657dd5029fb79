"""Look at everything between a user and a guest, side by side under one budget, and say what is well and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.actions.checkup.board import Board
from broker.actions.checkup.check import CATALOGUE, Report, not_looked_at, ordered
from broker.actions.checkup.cluster import (
    check_credential,
    check_identity,
    check_kubevirt,
    check_server,
    check_virt_api,
    check_way,
    settle_endpoint,
    settle_no_endpoint,
)
from broker.actions.checkup.names import aliases_to_try, longest_known
from broker.actions.checkup.rights import RIGHTS, check_right
from broker.actions.checkup.ssh import check_configuration, check_key, check_program
from broker.actions.checkup.vm import check_vm
from broker.errors import BrokerError
from broker.kube.session import in_thread

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from broker.kube.endpoint import Endpoint
    from broker.refs import Target

_SAMPLE: Final = "sample.default.vm"
_RESERVE_S: Final = 60.0
"""What limits of single steps have more than the budget: the budget decides, and says so in its own words."""
_RECEIVE_BYTES: Final = 16_384
"""What a server that pours out a byte a record may have waiting: unpacking that for all checks takes less than a blink."""
_REST: Final = ("identity", "api-version", "kubevirt", "virt-api", *(right.code for right in RIGHTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctoring:
    """What one run looks at: `target` None for the cluster alone; `user` and `port` are the flags, `budget_s` all it may take.

    `open_cluster` gives the endpoint with the settings for its context, `read_contexts` the kubeconfig files as text and the
    label of each context (`refs.context_labels`); both block and raise as `open_endpoint` does. `identity` is the lab's key,
    `ssh_file` the user's ssh configuration where it is not ~/.ssh/config,
    `began_s` the start by the monotonic clock.
    """

    target: Target | None
    typed: str | None
    user: str | None
    port: int | None
    budget_s: float
    settings: Settings
    environ: Mapping[str, str]
    open_cluster: Callable[[], tuple[Endpoint, Settings]]
    read_contexts: Callable[[], tuple[str, dict[str, str]]]
    identity: str | None = None
    ssh_file: Path | None = None
    began_s: float | None = None


async def examine(what: Doctoring) -> Report:
    """Make every check and return the report within the budget (and a moment); raises nothing of `broker.errors`."""
    board = Board(has_target=what.target is not None, began_s=what.began_s)
    if what.target is None:
        board.settle(not_looked_at("upgrade", "no target (vmbroker doctor TARGET)"))
    run = _Run(board, what)
    await board.run(("cluster", run.cluster()), ("ssh", run.ssh()), until_s=what.budget_s)
    checks = ordered(board.finish(what.budget_s), has_target=what.target is not None)
    return Report(checks=checks, target=what.typed, context=run.context, budget_s=what.budget_s, took_s=board.took_s)


class _Run:
    """The jobs of one run and what they share."""

    def __init__(self, board: Board, what: Doctoring) -> None:
        self._board = board
        self._what = what
        self._limit_s = what.budget_s + _RESERVE_S
        self.context: str | None = None
        self._namespace: str | None = None
        self._longest: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def cluster(self) -> None:
        board = self._board
        every = [code for code in CATALOGUE if CATALOGUE[code][0] != "ssh"]
        board.waits("kubeconfig", [code for code in every if code != "kubeconfig"])
        try:
            await self._cluster(every)
        finally:
            self._know(None)

    def _know(self, longest: str | None) -> None:
        if not self._longest.done():
            self._longest.set_result(longest)

    async def _cluster(self, every: list[str]) -> None:
        board, what = self._board, self._what
        async with board.judging(*every):
            try:
                endpoint, settings = await in_thread(what.open_cluster)
            except BrokerError as exc:
                files = ""
                try:
                    files, _ = await in_thread(what.read_contexts)
                except BrokerError:
                    pass
                settle_no_endpoint(board, exc, files=files)
                endpoint = None
            if endpoint is not None:
                self.context = endpoint.context or None
                self._namespace = endpoint.namespace
                settle_endpoint(board, endpoint)
                board.start("way", check_way(board, endpoint, limit_s=self._limit_s))
                board.start("credential", check_credential(board, endpoint))
                board.start("api", self._api(endpoint, settings))
                if what.target is not None:
                    board.start("vm", self._vm(endpoint, settings, what.target))
                await board.settled(every)
            else:
                for code in every:
                    board.settle(not_looked_at(code, "there is no cluster to ask"))

    async def _api(self, endpoint: Endpoint, settings: Settings) -> None:
        from broker.kube.cold import ColdClient
        from broker.kube.rest import Rest
        from broker.kube.session import open_session

        board, what = self._board, self._what
        namespace = (what.target.namespace if what.target is not None else None) or endpoint.namespace
        name = what.target.name if what.target is not None else None
        async with board.judging(*_REST):
            await board.need("tls-names", "credential", by=_REST)
            client = ColdClient(endpoint, connect_s=self._limit_s, request_s=self._limit_s)
            async with open_session(endpoint, connect_s=self._limit_s, receive_bytes=_RECEIVE_BYTES) as session:
                rest = Rest(session, timeout_s=self._limit_s, page_size=settings.api.page_size)
                board.start("identity", check_identity(board, rest, client))
                board.start("version", check_server(board, rest, limit_s=self._limit_s))
                board.start("kubevirt", check_kubevirt(board, rest, client, namespace=namespace))
                board.start("virt-api", check_virt_api(board, rest, limit_s=self._limit_s))
                for right in RIGHTS:
                    board.start(right.code, check_right(board, rest, client, right, namespace=namespace, name=name))
                if (await board.end_of("identity")).state == "ok":
                    self._know(await longest_known(rest, namespace))
                await board.settled(_REST)
        self._know(None)

    async def _vm(self, endpoint: Endpoint, settings: Settings, target: Target) -> None:
        from broker.kube.cold import ColdClient

        what = self._what
        client = ColdClient(endpoint, connect_s=self._limit_s, request_s=self._limit_s)
        await check_vm(
            self._board,
            client,
            target,
            settings,
            namespace=endpoint.namespace,
            user=what.user,
            port=what.port,
            budget_s=what.budget_s,
        )
        client.close()

    async def ssh(self) -> None:
        board, what = self._board, self._what
        board.start("ssh-version", check_program(board, what.settings, what.environ))
        board.start(
            "ssh-key", check_key(board, what.settings, what.environ, file=what.ssh_file, alias=_SAMPLE, identity=what.identity)
        )
        labels: dict[str, str] | None = None
        try:
            _, labels = await in_thread(what.read_contexts)
        except BrokerError:
            labels = None
        known: str | None = None
        try:
            async with asyncio.timeout(what.budget_s / 4):
                known = await asyncio.shield(self._longest)
        except TimeoutError:
            pass  # the cluster is slow: then the longest legal alias stands in
        names = aliases_to_try(known, what.target, self._namespace)
        board.start(
            "ssh-configuration",
            check_configuration(
                board, what.settings, what.environ, file=what.ssh_file, names=names, labels=labels, limit_s=what.budget_s
            ),
        )
