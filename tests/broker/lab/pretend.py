"""A pretend cluster in the test's own process, with users and roles but empty of VMs and guests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from broker.lab.cluster import Cluster, ClusterSettings
from broker.lab.seed_access import access_objects


@asynccontextmanager
async def empty_cluster(directory: Path, *, pong_deadline_s: float = 60.0, unrouted_s: float = 0.05) -> AsyncIterator[Cluster]:
    """Run it while the block runs; its state lies in `directory`."""
    settings = ClusterSettings(
        state_dir=directory / "lab",
        has_seed=False,
        has_guests=False,
        pong_deadline_s=pong_deadline_s,
        unrouted_s=unrouted_s,
    )
    async with Cluster.start(settings) as cluster:
        for resource, obj in access_objects():
            cluster.objects.put(resource, obj)
        yield cluster
