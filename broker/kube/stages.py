"""The way to an API server one stage at a time, each with its own answer: name, TCP, TLS. Blocking; sends no credential.

`Endpoint.open_socket` takes the same way in one go; the errors here are its errors.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass

from broker.clean import clean
from broker.errors import BrokerError, TimedOut
from broker.kube.endpoint import Endpoint
from broker.kube.sockets import Deadline, addresses
from broker.kube.tls import names_in


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """A finished handshake: `version` such as TLSv1.3, `names` of the certificate as text, `asked` the name it had to carry.

    `is_checked` False: the kubeconfig says that the certificate is not to be checked.
    """

    version: str
    names: str
    asked: str
    is_checked: bool


def is_address(host: str) -> bool:
    """Say whether a host is written as an address, so that no name has to be looked up."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def look_up(endpoint: Endpoint, *, timeout_s: float) -> tuple[str, ...]:
    """Return the server's addresses as ADDRESS:PORT; Unreachable (`name-unknown`) or TimedOut."""
    return addresses(endpoint.host, endpoint.port, deadline=Deadline(timeout_s, _called(endpoint)))


def shake_hands(endpoint: Endpoint, sock: socket.socket, *, timeout_s: float) -> ServerTls | None:
    """Establish TLS without a client certificate and close the socket; None for a server without TLS.

    Raises TrustError (`tls-name` for the names alone), SettingsError for an unreadable CA, TimedOut.
    """
    with sock:
        context = endpoint.server_context()
        if context is None:
            return None
        sock.settimeout(timeout_s)
        try:
            with context.wrap_socket(sock, server_hostname=endpoint.server_hostname) as wrapped:
                return ServerTls(
                    version=wrapped.version() or "TLS",
                    names=names_in(wrapped.getpeercert(binary_form=True)),
                    asked=endpoint.server_hostname or endpoint.host,
                    is_checked=context.verify_mode is not ssl.CERT_NONE,
                )
        except TimeoutError as exc:
            raise TimedOut(
                f"{_called(endpoint)} did not answer TLS within {timeout_s:g} s",
                code="connect-timeout",
                cause="it takes connections and says nothing",
                next_step="check that this is the API server's port, and what stands before it",
            ) from exc
        except ssl.SSLError as exc:
            raise endpoint.trust_error(exc) from exc
        except OSError as exc:
            raise _ended(endpoint, exc) from exc


def _called(endpoint: Endpoint) -> str:
    return f"the API server {clean(endpoint.host_header)}"


def _ended(endpoint: Endpoint, error: OSError) -> BrokerError:
    return endpoint.trust_error(ssl.SSLError(str(error)))
