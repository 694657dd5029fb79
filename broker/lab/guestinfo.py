"""What virt-api tells of a guest through its agent: guestosinfo, userlist, filesystemlist."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from broker.lab.answers import answer_json
from broker.lab.lifecycle import has_handler
from broker.lab.objects import Objects
from broker.lab.virtapi import plain

__all__ = ["GuestInformation"]

_COMMANDS = (
    "guest-ping", "guest-get-time", "guest-info", "guest-shutdown", "guest-network-get-interfaces", "guest-get-fsinfo",
    "guest-get-host-name", "guest-get-users", "guest-get-timezone", "guest-get-osinfo", "guest-ssh-get-authorized-keys",
    "guest-ssh-add-authorized-keys", "guest-ssh-remove-authorized-keys",
)  # fmt: skip


class GuestInformation:
    """Answers from the VMI's own status; every refusal is a 500 in plain text (KubeVirt pkg/virt-api/rest/subresource.go)."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def answer(self, namespace: str, name: str, subresource: str) -> web.Response:
        """Answer one GET."""
        vmi = self._objects.get("virtualmachineinstances.kubevirt.io", namespace, name)
        if vmi is None:
            return plain(500, f'virtualmachineinstance.kubevirt.io "{name}" not found')
        status = vmi.get("status") or {}
        if status.get("phase") != "Running":
            return plain(500, "VMI is not running")
        conditions = status.get("conditions") or []
        if not any(c.get("type") == "AgentConnected" and c.get("status") == "True" for c in conditions):
            return plain(500, "VMI does not have guest agent connected")
        node = status.get("nodeName") or ""
        if not has_handler(self._objects, node):
            return plain(500, f"No virt-handler on node {node} found")
        return answer_json(_body(name, status, subresource))


def _body(name: str, status: dict[str, Any], subresource: str) -> dict[str, Any]:
    kind = {"guestosinfo": "VirtualMachineInstanceGuestAgentInfo", "userlist": "VirtualMachineInstanceGuestOSUserList"}
    head = {
        "apiVersion": "kubevirt.io/v1",
        "kind": kind.get(subresource, "VirtualMachineInstanceFileSystemList"),
        "metadata": {},
    }
    if subresource != "guestosinfo":
        return {**head, "items": []}
    return {
        **head,
        "guestAgentVersion": "9.0.0",
        "supportedCommands": [{"name": command, "enabled": True} for command in _COMMANDS],
        "hostname": name.split(".")[0],
        "os": dict(status.get("guestOSInfo") or {}),
        "timezone": "UTC, 0",
        "userList": [],
        "fsInfo": {"disks": []},
    }
