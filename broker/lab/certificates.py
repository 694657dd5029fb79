"""The lab's own certificate authority, kept in its state directory, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "KeyPair", "server_context", "write_private"]

_VALID_DAYS = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return "KeyPair(…)"


class Authority:
    """A CA with which the lab signs its server certificate and its users' client certificates (ECDSA P-256)."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @property
    def certificate_pem(self) -> bytes:
        """The CA's certificate, PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def create(cls, name: str = "vmbroker lab CA") -> Authority:
        """Make a new CA, valid for a year."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, (), key.public_key()).issuer_name(_name(name, ()))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load_or_create(cls, directory: Path) -> Authority:
        """Return the CA of a state directory (`ca.crt`, `ca.key`), made there on the first call or when it has expired."""
        certificate_path, key_path = directory / "ca.crt", directory / "ca.key"
        try:
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        except (OSError, ValueError):
            pass
        else:
            now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=7)
            if isinstance(key, ec.EllipticCurvePrivateKey) and certificate.not_valid_after_utc > now:
                return cls(certificate, key)
        made = cls.create()
        write_private(certificate_path, made.certificate_pem)
        write_private(key_path, _key_pem(made._key))
        return made

    def server(self, names: tuple[str, ...] = ("127.0.0.1", "::1", "localhost")) -> KeyPair:
        """Sign a server certificate for host names and addresses."""
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        return self._sign("vmbroker lab", (), ExtendedKeyUsageOID.SERVER_AUTH, alternatives)

    def client(self, user: str, groups: tuple[str, ...] = ()) -> KeyPair:
        """Sign a client certificate: the common name is the user, each organisation a group."""
        return self._sign(user, groups, ExtendedKeyUsageOID.CLIENT_AUTH, [])

    def _sign(
        self, name: str, groups: tuple[str, ...], usage: x509.ObjectIdentifier, alternatives: list[x509.GeneralName]
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, groups, key.public_key()).issuer_name(self._certificate.subject)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return KeyPair(certificate_pem=signed.public_bytes(serialization.Encoding.PEM), key_pem=_key_pem(key))


def server_context(authority: Authority, server: KeyPair, directory: Path) -> ssl.SSLContext:
    """Return the lab's TLS context: TLS 1.2 and 1.3, no ALPN, a client certificate of the lab's CA accepted but not demanded.

    `server.crt` and `server.key` are written to `directory` (0600), since ssl reads them from files only.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    write_private(directory / "server.crt", server.certificate_pem)
    write_private(directory / "server.key", server.key_pem)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    context.load_verify_locations(cadata=authority.certificate_pem.decode("ascii"))
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, replacing an older one in one step."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    beside.replace(path)


def _name(common: str, organisations: tuple[str, ...]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organisations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(name: str, groups: tuple[str, ...], key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name, groups))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
