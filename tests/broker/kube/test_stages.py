"""The way to a server stage by stage, over the lab: the same errors as in one go."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from broker.errors import BrokerError
from broker.kube.endpoint import Endpoint, open_endpoint
from broker.kube.stages import is_address, look_up, shake_hands
from tests.conftest import RunningLab


def endpoint(lab: RunningLab, folder: Path, **cluster: object) -> Endpoint:
    document = yaml.safe_load(lab.kubeconfig().read_text())
    document["clusters"][0]["cluster"].update(cluster)
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return open_endpoint(kubeconfig=str(path), context=None, namespace=None, as_user=None, environ={})


@pytest.mark.parametrize(("host", "known"), [("10.0.0.1", True), ("::1", True), ("fe80::1%lo", True), ("api.example", False)])
def test_an_address_needs_no_look_up(host: str, known: bool) -> None:
    assert is_address(host) is known


def test_every_stage_answers_and_no_credential_is_needed(lab: RunningLab, tmp_path: Path) -> None:
    there = endpoint(lab, tmp_path)
    assert look_up(there, timeout_s=5) == (f"127.0.0.1:{there.port}",)
    tls = shake_hands(there, there.connect(timeout_s=5), timeout_s=5)
    assert tls is not None
    assert (tls.asked, tls.is_checked) == ("127.0.0.1", True)
    assert tls.version.startswith("TLSv1.")
    assert "kube.lab.example" in tls.names


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tls-server-name": "other.example"}, "tls-name"),
        ({"server": "https://no-such-name.invalid:6443"}, "name-unknown"),
    ],
)
def test_a_stage_fails_as_the_whole_way_does(lab: RunningLab, tmp_path: Path, changes: dict[str, object], code: str) -> None:
    there = endpoint(lab, tmp_path, **changes)
    with pytest.raises(BrokerError) as whole:
        there.open_socket(timeout_s=20).close()
    with pytest.raises(BrokerError) as staged:
        look_up(there, timeout_s=20)
        shake_hands(there, there.connect(timeout_s=20), timeout_s=20)
    assert staged.value.code == whole.value.code == code
    assert (staged.value.message, staged.value.cause) == (whole.value.message, whole.value.cause)


def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up(lab: RunningLab, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        there = endpoint(lab, tmp_path, server=f"https://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(BrokerError) as caught:
            shake_hands(there, there.connect(timeout_s=5), timeout_s=0.05)
    assert caught.value.code == "connect-timeout"
