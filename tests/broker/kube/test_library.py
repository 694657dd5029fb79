"""The transport of kubernetes_asyncio without its models, proved in a subprocess."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROBE = """
import sys
{before}
from broker.kube.library import load_transport
configuration, rest, client = load_transport()
print(configuration.__name__, rest.__name__, client.__name__)
print(sum(name.startswith("kubernetes_asyncio") for name in sys.modules))
import kubernetes_asyncio.client
print(kubernetes_asyncio.client.V1Pod.__name__)
"""


@pytest.mark.parametrize(("before", "left"), [("", "0"), ("import kubernetes_asyncio.client", "many")])
def test_the_classes_come_without_the_models_and_a_later_import_is_whole(before: str, left: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE.format(before=before)], capture_output=True, text=True, check=True)
    names, count, model = done.stdout.splitlines()
    assert names == "Configuration RESTClientObject ApiClient"
    assert (count == "0") == (left == "0")
    assert model == "V1Pod"
