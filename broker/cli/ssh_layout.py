"""From settings, kubeconfig and flags to what our ssh_config file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.clean import escaped
from broker.cli import exits
from broker.cli.invocation import Invocation, own_words
from broker.errors import BrokerError, NotFound, NotPermitted, SettingsError, UsageError
from broker.paths.openssh import ClientFiles, Origin, alias_command
from broker.paths.ssh_blocks import Cluster, Layout, Machine, Pattern
from broker.refs import cluster_label, context_labels, host_word

if TYPE_CHECKING:
    from broker.kube.kubeconfig import Kubeconfig


def layout_of(invocation: Invocation, *, control_dir: str | None) -> Layout:
    """Make the layout that the flags ask for; --per-vm lists VMs first.

    Raises SettingsError without a kubeconfig or a current context, NotFound for an unknown one, UsageError for flags that
    contradict each other, and what listing raises.
    """
    parsed = invocation.parsed
    follows = parsed.has("follow_current")
    if follows and parsed.text("context"):
        raise UsageError("--follow-current and --context contradict each other", next_step="leave out one of them")
    contexts = _contexts(invocation)
    names = list(contexts.contexts)
    labels = context_labels(names, invocation.settings().aliases)
    current = _current(invocation, contexts, follows=follows)
    lab = invocation.lab
    clusters = [_cluster(invocation, contexts, name, label=labels[name]) for name in sorted(names)]
    return Layout(
        current=_cluster(invocation, contexts, current, label=None, follows=follows),
        contexts=tuple(cluster for cluster in clusters if _is_sayable(cluster)),
        machines=_machines(invocation) if parsed.has("per_vm") else (),
        machines_label=labels.get(parsed.text("context") or contexts.current or ""),
        labels=labels,
        files=ClientFiles(identity=lab.identity, known_hosts=lab.known_hosts) if lab else ClientFiles(),
        control_dir=control_dir,
        follows_current=follows,
        has_virtctl_aliases=parsed.has("virtctl_aliases"),
        options=tuple(
            flag
            for flag, dest in (
                ("--virtctl-aliases", "virtctl_aliases"),
                ("--follow-current", "follow_current"),
                ("--per-vm", "per_vm"),
            )
            if parsed.has(dest)
        ),
    )


def _is_sayable(cluster: Cluster) -> bool:
    """Whether ssh_config and our own command line can carry the context's name; a warning where one cannot."""
    if not cluster.origin.context:
        exits.warn(["the context '' gets no alias: --context cannot name it"])
        return False
    try:
        alias_command(cluster.origin)
    except UsageError as error:
        exits.warn([f"the context {escaped(cluster.origin.context or '')} gets no alias: {error.message}"])
        return False
    return True


def labels_today(invocation: Invocation) -> dict[str, str] | None:
    """Return context → ALIAS of this machine; None where no kubeconfig can be read."""
    from broker.kube.kubefiles import read_files

    try:
        config = read_files(invocation.kubeconfig, invocation.environ).config
        return context_labels(list(config.contexts), invocation.settings().aliases)
    except BrokerError:
        return None


def _contexts(invocation: Invocation) -> Kubeconfig:
    from broker.kube.kubefiles import read_files

    contexts = read_files(invocation.kubeconfig, invocation.environ).config
    if not contexts.contexts:
        raise SettingsError(
            "no kubeconfig with a context was found, so no alias would lead anywhere",
            code="kubeconfig-missing",
            next_step="log in to a cluster, or name a file with --kubeconfig; --lab needs none",
        )
    return contexts


def _current(invocation: Invocation, contexts: Kubeconfig, *, follows: bool) -> str | None:
    given = invocation.parsed.text("context")
    name = given or contexts.current
    if follows:
        return None
    if not name:
        raise SettingsError(
            "no context is current, so NAME.NAMESPACE.vm would mean no cluster",
            code="context-missing",
            next_step="name one with --context, or say --follow-current",
        )
    if name not in contexts.contexts:
        raise NotFound(
            f"the kubeconfig has no context {escaped(name)}",
            code="context-unknown",
            next_step="`kubectl config get-contexts` lists them",
        )
    return name


def _cluster(
    invocation: Invocation, contexts: Kubeconfig, context: str | None, *, label: str | None, follows: bool = False
) -> Cluster:
    parsed = invocation.parsed
    settings = invocation.settings(context or contexts.current)
    sets = [word for each in parsed.many("sets") for word in ("--set", each)]
    # The lab is named by --lab, which starts it where it is not up; where the current context is followed, so is KUBECONFIG.
    lab = ("--lab",) if invocation.lab is not None else ()
    is_pinned = invocation.lab is None and (not follows or invocation.kubeconfig is not None)
    return Cluster(
        label=label,
        origin=Origin(
            program=(*own_words(), *lab, *sets),
            kubeconfigs=tuple(str(path) for path in contexts.sources) if is_pinned else (),
            context=context,
            as_user=parsed.text("as_user"),
            as_groups=parsed.many("as_groups"),
            as_uid=parsed.text("as_uid"),
        ),
        patterns=tuple(Pattern(glob=rule.pattern, user=rule.user, port=rule.port) for rule in settings.ssh.rules),
        user=settings.ssh.user,
        port=settings.ssh.port,
    )


def _machines(invocation: Invocation) -> tuple[Machine, ...]:
    from broker.cli.reading import listed

    namespace = invocation.namespace
    try:
        listing = listed(invocation, all_namespaces=namespace is None, selector=None, wide=True)
    except NotPermitted:
        if namespace is not None:
            raise
        listing = listed(invocation, all_namespaces=False, selector=None, wide=True)
        exits.note(f"only VMs of the namespace {listing.namespace}: you may not list those of the whole cluster")
    endpoint = invocation.endpoint()
    cluster = cluster_label(endpoint.server, endpoint.context)
    found: list[Machine] = []
    for row in listing.found.rows:
        login = row.login
        found.append(
            Machine(
                name=row.name,
                namespace=row.namespace,
                user=login.user if login else None,
                port=login.port if login else 22,
                host_key=host_word(row.name, row.namespace, cluster),
            )
        )
    return tuple(found)
