"""A TLS API server that lies: raw bytes of the test's choice, or a good server's answers with a hostile text in each string."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests.broker.kube.tunnelserver import certificate
from tests.hostile.corpus import INVALID_UTF8, MARK


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request; `sock` is there for what no answer in one piece can be."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    sock: ssl.SSLSocket


Script = Callable[[Asked], bytes | None]


@dataclass(slots=True, kw_only=True)
class Liar:
    """The running server; `script` returns the bytes to send (None: it sent them itself), then the connection is closed."""

    kubeconfig: Path
    script: Script
    asked: list[str] = field(default_factory=list)

    def serve(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        """Accept until the listener is closed, each connection in a thread of its own."""
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(raw, context), daemon=True).start()

    def _one(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        with contextlib.suppress(OSError, ValueError), raw, context.wrap_socket(raw, server_side=True) as sock:
            sock.settimeout(30)
            with sock.makefile("rb") as reader:
                line = reader.readline().decode("latin-1").split(" ")
                if len(line) < 2:
                    return
                headers = {}
                while (each := reader.readline().decode("latin-1").strip()) != "":
                    name, _, value = each.partition(":")
                    headers[name.lower()] = value.strip()
                body = reader.read(int(headers.get("content-length", "0")))
                self.asked.append(f"{line[0]} {line[1]}")
                said = self.script(Asked(method=line[0], path=line[1], headers=headers, body=body, sock=sock))
                if said is not None:
                    sock.sendall(said)
                with contextlib.suppress(OSError):
                    sock.unwrap()


def reply(status: int, body: bytes, content_type: str = "application/json", *, phrase: str = "X", extra: str = "") -> bytes:
    """Return one whole answer that ends its connection; `phrase` and `extra` (whole header lines) go out as they are."""
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n{extra}\r\n".encode("utf-8", "surrogatepass") + body


def refusal(status: int, text: str) -> bytes:
    """Return the body of a Status with `text` in each of its fields."""
    details = {
        "name": text,
        "group": text,
        "kind": text,
        "uid": text,
        "causes": [{"reason": text, "message": text, "field": text}],
    }
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": text, "message": text, "code": status}
    return json.dumps({**body, "metadata": {}, "details": details}).encode()


@contextmanager
def liar(folder: Path, script: Script) -> Iterator[Liar]:
    """Run one until the block ends."""
    folder.mkdir(exist_ok=True)
    pem, context = certificate(folder)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        cluster = {
            "server": f"https://127.0.0.1:{listener.getsockname()[1]}",
            "certificate-authority-data": b64encode(pem).decode(),
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "liar",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "t0ken"}}],
            "contexts": [{"name": "liar", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        server = Liar(kubeconfig=path, script=script)
        threading.Thread(target=server.serve, args=(listener, context), name="liar", daemon=True).start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)


_SHAPE: Final = frozenset({"kind", "apiVersion", "groupVersion", "verb", "verbs", "continue", "resourceVersion"})


def twisted(value: Any, text: str, key: str = "", *, keeps: frozenset[str] = _SHAPE) -> Any:
    """Return a JSON value with `text` in each string except under the keys in `keeps`; names are not spared."""
    if isinstance(value, dict):
        return {name: twisted(each, text, name, keeps=keeps) for name, each in value.items()}
    if isinstance(value, list):
        return [twisted(each, text, key, keeps=keeps) for each in value]
    return text if isinstance(value, str) and key not in keeps else value


@dataclass(slots=True, kw_only=True)
class Twister:
    """A script that asks a good server and hands on its answers with `text` in them; `is_raw` puts bytes that are no UTF-8."""

    host: str
    port: int
    token: str
    text: str = ""
    is_raw: bool = False
    keeps: frozenset[str] = _SHAPE

    def __call__(self, asked: Asked) -> bytes | None:
        """Answer one request."""
        connection = http.client.HTTPSConnection(self.host, self.port, context=ssl._create_unverified_context())
        headers = {"Authorization": f"Bearer {self.token}", "Accept": asked.headers.get("accept", "*/*")}
        if asked.body:
            headers["Content-Type"] = asked.headers.get("content-type", "application/json")
        if "watch=" in asked.path:
            return reply(200, b"")
        connection.request(asked.method, asked.path, body=asked.body or None, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        try:
            body = json.dumps(twisted(json.loads(body), self.text, keeps=self.keeps)).encode()
        except ValueError:
            body = body + self.text.encode("utf-8", "surrogatepass")
        if self.is_raw:
            body = body.replace(MARK.encode(), INVALID_UTF8)
        return reply(answer.status, body, answer.getheader("Content-Type", "application/json"))
