"""Kubeconfigs for the lab's users: one file each, private, with a token or a client certificate."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import yaml

from broker.lab.authn import Identities
from broker.lab.certificates import Authority, write_private
from broker.lab.seed_access import USERS, Person

__all__ = ["CONTEXT", "kubeconfig_path", "write_kubeconfigs"]

CONTEXT = "vmbroker-lab"
_FIRST_NAMESPACE = "shop"


def kubeconfig_path(directory: Path, user: str) -> Path:
    """Where a user's kubeconfig stands; KeyError for somebody who is no user of the lab."""
    if user not in {person.name for person in USERS}:
        raise KeyError(user)
    return directory / "kubeconfigs" / f"{user}.yaml"


def write_kubeconfigs(directory: Path, url: str, authority: Authority, identities: Identities) -> None:
    """Write every user's kubeconfig (0600) and make its credentials good."""
    (directory / "kubeconfigs").mkdir(mode=0o700, exist_ok=True)
    for person in USERS:
        body = _body(url, authority, person, _credentials(person, authority, identities))
        write_private(kubeconfig_path(directory, person.name), yaml.safe_dump(body, sort_keys=False).encode())


def _credentials(person: Person, authority: Authority, identities: Identities) -> dict[str, str]:
    if person.has_certificate:
        pair = authority.client(person.name, person.groups)
        return {
            "client-certificate-data": base64.b64encode(pair.certificate_pem).decode(),
            "client-key-data": base64.b64encode(pair.key_pem).decode(),
        }
    token = f"lab-{person.name}-{secrets.token_urlsafe(24)}"
    identities.add_token(token, person.user)
    return {"token": token}


def _body(url: str, authority: Authority, person: Person, credentials: dict[str, str]) -> dict[str, object]:
    data = base64.b64encode(authority.certificate_pem).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "clusters": [{"name": CONTEXT, "cluster": {"server": url, "certificate-authority-data": data}}],
        "users": [{"name": f"{CONTEXT}-{person.name}", "user": credentials}],
        "contexts": [
            {
                "name": CONTEXT,
                "context": {"cluster": CONTEXT, "user": f"{CONTEXT}-{person.name}", "namespace": _FIRST_NAMESPACE},
            }
        ],
    }
