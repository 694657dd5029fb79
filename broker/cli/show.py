"""`vmbroker show`: one VM joined with its instance."""

from __future__ import annotations

import time

from broker.clean import clean
from broker.cli import exits, output
from broker.cli.invocation import Invocation
from broker.cli.reading import shown
from broker.refs import parse_login, parse_port, parse_user


def run(invocation: Invocation) -> int:
    """Print what is known of the VM that TARGET names."""
    from broker.actions.vm_details import details_to_json
    from broker.actions.vm_sections import sections

    parsed = invocation.parsed
    login = parse_login(parsed.operands[0])
    user, port = login.user or parsed.text("user"), parsed.text("port")
    details = shown(
        invocation,
        login.target,
        user=parse_user(user) if user else None,
        port=parse_port(port) if port else None,
    )
    exits.warn(clean(warning) for warning in details.warnings)
    if parsed.output in ("json", "yaml"):
        (output.json if parsed.output == "json" else output.yaml)(details_to_json(details))
    elif parsed.output == "name":
        output.names([clean(details.target, 600)])
    else:
        for title, pairs in sections(details, time.time()):
            if title:
                output.text(f"\n{clean(title)}")
            output.fields([(name, clean(value)) for name, value in pairs])
    return 0
