"""Environment proxies as Go chooses them."""

from __future__ import annotations

import pytest

from broker.errors import SettingsError
from broker.kube.proxy import environment_proxy, is_bypassed, parse_proxy


@pytest.mark.parametrize(
    ("host", "port", "no_proxy", "expected"),
    [
        ("localhost", 443, "", True),
        ("127.8.0.1", 443, "", True),
        ("::1", 443, "", True),
        ("a.example", 443, "example", True),
        ("example", 443, ".example", False),
        ("a.example", 443, "*.example", True),
        ("aexample", 443, "example", False),
        ("a.example", 443, "example:443", True),
        ("a.example", 6443, "example:443", False),
        ("10.1.2.3", 443, " 10.0.0.0/8 ", True),
        ("11.1.2.3", 443, "10.0.0.0/8", False),
        ("10.1.2.3", 6443, "10.1.2.3:443", False),
        ("fd00::5", 443, "fd00::/8", True),
        ("fd00::5", 443, "[fd00::5]:443", True),
        ("A.Example", 443, "example", True),
        ("b", 443, "x,*", True),
        ("b", 443, ",:80,", False),
    ],
)
def test_no_proxy(host: str, port: int, no_proxy: str, expected: bool) -> None:
    assert is_bypassed(host, port, no_proxy) is expected


def test_capitals_first_and_scheme_added() -> None:
    environ = {"HTTPS_PROXY": "big:1", "https_proxy": "http://small:1", "HTTP_PROXY": "http://plain:1"}
    assert environment_proxy("https", "h", 443, environ) == "http://big:1"
    assert environment_proxy("http", "h", 80, environ) == "http://plain:1"
    assert environment_proxy("https", "h", 443, {"ALL_PROXY": "http://x"}) is None


@pytest.mark.parametrize("url", ["ftp://h:1", "127.0.0.1:1", "http://", "http://h:port"])
def test_bad_proxy_urls_name_their_origin(url: str) -> None:
    with pytest.raises(SettingsError, match="cluster x"):
        parse_proxy(url, "cluster x")
