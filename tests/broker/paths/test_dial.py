"""The path of a guest port is virtctl's."""

from __future__ import annotations

import pytest

from broker.paths.dial import portforward_path


def test_the_path_names_port_and_protocol() -> None:
    assert portforward_path("vm", "shop", "web.one", 22) == (
        "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/web.one/portforward/22/tcp"
    )
    assert portforward_path("vmi", "shop", "web", 53, "udp").endswith("/virtualmachineinstances/web/portforward/53/udp")
    assert "/virtualmachineinstances/a%2Fb%3F/" in portforward_path("vmi", "shop", "a/b?", 1)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_an_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="not in 1 to 65535"):
        portforward_path("vm", "shop", "web", port)
