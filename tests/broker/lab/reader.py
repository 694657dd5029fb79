"""A bare HTTPS client of a lab as one of its users, for tests that look at statuses, headers and cut connections."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import yaml

from broker.lab.cluster import Cluster

LIMIT_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer; `body` is what its JSON says, or its text."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class Reader:
    """Asks one lab as one user."""

    session: aiohttp.ClientSession
    url: str

    async def ask(
        self, path: str, method: str = "GET", *, sent: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Make one request and read its whole answer."""
        async with self.session.request(method, self.url + path, json=sent, headers=headers) as response:
            text = await response.text()
            try:
                body: Any = json.loads(text)
            except ValueError:
                body = text
            return Answer(status=response.status, headers=dict(response.headers), body=body)


@asynccontextmanager
async def reader(cluster: Cluster, user: str = "admin") -> AsyncIterator[Reader]:
    """A client with the credentials of a user's kubeconfig."""
    config = yaml.safe_load(cluster.kubeconfig(user).read_text())
    context = ssl.create_default_context(cadata=cluster.authority.certificate_pem.decode())
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
    limit = aiohttp.ClientTimeout(total=LIMIT_S)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(headers=headers, connector=connector, timeout=limit) as session:
        yield Reader(session, cluster.url)
