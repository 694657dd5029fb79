"""What an action stands on: one cluster as one person, calls to it, and the settings of this run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from broker.kube.endpoint import Endpoint
    from broker.kube.rest import Rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """One cluster as one person, with the settings for its context; made by `open_broker`."""

    endpoint: Endpoint
    settings: Settings
    rest: Rest

    @property
    def namespace(self) -> str:
        """The namespace that a command without -n means."""
        return self.endpoint.namespace


@asynccontextmanager
async def open_broker(endpoint: Endpoint, settings: Settings) -> AsyncIterator[Broker]:
    """Open what actions need; nothing is dialled before the first call. Loads kubernetes_asyncio and aiohttp.

    Raises SettingsError or CredentialError where the endpoint's TLS material cannot be had.
    """
    from broker.kube.rest import Rest
    from broker.kube.session import open_session

    async with open_session(endpoint, connect_s=settings.api.connect_s) as session:
        rest = Rest(session, timeout_s=settings.api.timeout_s, page_size=settings.api.page_size)
        yield Broker(endpoint=endpoint, settings=settings, rest=rest)
