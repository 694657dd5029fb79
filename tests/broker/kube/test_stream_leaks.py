"""Five hundred streams opened and closed on the lab leave no descriptor, task or thread."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from broker.kube.endpoint import open_endpoint
from broker.kube.stream import open_stream
from tests.conftest import RunningLab
from tests.journeys.person import until

ROUNDS = 500
AT_ONCE = 10
PATH = "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances/web/portforward/22/tcp"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd"))


@pytest.mark.timeout(180)
async def test_opens_and_closes_on_the_lab_leave_nothing(lab: RunningLab, tmp_path: Path) -> None:
    endpoint = open_endpoint(kubeconfig=str(lab.kubeconfig()), context=None, namespace=None, as_user=None, environ={})

    async def once() -> None:
        stream = await open_stream(endpoint, PATH)
        assert (await stream.read()).startswith(b"SSH-")
        await stream.aclose()

    await once()
    before = (descriptors(), len(asyncio.all_tasks()), threading.active_count())
    for _ in range(ROUNDS // AT_ONCE):
        await asyncio.gather(*(once() for _ in range(AT_ONCE)))
    until(lambda: threading.active_count() <= before[2], "the threads' end")
    assert (descriptors(), len(asyncio.all_tasks())) == before[:2]
