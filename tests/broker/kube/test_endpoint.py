"""kubectl and our Endpoint show the same face to a server that writes down what it sees."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from broker.errors import BrokerError, CredentialError, SettingsError, TrustError, Unreachable, UsageError
from broker.kube.endpoint import Endpoint, list_contexts, open_endpoint
from tests.broker.kube.recording import Authority, Recorder, RecordingProxy, make_authority, server_context

NAMES: list[x509.GeneralName] = [
    x509.DNSName("kube.lab.example"),
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
]
CANARY = "canary-5Ecret"
FACE = ("host", "authorization", "impersonate-user", "impersonate-uid", "impersonate-group", "impersonate-extra-")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


@pytest.fixture
def recorder(authority: Authority, tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(context=server_context(authority, NAMES, tmp_path))
    yield made
    made.close()


def write(
    folder: Path, *, server: str, cluster: dict[str, object] | None = None, user: dict[str, object] | None = None
) -> Path:
    path = folder / "config"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.write_text(json.dumps(document))
    return path


def ours(path: Path, environ: dict[str, str] | None = None, **flags: object) -> Endpoint:
    words: dict[str, object] = {
        "kubeconfig": str(path),
        "context": None,
        "namespace": None,
        "as_user": None,
        "stdin_is_ours": False,
    }
    return open_endpoint(**{**words, **flags}, environ={"PATH": os.environ["PATH"], **(environ or {})})  # type: ignore[arg-type]


def get(endpoint: Endpoint, path: str, extra: dict[str, str] | None = None) -> int:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
    connection.sock = endpoint.open_socket(timeout_s=10)
    connection.putrequest("GET", endpoint.prefix + path, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", endpoint.host_header)
    for name, value in (*endpoint.request_headers(), *(extra or {}).items()):
        connection.putheader(name, value.encode())
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def kube(kubectl: Path, path: Path, *words: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(path.parent), **(environ or {})}
    return subprocess.run(
        [kubectl, "--kubeconfig", path, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=env,
        timeout=30,
        check=False,
    )


PLUGIN = """#!/bin/sh
printf '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"from-plugin-%s"}}' "$WORD"
printf '%s' "$KUBERNETES_EXEC_INFO" > "$INFO"
"""


def exec_user(folder: Path, **more: object) -> dict[str, object]:
    script = folder / "p.sh"
    script.write_text(PLUGIN)
    script.chmod(0o755)
    env = [{"name": "WORD", "value": "w"}, {"name": "INFO", "value": str(folder / "info")}]
    api = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": api, "command": "./p.sh", "args": None, "env": env, "interactiveMode": "Never", **more}}


def users(folder: Path, authority: Authority) -> dict[str, dict[str, object]]:
    certificate, key = authority.issue("alice", [x509.DNSName("alice")])
    (folder / "a.pem").write_bytes(certificate)
    (folder / "a.key").write_bytes(key)
    (folder / "tok").write_text("tok-abc\n")
    pair = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    acted = {"as": "bob", "as-uid": "7", "as-groups": ["g1", "g2"], "as-user-extra": {"Scopes/x%": ["v1", "v2"]}}
    return {
        "token": {"token": "t0"},
        "token file": {"tokenFile": "tok"},
        "both": {"token": "t0", "tokenFile": "tok"},
        "basic": {"username": "u", "password": "pw:x"},
        "certificate data": dict(pair),
        "certificate files": {"client-certificate": "a.pem", "client-key": "a.key"},
        "certificate and token": {**pair, "token": "t1"},
        "impersonation": {"token": "t0", **acted},
        "plugin": exec_user(folder),
        "plugin and token": {**exec_user(folder), "token": "static"},
        "plugin and certificate": {**exec_user(folder), **pair},
        "oidc and token": {
            "token": "t2",
            "auth-provider": {"name": "oidc", "config": {"idp-issuer-url": "https://i", "client-id": "c"}},
        },
    }


KINDS = (
    "token", "token file", "both", "basic", "certificate data", "certificate files", "certificate and token", "impersonation",
    "plugin", "plugin and token", "plugin and certificate", "oidc and token",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_same_face_for_rest_and_websocket(
    kind: str, kubectl: Path, recorder: Recorder, authority: Authority, tmp_path: Path
) -> None:
    cluster: dict[str, object] = {
        "certificate-authority-data": base64.b64encode(authority.pem).decode(),
        "tls-server-name": "kube.lab.example",
    }
    server = f"https://127.0.0.1:{recorder.port}/k8s//clusters/c-m-abc12/"
    path = write(tmp_path, server=server, cluster=cluster, user=users(tmp_path, authority)[kind])
    done = kube(kubectl, path, "get", "--raw", "/version")
    assert done.returncode == 0, done.stderr
    kube(kubectl, path, "exec", "p", "--", "true")
    theirs = list(recorder.requests)
    recorder.requests.clear()
    endpoint = ours(path)
    assert get(endpoint, "/version") == 200
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
    }
    assert get(endpoint, "/api/v1/namespaces/shop/pods/p/exec", upgrade) == 403
    rest, socket = recorder.requests
    their_socket = next(r for r in theirs if r.only("upgrade") and r.method == "GET")
    for mine, other in ((rest, theirs[0]), (socket, their_socket)):
        assert mine.path == other.path.partition("?")[0]
        assert (mine.server_name, mine.client) == (other.server_name, other.client)
        assert mine.only(*FACE) == other.only(*FACE)


@pytest.mark.parametrize(
    "words", [("--as", "zed"), ("--as", "zed", "--as-group", "h1", "--as-group", "h2"), ("--as", "z", "--as-uid", "9")]
)
def test_impersonation_flags_as_kubectl_lays_them(
    words: tuple[str, ...], kubectl: Path, recorder: Recorder, authority: Authority, tmp_path: Path
) -> None:
    cluster: dict[str, object] = {"certificate-authority-data": base64.b64encode(authority.pem).decode()}
    path = write(
        tmp_path, server=f"https://localhost:{recorder.port}", cluster=cluster, user=users(tmp_path, authority)["impersonation"]
    )
    assert kube(kubectl, path, "get", "--raw", "/version", *words).returncode == 0
    pairs = list(zip(words[::2], words[1::2], strict=True))
    groups = [v for k, v in pairs if k == "--as-group"]
    get(ours(path, as_user=dict(pairs)["--as"], as_groups=groups, as_uid=dict(pairs).get("--as-uid")), "/version")
    theirs, mine = recorder.requests
    assert mine.only(*FACE) == theirs.only(*FACE)


def test_no_credentials_without_tls(kubectl: Path, tmp_path: Path, authority: Authority) -> None:
    recorder = Recorder(context=None)
    path = write(tmp_path, server=f"http://127.0.0.1:{recorder.port}", user=users(tmp_path, authority)["impersonation"])
    assert kube(kubectl, path, "get", "--raw", "/version").returncode == 0
    endpoint = ours(path)
    assert get(endpoint, "/version") == 200
    assert endpoint.tls_context() is None and endpoint.warnings
    theirs, mine = recorder.requests
    assert mine.only(*FACE) == theirs.only(*FACE)
    recorder.close()


@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("origin", ["proxy-url", "environment"])
def test_same_way_through_proxies(
    kind: str, origin: str, kubectl: Path, recorder: Recorder, authority: Authority, tmp_path: Path
) -> None:
    proxy = RecordingProxy(kind=kind, target=recorder.port)
    url = f"{kind}://pu:p%40w@127.0.0.1:{proxy.port}"
    cluster: dict[str, object] = {"certificate-authority-data": base64.b64encode(authority.pem).decode()}
    environ = {"NO_PROXY": "kube.lab.example"}
    if origin == "proxy-url":
        cluster["proxy-url"] = url
    else:
        environ = {"HTTPS_PROXY": url}
    path = write(tmp_path, server="https://kube.lab.example:6443", cluster=cluster, user={"token": "t"})
    done = kube(kubectl, path, "get", "--raw", "/version", environ=environ)
    assert done.returncode == 0, done.stderr
    endpoint = ours(path, environ)
    assert get(endpoint, "/version") == 200
    assert proxy.asked[0] == proxy.asked[-1] == "kube.lab.example:6443 pu:p@w"
    assert "p@w" not in repr(endpoint) and "p%40w" not in repr(endpoint)
    proxy.close()


def test_plugin_is_told_the_same(kubectl: Path, recorder: Recorder, authority: Authority, tmp_path: Path) -> None:
    """provideClusterInfo: KUBERNETES_EXEC_INFO is the same JSON from kubectl and from us."""
    extension = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x", "n": 1}}]
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    cluster: dict[str, object] = {"certificate-authority": "ca.pem", "extensions": extension, "tls-server-name": "localhost"}
    user = exec_user(tmp_path, provideClusterInfo=True)
    path = write(tmp_path, server=f"https://127.0.0.1:{recorder.port}", cluster=cluster, user=user)
    assert kube(kubectl, path, "get", "--raw", "/version").returncode == 0
    theirs = json.loads((tmp_path / "info").read_text())
    ours(path).request_headers()
    assert json.loads((tmp_path / "info").read_text()) == theirs


def test_other_names_are_named(recorder: Recorder, authority: Authority, tmp_path: Path) -> None:
    cluster: dict[str, object] = {
        "certificate-authority-data": base64.b64encode(authority.pem).decode(),
        "tls-server-name": "other.example",
    }
    endpoint = ours(write(tmp_path, server=f"https://127.0.0.1:{recorder.port}", cluster=cluster, user={"token": CANARY}))
    with pytest.raises(TrustError) as caught:
        endpoint.open_socket(timeout_s=10)
    assert caught.value.code == "tls-name"
    assert "other.example" in str(caught.value.cause) and "kube.lab.example" in str(caught.value.cause)


def test_unknown_authority_names_whose_ca_was_used(recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "wrong.pem").write_bytes(make_authority("another").pem)
    path = write(tmp_path, server=f"https://localhost:{recorder.port}", cluster={"certificate-authority": "wrong.pem"})
    with pytest.raises(TrustError) as caught:
        ours(path).open_socket(timeout_s=10)
    assert caught.value.code == "tls-untrusted" and "wrong.pem" in str(caught.value.cause)


def test_skipping_verification_warns_once(recorder: Recorder, tmp_path: Path) -> None:
    path = write(tmp_path, server=f"https://localhost:{recorder.port}", cluster={"insecure-skip-tls-verify": True})
    endpoint = ours(path)
    assert get(endpoint, "/version") == 200
    assert len(endpoint.warnings) == 1 and "insecure-skip-tls-verify" in endpoint.warnings[0]


def test_closed_port_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        ours(write(tmp_path, server="https://127.0.0.1:1")).open_socket(timeout_s=5)
    assert "127.0.0.1:1" in str(caught.value.cause)


def test_token_file_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "tok").write_text("tok-abc\n")
    endpoint = ours(write(tmp_path, server="https://x", user={"tokenFile": "tok"}))
    assert endpoint.request_headers() == (("Authorization", "Bearer tok-abc"),)
    (tmp_path / "tok").write_text("tok-def\n")
    endpoint.forget_credentials()
    assert endpoint.request_headers() == (("Authorization", "Bearer tok-def"),)


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_token_file_missing_or_empty(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "tok").write_text(content)
    with pytest.raises(CredentialError) as caught:
        ours(write(tmp_path, server="https://x", user={"tokenFile": "tok"})).request_headers()
    assert str(tmp_path / "tok") in caught.value.message


def test_missing_plugin_shows_hint(tmp_path: Path) -> None:
    user = exec_user(tmp_path, command="no-such-plugin", installHint="get it from \x1b[31mthe portal")
    with pytest.raises(CredentialError) as caught:
        ours(write(tmp_path, server="https://x", user=user)).request_headers()
    assert "no-such-plugin" in caught.value.message
    assert "the portal" in str(caught.value.next_step) and "\x1b" not in str(caught.value.next_step)


def test_flags_need_a_user(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        ours(write(tmp_path, server="https://x", user={"token": CANARY}), as_groups=("g",))


def test_holes_and_nothing_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    one = write(tmp_path, server="https://192.0.2.1:6443", user={"token": "one"})
    listed = f"{tmp_path}/missing::{tmp_path}/empty:{one}"
    assert ours(Path(), {"KUBECONFIG": listed}, kubeconfig=None).server == "https://192.0.2.1:6443"
    with pytest.raises(SettingsError) as caught:
        ours(Path(), {"KUBECONFIG": f"{tmp_path}/m1:{tmp_path}/m2"}, kubeconfig=None)
    assert "m1" in caught.value.message and "m2" in caught.value.message


def test_pod_service_account(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sa\n")
    (tmp_path / "namespace").write_text("team")
    environ = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    endpoint = ours(Path(), environ, kubeconfig=None, service_account=tmp_path)
    assert (endpoint.host, endpoint.port, endpoint.namespace) == ("fd00::1", 443, "team")
    assert endpoint.request_headers() == (("Authorization", "Bearer sa"),)


@pytest.mark.parametrize("field", ["token", "password", "client-key-data", "proxy"])
def test_no_secret_is_shown(field: str, tmp_path: Path) -> None:
    user: dict[str, object] = {"token": CANARY + "\nx"} if field == "token" else {"username": "u", "password": CANARY}
    if field == "client-key-data":
        packed = base64.b64encode(CANARY.encode()).decode()
        user = {"client-certificate-data": packed, "client-key-data": packed}
    cluster: dict[str, object] = {"proxy-url": f"http://u:{CANARY}@127.0.0.1:1"} if field == "proxy" else {}
    endpoint = ours(write(tmp_path, server="https://127.0.0.1:1", cluster=cluster, user=user))
    shown = [repr(endpoint), repr(endpoint._credentials), repr(endpoint._user), repr(endpoint._cluster), repr(endpoint._proxy)]
    for act in (endpoint.request_headers, lambda: endpoint.open_socket(timeout_s=2)):
        try:
            act()
        except BrokerError as exc:
            shown += [repr(exc), str(exc.as_json()), repr(exc.__cause__), repr(exc.__context__)]
    assert CANARY not in "".join(shown)


def test_contexts_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path, server="https://a:secret@h:1/p/", user={"token": CANARY})
    found = list_contexts(kubeconfig=str(path), environ={})
    assert found.current == "c" and found.entries[0].server == "https://h:1/p/"
