"""A static TLS server of 10,000 VMs and VMIs: every page is rendered before the first request.

Run as `python -m tests.bench.list_server FOLDER [COUNT] [PAGE]`; writes kubeconfig, ca.pem and url into the folder, then prints
`ready` and serves until stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml

from broker.lab.certificates import Authority, server_context

Pages = dict[tuple[str, str], bytes]


def managed(manager: str) -> dict[str, object]:
    """Return a managedFields entry of the size that real objects carry."""
    words = ("metadata", "spec", "labels", "domain", "networks")
    fields: dict[str, object] = {f"f:{word}": {".": {}, "f:template": {"f:spec": {}}} for word in words}
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "kubevirt.io/v1",
        "fieldsType": "FieldsV1",
        "time": "2026-11-24T04:00:43Z",
        "fieldsV1": fields,
    }


def machine(number: int) -> dict[str, object]:
    """Return the spec that a VM's template and its VMI share."""
    return {
        "domain": {
            "cpu": {"cores": 2, "sockets": 1, "threads": 1},
            "devices": {
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}, {"name": "ci", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "masquerade": {}}, {"name": "lan", "bridge": {}}],
                "rng": {},
            },
            "memory": {"guest": "2Gi"},
            "resources": {"requests": {"memory": "2Gi"}},
        },
        "networks": [{"name": "default", "pod": {}}, {"name": "lan", "multus": {"networkName": f"vlan{number % 40}"}}],
        "volumes": [
            {"name": "root", "persistentVolumeClaim": {"claimName": f"root-{number}"}},
            {"name": "ci", "cloudInitNoCloud": {"userData": f"#cloud-config\nuser: fedora\nhostname: vm-{number}\n"}},
        ],
    }


def pair(number: int) -> tuple[dict[str, object], dict[str, object]]:
    """Return one VM and its VMI."""
    name, namespace = f"vm-{number:05d}", f"team-{number % 100:02d}"
    meta: dict[str, object] = {
        "name": name,
        "namespace": namespace,
        "creationTimestamp": "2026-11-24T04:00:43Z",
        "generation": 2,
        "resourceVersion": str(1000 + number),
        "labels": {"app": f"app-{number % 7}", "kubevirt.io/vm": name},
        "managedFields": [managed("kubectl"), managed("virt-controller")],
    }
    uid = f"00000000-0000-4000-8000-{number:012d}"
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-11-24T04:01:00Z"}
        for kind in ("Ready", "LiveMigratable", "AgentConnected")
    ]
    vm: dict[str, object] = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {**meta, "uid": uid},
        "spec": {"runStrategy": "Always", "template": {"metadata": {"labels": {"app": "x"}}, "spec": machine(number)}},
        "status": {"created": True, "ready": True, "printableStatus": "Running", "conditions": conditions},
    }
    interfaces = [
        {
            "name": network,
            "ipAddress": f"10.{base}.{number // 250}.{number % 250 + 1}",
            "ipAddresses": [f"10.{base}.{number // 250}.{number % 250 + 1}"],
            "mac": f"02:00:00:{base:02x}:{number // 256:02x}:{number % 256:02x}",
            "interfaceName": guest,
            "podInterfaceName": guest,
            "infoSource": "domain, guest-agent",
            "queueCount": 1,
        }
        for network, guest, base in (("default", "eth0", 128), ("lan", "eth1", 77))
    ]
    owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": name, "uid": uid, "controller": True}
    vmi: dict[str, object] = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {**meta, "uid": uid.replace("4000", "4001"), "ownerReferences": [owner]},
        "spec": machine(number),
        "status": {
            "phase": "Running",
            "nodeName": f"node-{number % 30}",
            "conditions": conditions,
            "guestOSInfo": {"id": "fedora", "name": "Fedora Linux", "prettyName": "Fedora Linux 44", "version": "44"},
            "interfaces": interfaces,
        },
    }
    return vm, vmi


def render(count: int, size: int) -> Pages:
    """Render all pages of both lists, by plural and continue token."""
    pages: Pages = {}
    for start in range(0, count, size):
        pairs = [pair(number) for number in range(start, min(start + size, count))]
        meta = {"resourceVersion": "9", **({"continue": str(start + size)} if start + size < count else {})}
        for position, plural, kind in (
            (0, "virtualmachines", "VirtualMachine"),
            (1, "virtualmachineinstances", "VirtualMachineInstance"),
        ):
            items = [both[position] for both in pairs]
            document = {"apiVersion": "kubevirt.io/v1", "kind": f"{kind}List", "metadata": meta, "items": items}
            body = json.dumps(document, separators=(",", ":")).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            pages[(plural, str(start) if start else "")] = head + body
    return pages


async def serve(folder: Path, pages: Pages) -> None:
    """Serve the pages until stdin ends."""
    authority = Authority.create()
    context = server_context(authority, authority.server(), folder)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                url = urlsplit(head.split(b" ", 2)[1].decode())
                token = parse_qs(url.query).get("continue", [""])[0]
                writer.write(pages[(url.path.rsplit("/", 1)[1], token)])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    ca = authority.certificate_pem
    (folder / "ca.pem").write_bytes(ca)
    (folder / "url").write_text(url)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority-data": b64encode(ca).decode()}}],
        "users": [{"name": "u", "user": {"token": "bench"}}],
        "contexts": [{"name": "bench", "context": {"cluster": "c", "user": "u"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(document))
    (folder / "kubeconfig").chmod(0o600)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    words = sys.argv[1:]
    asyncio.run(
        serve(Path(words[0]), render(int(words[1]) if len(words) > 1 else 10_000, int(words[2]) if len(words) > 2 else 500))
    )
