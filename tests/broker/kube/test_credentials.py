"""Plugins and OIDC logins: kept while they live, asked once at a time, ended when they hang."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from broker.errors import CredentialError
from broker.kube.credentials import Credentials
from broker.kube.execplugin import run_plugin
from broker.kube.kubeconfig import AuthProvider, ExecPlugin, User

API = "client.authentication.k8s.io/v1"


def plugin(folder: Path, script: str) -> ExecPlugin:
    path = folder / "plugin"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return ExecPlugin(
        api_version=API, command=str(path), interactive_mode="IfAvailable", env=(("COUNT", str(folder / "count")),)
    )


def credentials(user: User, now: list[float]) -> Credentials:
    return Credentials(user, cluster_info=dict, environ={"PATH": os.environ["PATH"]}, stdin_is_ours=False, clock=lambda: now[0])


GIVES = f"""echo x >> "$COUNT"; n=$(wc -l < "$COUNT")
echo '{{"kind":"ExecCredential","apiVersion":"{API}","status":{{'\\
'"token":"t'$n'","expirationTimestamp":"1970-01-01T00:10:00Z"}}}}'
"""


def test_plugin_is_kept_until_it_expires_and_run_once_for_many(tmp_path: Path) -> None:
    now = [0.0]
    held = credentials(User(name="u", source=tmp_path, exec_plugin=plugin(tmp_path, GIVES)), now)
    with ThreadPoolExecutor(8) as pool:
        assert {f.result() for f in [pool.submit(held.authorization) for _ in range(16)]} == {"Bearer t1"}
    now[0] = 601.0
    assert held.authorization() == "Bearer t2"
    now[0] = 0.0
    held.forget("Bearer t1")  # a late 401 of the old one does not cost the new one
    assert held.authorization() == "Bearer t2"
    held.forget("Bearer t2")
    assert held.authorization() == "Bearer t3"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo go away >&2; exit 3", "status 3; it said: go away"),
        ("echo nonsense", "no ExecCredential"),
        (
            """echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","status":{"token":"t"}}'""",
            "v1beta1",
        ),
        (f"""echo '{{"kind":"ExecCredential","apiVersion":"{API}"}}'""", "no status"),
        (f"""echo '{{"kind":"ExecCredential","apiVersion":"{API}","status":{{}}}}'""", "neither token"),
        (f"""echo '{{"kind":"ExecCredential","apiVersion":"{API}","status":{{"clientKeyData":"k"}}}}'""", "only one"),
        ('read x; test -z "$x" && echo stdin was empty >&2; exit 1', "stdin was empty"),
    ],
)
def test_plugin_failures_say_why(script: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(CredentialError) as caught:
        credentials(User(name="u", source=tmp_path, exec_plugin=plugin(tmp_path, script)), [0.0]).authorization()
    assert says in str(caught.value.cause) and str(tmp_path / "plugin") in caught.value.message


def test_a_hanging_plugin_is_ended_with_its_children(tmp_path: Path) -> None:
    hanging = plugin(tmp_path, 'echo visit the portal >&2; sleep 600 & echo $! > "$COUNT"; wait')
    with pytest.raises(CredentialError) as caught:
        run_plugin(hanging, user="u", cluster_info=None, environ=dict(os.environ), stdin_is_ours=False, limit_s=0.5)
    assert caught.value.code == "plugin-timeout" and "visit the portal" in str(caught.value.cause)
    child = int((tmp_path / "count").read_text())
    end = time.monotonic() + 5
    while _lives(child):
        assert time.monotonic() < end


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Issuer(BaseHTTPRequestHandler):
    """An issuer that wants the secret in the body."""

    forms: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self._answer(200, {"token_endpoint": f"http://127.0.0.1:{self.server.server_port}/token"})  # type: ignore[attr-defined]

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.forms.append(form)
        is_good = "client_secret=s" in form and "refresh_token=r" in form
        self._answer(200 if is_good else 401, {"id_token": jwt(1000.0)} if is_good else {"error": "invalid_client"})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def jwt(expiry: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expiry}).encode()).decode().rstrip("=")
    return f"e30.{claims}.x"


@pytest.fixture
def issuer() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Issuer.forms.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def oidc(issuer: str, **more: str) -> User:
    config = {
        "idp-issuer-url": issuer,
        "client-id": "c",
        "id-token": jwt(100.0),
        **{k.replace("_", "-"): v for k, v in more.items()},
    }
    return User(name="u", source=Path("/k"), auth_provider=AuthProvider(name="oidc", config=config))


def test_oidc_refreshes_when_expired_and_tries_both_ways(issuer: str) -> None:
    now = [0.0]
    held = credentials(oidc(issuer, client_secret="s", refresh_token="r"), now)
    assert held.authorization() == f"Bearer {jwt(100.0)}" and not Issuer.forms
    now[0] = 95.0
    assert held.authorization() == f"Bearer {jwt(1000.0)}" and len(Issuer.forms) == 2


def test_oidc_refusals_end_in_a_login(issuer: str) -> None:
    for user, cause in ((oidc(issuer), "no refresh token"), (oidc(issuer, refresh_token="old"), "invalid_client")):
        with pytest.raises(CredentialError) as caught:
            credentials(user, [200.0]).authorization()
        assert caught.value.code == "login-expired" and cause in str(caught.value.cause)
