"""What can go wrong, sorted by what the user can do about it.

Each class carries the exit status of the whole program; a finer `code` names the cause for scripts.
"""

from __future__ import annotations

from typing import ClassVar


class BrokerError(Exception):
    """A failure that a person can act on: one line of what, one of why, one of what to do.

    The raiser cleans foreign text (`broker.clean`) before it puts it here; no field ever holds a secret.
    `retry_after_s` is what a server asked for (RFC 9110, Retry-After), in seconds, where it did.
    """

    code: str = "failed"
    exit_status: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        cause: str | None = None,
        next_step: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.next_step = next_step
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code

    def as_json(self) -> dict[str, object]:
        """The error as the one object that `-o json` prints on stderr (`kind: Error`)."""
        return {
            "apiVersion": "vmbroker/v1",
            "kind": "Error",
            "code": self.code,
            "exitStatus": self.exit_status,
            "message": self.message,
            "cause": self.cause,
            "nextStep": self.next_step,
        }


class Failed(BrokerError):
    """It was tried and did not work, and no class below says it better."""


class UsageError(BrokerError):
    """The command line is wrong: the user types it again, corrected."""

    code = "usage"
    exit_status = 2


class SettingsError(BrokerError):
    """A settings file or kubeconfig cannot be used: the user mends that file."""

    code = "settings"
    exit_status = 2


class NotFound(BrokerError):
    """The named object is not there: the user looks for its name or namespace."""

    code = "not-found"
    exit_status = 3


class NotPermitted(BrokerError):
    """The cluster knows the caller and refuses: the user asks for a role."""

    code = "not-permitted"
    exit_status = 4


class CredentialError(BrokerError):
    """The cluster does not know the caller, or no credential could be had: the user logs in again."""

    code = "credentials"
    exit_status = 4


class Unreachable(BrokerError):
    """The API server, or what stands behind it, cannot be reached: the user looks at the network or the cluster."""

    code = "unreachable"
    exit_status = 5


class TrustError(BrokerError):
    """TLS peers do not trust each other: the user mends the CA or the name."""

    code = "tls"
    exit_status = 5


class GuestUnready(BrokerError):
    """The cluster is well, the machine or its SSH port is not: the user starts, unpauses or mends the VM."""

    code = "guest-unready"
    exit_status = 5


class TimedOut(BrokerError):
    """A limit of time ran out before an answer came: the user waits longer or looks at what is slow."""

    code = "timed-out"
    exit_status = 6


class Refused(BrokerError):
    """A rule of the cluster, the settings or this program forbids it: the user changes the request or the rule."""

    code = "refused"
    exit_status = 7
