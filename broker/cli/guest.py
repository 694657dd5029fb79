"""From a target on the command line to the guest that OpenSSH is sent to."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from broker.clean import clean, escaped
from broker.cli import exits
from broker.cli.invocation import Invocation, own_words
from broker.errors import Failed, UsageError
from broker.paths.openssh import ClientFiles, Guest, Origin
from broker.refs import Target, cluster_label, context_labels, host_word

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from broker.kube.endpoint import Endpoint

_UNWARNED = "--unwarned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """One guest and all that OpenSSH's argv needs besides."""

    guest: Guest
    origin: Origin
    files: ClientFiles
    settings: Settings


def resolve(invocation: Invocation, target: Target, *, user: str | None, port: int | None) -> Reached:
    """Read the VM that a target names and choose user and port for it; raises as `read_guest` does.

    Where nobody names a user, one line on stderr says that ssh's own default holds.
    """
    from broker.actions.connect import login_of, read_guest
    from broker.kube.cold import ColdClient

    endpoint, settings = opened(invocation, target, stdin_is_ours=True)
    client = ColdClient(endpoint, connect_s=settings.api.connect_s, request_s=settings.api.timeout_s)
    with client, exits.progress(f"reading {target}"):
        reading = read_guest(client, target, default_namespace=endpoint.namespace)
    login = login_of(reading, settings, user=user, port=port)
    exits.warn((*reading.warnings, *login.warnings))
    if login.user is None:
        exits.note(
            f"nothing names a user for {reading.kind}/{reading.name}: ssh takes its own default (USER@ before it names one)"
        )
    guest = Guest(
        host=host_word(reading.name, reading.namespace, cluster_label(endpoint.server, endpoint.context)),
        kind=reading.kind,
        name=reading.name,
        namespace=reading.namespace,
        port=login.port,
        user=login.user,
    )
    lab = invocation.lab
    files = ClientFiles(identity=lab.identity, known_hosts=lab.known_hosts) if lab else ClientFiles()
    return Reached(guest=guest, origin=origin_of(invocation, endpoint), files=files, settings=settings)


def opened(invocation: Invocation, target: Target, *, stdin_is_ours: bool) -> tuple[Endpoint, Settings]:
    """Open the cluster that flags or the target's own label name, with the settings of its context."""
    context = _context(invocation, target.label) if target.label else None
    endpoint = invocation.endpoint(stdin_is_ours=stdin_is_ours, context=context)
    return endpoint, invocation.settings(endpoint.context)


def origin_of(invocation: Invocation, endpoint: Endpoint) -> Origin:
    """Return how a ProxyCommand finds the same cluster as the same person, and the same settings."""
    parsed = invocation.parsed
    sets = [word for each in parsed.many("sets") for word in ("--set", each)]
    sets += ["--output=json"] if parsed.output == "json" else []
    return Origin(
        program=(*own_words(), _UNWARNED, *sets),
        kubeconfigs=tuple(str(path) for path in endpoint.sources),
        # A cluster that was found without a kubeconfig (in a pod) has no context to name.
        context=endpoint.context if endpoint.sources and endpoint.context else None,
        as_user=parsed.text("as_user"),
        as_groups=parsed.many("as_groups"),
        as_uid=parsed.text("as_uid"),
        is_debugging=parsed.has("debug"),
    )


def become(argv: Sequence[str], *, package: str) -> NoReturn:
    """Replace this process by a program found on PATH; Failed where it is missing or cannot be run."""
    program = shutil.which(argv[0])
    if program is None:
        raise Failed(
            f"{escaped(argv[0])} is not on this machine",
            code="program-missing",
            next_step=f"install the package {package}, or set ssh.program (`vmbroker config show --origin`)",
        )
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        os.execv(program, list(argv))  # noqa: S606  # argv without a shell is the point
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise Failed(f"{escaped(program)} cannot be run", code="program-unusable", cause=clean(reason)) from exc


def _context(invocation: Invocation, label: str) -> str:
    """Return the context that a label stands for: chosen in the settings, made from its name, or our own host word's."""
    from broker.kube.endpoint import list_contexts

    entries = list_contexts(kubeconfig=invocation.kubeconfig, environ=invocation.environ).entries
    labels = context_labels([entry.name for entry in entries], invocation.settings().aliases)
    found = [entry.name for entry in entries if label in (labels[entry.name], cluster_label(entry.server, entry.name))]
    given = invocation.parsed.text("context")
    if not found:
        import difflib

        near = difflib.get_close_matches(label, labels.values(), n=1)
        raise UsageError(
            f"no context is called {escaped(label)} in an SSH alias",
            code="unknown-label",
            next_step=f"did you mean '{near[0]}'?" if near else "use one of: " + clean(", ".join(sorted(labels.values()))),
        )
    if given is not None and given != found[0]:
        raise UsageError(
            f"the target names the context {escaped(found[0])}, --context another", next_step="leave out one of them"
        )
    return found[0]
