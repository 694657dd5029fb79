"""`VmDetails` as titled lists of name and value, for a screen that has no table. **Pure.**"""

from __future__ import annotations

from broker.actions.vm_details import ShownInterface, VmDetails
from broker.actions.vm_rows import age

Pairs = tuple[tuple[str, str], ...]


def sections(details: VmDetails, now_s: float) -> tuple[tuple[str, Pairs], ...]:
    """Return the sections in order, the first without a title; values hold foreign text that the caller cleans.

    `now_s` is in seconds since the epoch; a fact that nobody knows has no line.
    """
    found = [("", _known(_facts(details, now_s))), ("SSH", _known(_login(details)))]
    if details.conditions:
        found.append(("Conditions", _conditions(details)))
    found += [(f"Interface {_title(interface)}", _known(_interface(interface))) for interface in details.interfaces]
    if not details.interfaces:
        found.append(("Interfaces", (("None", "the spec lists none, and none is in the status"),)))
    return tuple(found)


def _facts(details: VmDetails, now_s: float) -> Pairs:
    is_vm = details.object == "VirtualMachine"
    labels = ", ".join(f"{key}={value}" for key, value in sorted(details.labels.items()))
    return (
        ("Name", details.name if is_vm else f"{details.name} (the instance)"),
        ("Namespace", details.namespace),
        ("Context", details.context),
        ("Status", details.status),
        ("Run strategy", details.run_strategy),
        ("Phase", details.phase),
        ("Ready", "" if details.ready is None else ("yes" if details.ready else "no")),
        ("Node", details.node),
        ("Age", age(details.created_s, now_s)),
        ("Started", f"{age(details.started_s, now_s)} ago" if details.started_s is not None and is_vm else ""),
        ("Guest OS", details.guest_os),
        ("Guest agent", "connected" if details.is_agent_connected else "not connected" if details.vmi_uid else ""),
        ("Labels", labels),
        ("UID", details.uid),
    )


def _login(details: VmDetails) -> Pairs:
    login, reason = details.login, details.obstacle or details.doubt
    guess = ", a guess" if login.is_guess else ""
    return (
        ("User", f"{login.user} (from {login.user_origin}{guess})" if login.user else "not known: ssh takes its own default"),
        ("Port", f"{login.port} (from {login.port_origin})"),
        ("Cannot work" if details.obstacle else "Most likely cannot work", reason.message if reason else ""),
        ("Because", (reason.cause if reason else None) or ""),
        ("Next", (reason.next_step if reason else None) or ""),
    )


def _conditions(details: VmDetails) -> Pairs:
    pairs: list[tuple[str, str]] = []
    for entry in details.conditions:
        said = ": ".join(part for part in (entry.reason, entry.message) if part)
        pairs.append((entry.type, f"{entry.status}, {entry.meaning}" + (f" ({said})" if said else "")))
    return tuple(pairs)


def _title(interface: ShownInterface) -> str:
    name = interface.name or interface.guest_name or "without a name"
    return f"{name} [{', '.join(interface.badges)}]" if interface.badges else name


def _interface(interface: ShownInterface) -> Pairs:
    addresses = [f"{a.text} (link-local)" if a.is_link_local else a.text for a in interface.addresses]
    origin = f" (from {interface.info_source})" if interface.info_source else ""
    names = [f"{name} in the {place}" for name, place in ((interface.guest_name, "guest"), (interface.pod_name, "pod")) if name]
    return (
        ("Binding", interface.binding),
        ("Network", interface.source),
        ("Addresses", ", ".join(addresses) + origin if addresses else ""),
        ("MAC", interface.mac),
        ("Model", interface.model),
        ("Known as", ", ".join(names)),
        (
            "Ports",
            f"{', '.join(interface.ports)}, and no other"
            if interface.ports and interface.binding == "masquerade"
            else ", ".join(interface.ports),
        ),
    )


def _known(pairs: Pairs) -> Pairs:
    return tuple((name, value) for name, value in pairs if value)
