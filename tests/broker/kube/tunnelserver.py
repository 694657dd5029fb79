"""A small TLS server that refuses, upgrades and misbehaves as virt-api behind a kube-apiserver does (kubevirt.md A3, A5, M)."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from broker.kube.endpoint import Endpoint, open_endpoint

FRAGMENT_BYTES = 10_240


@dataclass(slots=True)
class Asked:
    """One request as the server saw it."""

    line: str
    headers: list[tuple[str, str]]

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Session:
    """The server's side of one open websocket: one thread, which reads while it waits to write."""

    def __init__(self, sock: ssl.SSLSocket, protocol: ServerProtocol) -> None:
        self.sock = sock
        self.protocol = protocol
        self.pongs = 0
        self.closes = 0
        self.sent = threading.Event()
        self._is_gone = False
        self._payload: deque[bytes] = deque()
        sock.setblocking(False)

    def send(self, data: bytes) -> None:
        """One message, in gorilla's fragments above 10 KiB; OSError once the client is gone."""
        if len(data) <= FRAGMENT_BYTES:
            self.protocol.send_binary(data)
        else:
            self.protocol.send_binary(data[:FRAGMENT_BYTES], fin=False)
            for start in range(FRAGMENT_BYTES, len(data), FRAGMENT_BYTES):
                self.protocol.send_continuation(data[start : start + FRAGMENT_BYTES], fin=False)
            self.protocol.send_continuation(b"", fin=True)
        self.flush()

    def ping(self) -> None:
        self.protocol.send_ping(b"keep alive")
        self.flush()

    def messages(self) -> Iterator[bytes]:
        """Payload of the client's frames until it ends; Close is answered."""
        while True:
            while self._payload:
                yield self._payload.popleft()
            if self._is_gone or self.closes:
                return
            self._wait(for_write=False)
            with contextlib.suppress(OSError):
                self.flush()

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            view = memoryview(data)
            while view:
                try:
                    view = view[self.sock.send(view) :]
                except ssl.SSLWantWriteError:
                    self._wait(for_write=True)
                    if self._is_gone:
                        raise ConnectionResetError from None

    def _wait(self, *, for_write: bool) -> None:
        if not self.sock.pending():
            readable, _, _ = select.select([self.sock], [self.sock] if for_write else [], [], 1.0)
            if not readable:
                return
        try:
            data = self.sock.recv(65_536)
        except ssl.SSLWantReadError:
            return
        except OSError:
            data = b""
        if not data:
            self._is_gone = True
            return
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                if event.opcode is Opcode.PONG:
                    self.pongs += 1
                elif event.opcode is Opcode.CLOSE:
                    self.closes += 1
                elif event.data:
                    self._payload.append(bytes(event.data))


@dataclass(slots=True)
class TunnelServer:
    """`answer` gives raw bytes for a GET, `refuse` raw bytes for an upgrade or None to accept, `session` runs after 101."""

    url: str
    ca_pem: bytes
    answer: Callable[[Asked], bytes] = lambda asked: reply(404, b"404 page not found\n", "text/plain")
    refuse: Callable[[Asked], bytes | None] = lambda asked: None
    session: Callable[[Session], None] = lambda session: None
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    sessions: list[Session] = field(default_factory=list)
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    stop: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(raw, context), daemon=True).start()

    def _one(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        self.connections += 1
        with contextlib.suppress(OSError), raw, context.wrap_socket(raw, server_side=True) as sock:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) if raw.fileno() >= 0 else None
            while self._request(sock):
                pass
        self.ended.release()

    def _request(self, sock: ssl.SSLSocket) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(65_536)
            if not data:
                return False
            head += data
        lines = head.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        asked = Asked(lines[0], [(k, v.strip()) for k, _, v in (line.partition(":") for line in lines[1:])])
        self.asked.append(asked)
        if asked.header("Upgrade") is None:
            sock.sendall(self.answer(asked))
            return True
        refusal = self.refuse(asked)
        if refusal is not None:
            sock.sendall(refusal)
            return b"Content-Length" in refusal or b"chunked" in refusal
        protocol = ServerProtocol(subprotocols=[Subprotocol("plain.kubevirt.io")], max_size=None)
        protocol.receive_data(head)
        request = protocol.events_received()[0]
        protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
        session = Session(sock, protocol)
        self.sessions.append(session)
        session.flush()
        self.session(session)
        return False


def reply(status: int, body: bytes, content_type: str = "application/json", *extra: str) -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *extra, "", ""]
    return "\r\n".join(lines).encode() + body


def certificate(folder: Path) -> tuple[bytes, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1 and a server context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tunnel test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return pem, context


@contextlib.contextmanager
def running(folder: Path) -> Iterator[TunnelServer]:
    """A server on a free port of 127.0.0.1, for the block."""
    pem, context = certificate(folder)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        server = TunnelServer(url=f"https://127.0.0.1:{listener.getsockname()[1]}", ca_pem=pem)
        threading.Thread(target=server.serve, args=(listener, context), daemon=True).start()
        try:
            yield server
        finally:
            server.stop.set()
            listener.shutdown(socket.SHUT_RDWR)


def endpoint_of(server: TunnelServer, folder: Path, *, prefix: str = "", token: str = "t0ken") -> Endpoint:
    """The server as a kubeconfig's reader reaches it."""
    path = folder / "kubeconfig"
    ca = base64.b64encode(server.ca_pem).decode()
    (folder / "token").write_text(token + "\n")
    path.write_text(
        f"""apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: c, cluster: {{server: "{server.url}{prefix}", certificate-authority-data: {ca}}}}}]
contexts: [{{name: test, context: {{cluster: c, user: u, namespace: shop}}}}]
users: [{{name: u, user: {{tokenFile: token}}}}]
"""
    )
    return open_endpoint(kubeconfig=str(path), context=None, namespace=None, as_user=None, environ={})
