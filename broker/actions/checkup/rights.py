"""`doctor` and the caller's rights: one SelfSubjectAccessReview each, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.actions.checkup.board import Board
from broker.actions.checkup.check import ok
from broker.actions.explain_failure import explain_call
from broker.clean import clean
from broker.errors import NotPermitted
from broker.facts.roles import Right as RoleRight
from broker.kube.session import in_thread

if TYPE_CHECKING:
    from broker.kube.cold import ColdClient
    from broker.kube.rest import Rest

KUBEVIRT: Final = "kubevirt.io"
SUBRESOURCES: Final = "subresources.kubevirt.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One right that a check asks for: a verb on a resource, which may be a subresource, of a group."""

    code: str
    verb: str
    group: str
    resource: str
    subresource: str | None = None

    @property
    def what(self) -> str:
        """The right in the words of RBAC: `get virtualmachines/portforward`."""
        return f"{self.verb} {self.resource_path}"

    @property
    def resource_path(self) -> str:
        """The resource with its subresource: `virtualmachines/portforward`."""
        return self.resource + (f"/{self.subresource}" if self.subresource else "")


RIGHTS: Final = (
    Right(code="list-vms", verb="list", group=KUBEVIRT, resource="virtualmachines"),
    Right(code="watch-vms", verb="watch", group=KUBEVIRT, resource="virtualmachines"),
    Right(code="list-vmis", verb="list", group=KUBEVIRT, resource="virtualmachineinstances"),
    Right(code="watch-vmis", verb="watch", group=KUBEVIRT, resource="virtualmachineinstances"),
    Right(code="portforward-vm", verb="get", group=SUBRESOURCES, resource="virtualmachines", subresource="portforward"),
    Right(
        code="portforward-vmi", verb="get", group=SUBRESOURCES, resource="virtualmachineinstances", subresource="portforward"
    ),
    Right(code="guestosinfo", verb="get", group=SUBRESOURCES, resource="virtualmachineinstances", subresource="guestosinfo"),
)
"""What vmbroker's commands need, in the catalogue's order."""


async def check_right(board: Board, rest: Rest, client: ColdClient, right: Right, *, namespace: str, name: str | None) -> None:
    """Ask for one right in a namespace; `name` is the VM's where one was named, since a role may name its objects.

    `client` asks who the caller is and which ClusterRoles hold a missing right.
    """
    from broker.kube.access import Question, may

    async with board.judging(right.code):
        await board.need("identity", by=(right.code,))
        question = Question(
            verb=right.verb,
            group=right.group,
            resource=right.resource,
            subresource=right.subresource,
            namespace=namespace,
            name=name if right.verb == "get" else None,
        )
        access = await may(rest, question)
        where = f"in namespace {clean(namespace, 63)}"
        if access.is_allowed:
            board.settle(ok(right.code, f"{right.what} {where}"))
            return
        needed = RoleRight(verb=right.verb, group=right.group, resource=right.resource_path, namespace=namespace)
        error = NotPermitted(
            f"you may not {right.what} {where}",
            code="forbidden",
            cause=f"the server says: {clean(access.reason, 200)}" if access.reason else None,
        )
        raise await in_thread(lambda: explain_call(client, error, right=needed))
