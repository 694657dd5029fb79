"""Server URLs taken apart as client-go takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import SettingsError
from broker.kube.kubeconfig import Cluster
from broker.kube.server import Server, parse_server


def parsed(url: str) -> Server:
    return parse_server(Cluster(name="c", source=Path("/k"), server=url))


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix", "header"),
    [
        ("https://h", "h", 443, "", "h"),
        ("https://h:6443/", "h", 6443, "", "h:6443"),
        ("https://h/k8s/clusters/c-m-abc12/", "h", 443, "/k8s/clusters/c-m-abc12", "h"),
        ("https://h/a//b/../c?x=1#y", "h", 443, "/a/c", "h"),
        ("https://[fd00::1]:6443", "fd00::1", 6443, "", "[fd00::1]:6443"),
        ("https://[fe80::1%25eth0]", "fe80::1%eth0", 443, "", "[fe80::1]"),
        ("http://h", "h", 80, "", "h"),
        ("127.0.0.1:8080", "127.0.0.1", 8080, "", "127.0.0.1:8080"),
        ("https://bücher.example", "xn--bcher-kva.example", 443, "", "xn--bcher-kva.example"),
    ],
)
def test_parts(url: str, host: str, port: int, prefix: str, header: str) -> None:
    found = parsed(url)
    assert (found.host, found.port, found.prefix, found.host_header) == (host, port, prefix, header)


@pytest.mark.parametrize(
    "url", ["tcp://h:1", "https://h:xx", "https://h:99999", "https://a b", "h:1/a/b", "https://", "https://h\n"]
)
def test_unusable_servers_name_cluster_and_file(url: str) -> None:
    with pytest.raises(SettingsError, match="cluster 'c' of /k"):
        parsed(url)
