"""The pod's own service account, used only where no kubeconfig names a context (client-go, rest.InClusterConfig)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.kube.kubeconfig import Cluster, Context, Resolved, User

FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts token, ca.crt and namespace."""


def find_service_account(environ: Mapping[str, str], folder: Path = FOLDER) -> Resolved | None:
    """Return cluster and user of the pod that we run in, None outside a pod (no KUBERNETES_SERVICE_HOST/PORT or no token)."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    token = folder / "token"
    if not (host and port and token.is_file()):
        return None
    authority = folder / "ca.crt"
    shown_host = f"[{host}]" if ":" in host else host
    name = "in-cluster"
    return Resolved(
        context=Context(
            name=name, source=token, cluster=name, user=name, namespace=environ.get("POD_NAMESPACE") or _namespace(folder)
        ),
        cluster=Cluster(
            name=name,
            source=token,
            server=f"https://{shown_host}:{port}",
            authority_file=str(authority) if os.path.exists(authority) else "",  # noqa: PTH110
        ),
        user=User(name=name, source=token, token_file=str(token)),
    )


def _namespace(folder: Path) -> str:
    try:
        return (folder / "namespace").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
