"""Which guests and users the lab has, for faults that name one: a name that meets nothing is refused, not taken in silence."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from broker.lab.objects import Objects

__all__ = ["Inhabitants"]

_KINDS = ("virtualmachines.kubevirt.io", "virtualmachineinstances.kubevirt.io")


class Inhabitants:
    """The machines of `objects` and the users called `users`; `system:` names (service accounts, nodes) are all taken."""

    def __init__(self, objects: Objects, users: Collection[str]) -> None:
        self._objects = objects
        self._users = users

    def about_guest(self, guest: str) -> str:
        """Say why `namespace/name` is no VM or VMI; empty where it is one."""
        namespace, _, name = guest.partition("/")
        if any(self._objects.entry(kind, namespace, name) is not None for kind in _KINDS):
            return ""
        return f"the lab has no VM {guest!r}; its VMs: vmbroker --lab vms -A"

    def about_user(self, name: str) -> str:
        """Say why that is no user; empty where it is one."""
        if name in self._users or name.startswith("system:"):
            return ""
        near = difflib.get_close_matches(name, self._users, n=1)
        return f"the lab has no user {name!r}; " + (f"is it {near[0]}?" if near else f"its users: {', '.join(self._users)}")
