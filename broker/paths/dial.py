"""The way through the API server: a guest port behind KubeVirt's portforward subresource (kubevirt.md A1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from broker.refs import Kind

if TYPE_CHECKING:
    from broker.kube.cold import ColdClient, ColdStream
    from broker.kube.endpoint import Endpoint
    from broker.kube.stream import Stream
    from broker.kube.tunnel import StallPolicy


_RESOURCES: Final = {"vm": "virtualmachines", "vmi": "virtualmachineinstances"}


def portforward_path(kind: Kind, namespace: str, name: str, port: int, protocol: str = "tcp") -> str:
    """Return the subresource's path without the server's prefix; the protocol is always named, as virtctl does.

    Port 1 to 65535, else ValueError; virt-api checks neither.
    """
    if not 1 <= port <= 65_535:
        raise ValueError(f"port {port} is not in 1 to 65535")
    base = f"/apis/subresources.kubevirt.io/v1/namespaces/{quote(namespace, safe='')}"
    return f"{base}/{_RESOURCES[kind]}/{quote(name, safe='')}/portforward/{port}/{protocol}"


async def dial(
    endpoint: Endpoint,
    *,
    kind: Kind,
    namespace: str,
    name: str,
    port: int,
    protocol: Literal["tcp", "udp"] = "tcp",
    handshake_s: float = 15.0,
    connect_s: float = 15.0,
    policy: StallPolicy | None = None,
) -> Stream:
    """Open an asyncio stream to a guest port, of datagrams for udp; raises as `broker.kube.stream.open_stream` does."""
    from broker.kube.stream import open_stream

    return await open_stream(
        endpoint,
        portforward_path(kind, namespace, name, port, protocol),
        handshake_s=handshake_s,
        connect_s=connect_s,
        policy=policy,
        keeps_messages=protocol == "udp",
    )


def dial_cold(
    client: ColdClient,
    *,
    kind: Kind,
    namespace: str,
    name: str,
    port: int,
    handshake_s: float = 15.0,
    policy: StallPolicy | None = None,
) -> ColdStream:
    """Open a blocking stream to a guest port on the client's connection; raises as `ColdClient.upgrade` does."""
    return client.upgrade(portforward_path(kind, namespace, name, port), handshake_s=handshake_s, policy=policy)
