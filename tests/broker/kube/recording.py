"""A server that writes down what reaches it, and recording proxies: what kubectl and we are compared by."""

from __future__ import annotations

import base64
import datetime
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "shop"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
    "status": {"phase": "Running"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A throw-away CA."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, names: list[x509.GeneralName]) -> tuple[bytes, bytes]:
        """A certificate and key in PEM, signed by this CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _builder(name, self.certificate.subject, key).add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = made.sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM), _key_pem(key)


def make_authority(name: str = "test CA") -> Authority:
    """A new self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = _builder(name, subject, key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(certificate=built.sign(key, hashes.SHA256()), key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request head as it came; `server_name` is the SNI, `client` the subject of the client certificate."""

    server_name: str | None
    client: str | None
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]

    def only(self, *names: str) -> list[tuple[str, str]]:
        """The headers of these (lower-case) names or prefixes ending in "-", sorted."""
        return sorted(
            (k.lower(), v)
            for k, v in self.headers
            if any(k.lower() == n or (n[-1] == "-" and k.lower().startswith(n)) for n in names)
        )


@dataclass(kw_only=True)
class Recorder:
    """A server on loopback; every request is answered 200 (a pod, a version), an upgrade 403."""

    context: ssl.SSLContext | None
    requests: list[Request] = field(default_factory=list)
    status: Callable[[Request], int] = lambda _: 200

    def __post_init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.socket.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        name = client = None
        try:
            if self.context is not None:
                secure = self.context.wrap_socket(sock, server_side=True)
                name = getattr(secure, "seen_name", None)
                subject = secure.getpeercert()
                client = str(subject["subject"]) if subject else None
                sock = secure
            while (request := _read(sock, name, client)) is not None:
                self.requests.append(request)
                is_upgrade = bool(request.only("upgrade"))
                status = 403 if is_upgrade else self.status(request)
                body = json.dumps(_answer(request.path.partition("?")[0])).encode()
                head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                sock.sendall(head.encode() + body)
        except OSError:
            pass
        finally:
            sock.close()


class _SeenSocket(ssl.SSLSocket):
    seen_name: str | None = None


def server_context(authority: Authority, names: list[x509.GeneralName], folder: Path) -> ssl.SSLContext:
    """A server context that asks for (and does not demand) client certificates of the same CA."""
    certificate, key = authority.issue("server", names)
    (folder / "server.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = _SeenSocket
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(cadata=authority.pem.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])

    def seen(sock: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        sock.seen_name = name  # type: ignore[union-attr]

    context.sni_callback = seen
    return context


@dataclass(kw_only=True)
class RecordingProxy:
    """An HTTP CONNECT or SOCKS5 proxy that notes whom it was asked for and joins the two ends at `target`."""

    kind: str
    target: int
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.socket.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        try:
            self.asked.append(self._http(sock) if self.kind == "http" else self._socks(sock))
            far = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            sock.close()
            return
        threading.Thread(target=_pump, args=(far, sock), daemon=True).start()
        _pump(sock, far)

    def _http(self, sock: socket.socket) -> str:
        head = _head(sock).decode()
        login = [line for line in head.split("\r\n") if line.lower().startswith("proxy-authorization")]
        sock.sendall(b"HTTP/1.1 200 ok\r\n\r\n")
        return head.split(" ")[1] + (" " + base64.b64decode(login[0].split()[-1]).decode() if login else "")

    def _socks(self, sock: socket.socket) -> str:
        count = _exactly(sock, 2)[1]
        methods = _exactly(sock, count)
        login = ""
        if 2 in methods:
            sock.sendall(b"\x05\x02")
            user = _exactly(sock, _exactly(sock, 2)[1])
            password = _exactly(sock, _exactly(sock, 1)[0])
            login = f" {user.decode()}:{password.decode()}"
            sock.sendall(b"\x01\x00")
        else:
            sock.sendall(b"\x05\x00")
        kind = _exactly(sock, 4)[3]
        host = _exactly(sock, _exactly(sock, 1)[0]).decode() if kind == 3 else socket.inet_ntoa(_exactly(sock, 4))
        port = int.from_bytes(_exactly(sock, 2), "big")
        sock.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        return f"{host}:{port}{login}"


def _answer(path: str) -> object:
    """Just enough discovery that `kubectl exec p` finds its pod."""
    if "/pods/" in path:
        return POD
    if path.endswith("/api"):
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path.endswith("/apis"):
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
    if path.endswith("/api/v1"):
        pods = {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get"]}
        return {"kind": "APIResourceList", "groupVersion": "v1", "resources": [pods]}
    return {"major": "1", "minor": "36"}


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for sock in (source, target):
        sock.close()


def _exactly(sock: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = sock.recv(size - len(got))
        if not part:
            raise OSError("closed")
        got += part
    return got


def _head(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def _read(sock: socket.socket, name: str | None, client: str | None) -> Request | None:
    head = _head(sock).decode("utf-8")
    if not head:
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    pairs = [line.split(": ", 1) for line in lines]
    return Request(server_name=name, client=client, method=method, path=path, headers=tuple((k, v) for k, v in pairs))


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
