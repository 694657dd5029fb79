"""SSH keys of the lab, made without ssh-keygen, which refuses a user that /etc/passwd does not name (as in containers)."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization.ssh import SSHPublicKeyTypes

from broker.lab.certificates import write_private

__all__ = ["ssh_key"]


def ssh_key(path: Path, *, comment: str) -> str:
    """Return the public key line of the Ed25519 key in `path` (OpenSSH format, 0600), made there with its `.pub` if absent.

    ValueError for a file that is no unencrypted private key.
    """
    if path.exists():
        return _line(serialization.load_ssh_private_key(path.read_bytes(), password=None).public_key(), comment)
    key = ed25519.Ed25519PrivateKey.generate()
    plain = serialization.NoEncryption()
    write_private(path, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain))
    line = _line(key.public_key(), comment)
    path.with_name(path.name + ".pub").write_text(line + "\n")
    return line


def _line(key: SSHPublicKeyTypes, comment: str) -> str:
    encoded = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{encoded.decode()} {comment}"
