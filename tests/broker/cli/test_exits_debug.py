"""`--debug` on the lab: every request is told, and no credential is."""

from __future__ import annotations

import yaml

from tests.conftest import RunningLab, vmbroker


def test_requests_are_told_and_the_token_is_not(lab: RunningLab) -> None:
    config = lab.kubeconfig("admin")
    token = yaml.safe_load(config.read_text())["users"][0]["user"]["token"]
    for words in (("vms", "-n", "shop"), ("proxy", "vm/web/shop"), ("show", "vm/web/shop")):
        done = vmbroker("--kubeconfig", str(config), "--debug", *words, stdin="\r\n")
        assert done.returncode == 0, done.stderr
        assert "/apis/kubevirt.io/v1/namespaces/shop/virtualmachine" in done.stderr
        assert ": 200, " in done.stderr
        assert token not in done.stderr + done.stdout
        assert "Bearer lab" not in done.stderr


def test_the_key_of_a_certificate_user_is_not_told_either(lab: RunningLab) -> None:
    config = lab.kubeconfig("dana")
    user = yaml.safe_load(config.read_text())["users"][0]["user"]
    done = vmbroker("--kubeconfig", str(config), "--debug", "vms")
    assert done.returncode == 0, done.stderr
    assert user["client-key-data"][:40] not in done.stderr
    assert "PRIVATE KEY" not in done.stderr
