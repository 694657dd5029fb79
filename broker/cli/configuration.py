"""`vmbroker config`: the settings and where they come from, what is wrong with the files, where the files are."""

from __future__ import annotations

from broker.clean import Clean, clean
from broker.cli import exits, output
from broker.cli.invocation import Invocation
from broker.config.keys import KEYS
from broker.config.load import check_settings, places
from broker.config.settings import Origin, Settings
from broker.config.values import show_value
from broker.errors import BrokerError, SettingsError, UsageError


def run(invocation: Invocation) -> int:
    """Show, check or locate the settings; SettingsError where a file is wrong, UsageError for another word."""
    match invocation.parsed.operands[0]:
        case "show":
            _show(invocation)
        case "check":
            _check(invocation)
        case "path":
            _path(invocation)
        case other:
            from broker.clean import escaped

            raise UsageError(f"config knows no {escaped(other)}", next_step="say config show, config check or config path")
    return 0


def _show(invocation: Invocation) -> None:
    settings = invocation.settings(_context(invocation))
    parsed = invocation.parsed
    entries = [*_entries(settings), *_kubeconfig_entries(invocation)]
    if parsed.output in ("json", "yaml"):
        document = {
            "apiVersion": output.API_VERSION,
            "kind": "Settings",
            "items": [
                {"key": key, "value": value, "origin": {"layer": origin.layer, "place": origin.place}}
                for key, value, _, origin in entries
            ],
        }
        (output.json if parsed.output == "json" else output.yaml)(document)
        return
    columns = [output.Column(title="KEY"), output.Column(title="VALUE")]
    if parsed.has("origin"):
        columns.append(output.Column(title="ORIGIN", shrinks=True))
    rows = [[clean(key), clean(shown), clean(origin, 1024)][: len(columns)] for key, _, shown, origin in entries]
    output.table(columns, rows, color=settings.output.color)


def _entries(settings: Settings) -> list[tuple[str, object, str, Origin]]:
    """Key, value, value as a person writes it, origin: the table's keys, then patterns, then aliases."""
    entries: list[tuple[str, object, str, Origin]] = []
    for key in KEYS:
        value = settings.value(key.name)
        entries.append((key.name, value, show_value(key, value), settings.origin(key.name)))
    for rule in settings.ssh.rules:
        if rule.user is not None:
            entries.append((f'ssh.vms."{rule.pattern}".user', rule.user, rule.user, rule.origin))
        if rule.port is not None:
            entries.append((f'ssh.vms."{rule.pattern}".port', rule.port, str(rule.port), rule.origin))
    for context, alias in settings.aliases.items():
        entries.append((f'contexts."{context}".alias', alias, alias, settings.alias_origins[context]))
    return entries


def _kubeconfig_entries(invocation: Invocation) -> list[tuple[str, object, str, Origin]]:
    """What the kubeconfig decides, each with the file that it came from; nothing where none can be read."""
    from broker.cli.redact import redact
    from broker.kube.kubeconfig import resolve
    from broker.kube.kubefiles import read_files

    try:
        config = read_files(invocation.kubeconfig, invocation.environ).config
        found = resolve(config, invocation.parsed.text("context"))
    except BrokerError:
        return []
    context = invocation.parsed.text("context")
    by_flag = Origin(layer="flag", place="--context")
    values = (
        ("context", found.context.name, by_flag if context else _from_file(config.current_source or found.context.source)),
        ("namespace", found.context.namespace or "default", _from_file(found.context.source)),
        ("server", redact(found.cluster.server), _from_file(found.cluster.source)),
        ("user", found.user.name, _from_file(found.user.source)),
    )
    return [(f"kubeconfig.{name}", value, value, origin) for name, value, origin in values]


def _from_file(source: object) -> Origin:
    return Origin(layer="kubeconfig", place=str(source))


def _check(invocation: Invocation) -> None:
    problems = check_settings(invocation.environ)
    if len(problems) == 1:
        only = problems[0]
        raise SettingsError(f"{clean(only.place, 1024)}: {only.message}", next_step=only.next_step)
    if problems:
        for problem in problems:
            step = f" ({problem.next_step})" if problem.next_step else ""
            exits.note(f"{clean(problem.place, 1024)}: {problem.message}{step}", matters=True)
        raise SettingsError(f"the settings have {len(problems)} mistakes", next_step="mend the lines named above")
    invocation.settings(_context(invocation))
    at = places(invocation.environ)
    found = [clean(path, 1024) for path in (at.system, at.user) if path.exists()]
    if invocation.parsed.output == "table":
        output.text(f"settings are good: {', '.join(found) if found else 'no file, built-in values'}")
        return
    document = {"apiVersion": output.API_VERSION, "kind": "SettingsCheck", "files": found, "problems": []}
    (output.json if invocation.parsed.output == "json" else output.yaml)(document)


def _path(invocation: Invocation) -> None:
    at = places(invocation.environ)
    files = (("system", at.system), ("user", at.user))
    if invocation.parsed.output == "table":
        rows: list[list[Clean]] = [
            [clean(layer), clean(path, 1024), clean("there" if path.exists() else "not there")] for layer, path in files
        ]
        columns = [output.Column(title="LAYER"), output.Column(title="FILE"), output.Column(title="STATE")]
        output.table(columns, rows, color="never")
        return
    document = {
        "apiVersion": output.API_VERSION,
        "kind": "SettingsFiles",
        "items": [{"layer": layer, "path": str(path), "exists": path.exists()} for layer, path in files],
    }
    (output.json if invocation.parsed.output == "json" else output.yaml)(document)


def _context(invocation: Invocation) -> str | None:
    """The context whose values hold: settings are shown without one where no kubeconfig can be read."""
    given = invocation.parsed.text("context")
    if given:
        return given
    from broker.kube.kubefiles import read_files

    try:
        return read_files(invocation.kubeconfig, invocation.environ).config.current or None
    except BrokerError:
        return None
