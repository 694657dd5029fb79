"""A TLS API server that knows two VMs: enough for what the front does before ssh takes over."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _vm(name: str, port: str | None, user: str | None) -> dict[str, object]:
    annotations = {"vmbroker.io/ssh-port": port, "vmbroker.io/ssh-user": user}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "annotations": {key: value for key, value in annotations.items() if value},
        },
        "spec": {"runStrategy": "Always", "template": {"spec": {"domain": {"devices": {}}}}},
        "status": {"created": True, "ready": True, "printableStatus": "Running"},
    }


TOKEN = "Zk9CANARY7secretvalue"
"""The bearer token of the kubeconfig: it may stand in no output and no argv."""

OBJECTS: dict[str, dict[str, object]] = {
    "web": _vm("web", None, "fedora"),
    "db": _vm("db", "2222", None),
}


def _answer(parts: list[str]) -> dict[str, object] | None:
    if parts[-1] in ("virtualmachines", "virtualmachineinstances"):
        is_here = parts[-2] in ("v1", "shop")
        items = list(OBJECTS.values()) if parts[-1] == "virtualmachines" and is_here else []
        return {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineList",
            "metadata": {"resourceVersion": "1"},
            "items": items,
        }
    if parts == ["version"]:
        return {"gitVersion": "v1.33.1", "major": "1", "minor": "33"}
    return OBJECTS.get(parts[-1]) if parts[-2] == "virtualmachines" and parts[-3] == "shop" else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = _answer(self.path.partition("?")[0].strip("/").split("/"))
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": "NotFound",
            "message": "not found",
            "code": 404,
        }
        body = json.dumps(found or status).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: stderr is the tests'."""


def _certificate(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 that is its own CA; the file holds key and certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "api.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def serving(folder: Path, context: str) -> Iterator[Path]:
    """Serve until the block ends; yields a kubeconfig whose current context has that name and the namespace shop."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(_certificate(folder))
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, name="api", daemon=True)
    thread.start()
    cluster = {"server": f"https://127.0.0.1:{server.server_address[1]}", "certificate-authority": "ca.pem"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
    }
    path = folder / "kube config"
    path.write_text(json.dumps(config))
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
