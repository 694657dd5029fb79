"""Which user and port ssh should take for a VM, and who said so. **Pure.**

Order: flag, annotations, settings by pattern, cloud-init user data, accessCredentials, the image's convention; else nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from broker.clean import clean
from broker.config.settings import GuestRule
from broker.model.machine import NO_MACHINE, CloudInit, MachineSpec
from broker.refs import is_user

USER_ANNOTATION: Final = "vmbroker.io/ssh-user"
"""Annotation of a VM (or VMI) that names its guest user."""
PORT_ANNOTATION: Final = "vmbroker.io/ssh-port"
"""Annotation of a VM (or VMI) that names the guest port of its SSH server."""
DEFAULT_PORT: Final = 22
"""The port where nothing says otherwise (RFC 4253)."""

_USER_DATA_LIMIT_BYTES: Final = 64 * 1024
_TEMPLATE: Final = "## template:"
_HEADER: Final = "#cloud-config"
_CONVENTIONS: Final[Mapping[str, str]] = {
    "almalinux": "almalinux",
    "alpine": "alpine",
    "amzn": "ec2-user",
    "arch": "arch",
    "centos": "cloud-user",
    "cirros": "cirros",
    "debian": "debian",
    "fedora": "fedora",
    "freebsd": "freebsd",
    "opensuse": "opensuse",
    "opensuse-leap": "opensuse",
    "ol": "cloud-user",
    "rhel": "cloud-user",
    "rocky": "rocky",
    "sles": "sles",
    "ubuntu": "ubuntu",
}
_ADMINISTRATORS: Final[Mapping[str, str]] = {"mswindows": "Administrator", "windows": "Administrator"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestLogin:
    """The guest user and port for one VM, each with its origin as a short phrase.

    `user` None: nobody said, and ssh takes its own default; `is_guess` says that the user is a convention, not a statement.
    """

    user: str | None
    user_origin: str
    port: int
    port_origin: str
    is_guess: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one kind of source said: a user and the phrase that names the source."""

    user: str
    origin: str
    is_guess: bool = False


def guest_login(
    *,
    flag_user: str | None = None,
    flag_port: int | None = None,
    annotations: Mapping[str, str] | None = None,
    rule: GuestRule | None = None,
    machine: MachineSpec = NO_MACHINE,
    guest_os_id: str | None = None,
) -> GuestLogin:
    """Choose user and port; unfit annotations are passed over with a warning, unfit guesses in silence.

    `annotations` are those of the VM laid over those of the VMI; `rule` is what the settings say of this VM.
    """
    rule = rule or GuestRule()
    warnings: list[str] = []
    annotated_user = _annotated_user(annotations or {}, warnings)
    annotated_port = _annotated_port(annotations or {}, warnings)
    said = _user(flag_user, annotated_user, rule, machine, guest_os_id)
    port, port_origin = _port(flag_port, annotated_port, rule)
    return GuestLogin(
        user=said.user if said else None,
        user_origin=said.origin if said else "ssh's own default",
        port=port,
        port_origin=port_origin,
        is_guess=bool(said and said.is_guess),
        warnings=tuple(warnings),
    )


def cloud_init_format(text: str) -> str:
    """Name the format of user data by its first line: cloud-config, jinja, script, multipart, include, other or empty.

    Only `cloud-config` may be read for a user (cases C-014, C-015, C-017; cloud-init docs, user data formats).
    """
    first = text.split("\n", 1)[0].rstrip()
    if not text.strip():
        return "empty"
    if first.startswith(_TEMPLATE):
        return "jinja"
    if first == _HEADER:
        return "cloud-config"
    if first.startswith("#!"):
        return "script"
    if first.lower().startswith(("content-type: multipart", "mime-version:")):
        return "multipart"
    return "include" if first.startswith("#include") else "other"


def cloud_config_user(text: str) -> str | None:
    """Read the login user from cloud-config text: `user`, else the first entry of `users` that is a person.

    None for any other format, for text over 64 KiB, and where the YAML names nobody fit for ssh.
    """
    if len(text) > _USER_DATA_LIMIT_BYTES or cloud_init_format(text) != "cloud-config":
        return None
    document = _yaml(text)
    if not isinstance(document, dict):
        return None
    named = _entry_name(document.get("user"))
    return named or next(_listed(document.get("users")), None)


def _user(
    flag: str | None, annotated: str | None, rule: GuestRule, machine: MachineSpec, guest_os_id: str | None
) -> Said | None:
    if flag:
        return Said(user=flag, origin="given on the command line")
    if annotated:
        return Said(user=annotated, origin=f"annotation {USER_ANNOTATION}")
    if rule.user:
        return Said(user=rule.user, origin=f"settings ({rule.user_origin})" if rule.user_origin else "settings")
    return _from_cloud_init(machine) or _from_credentials(machine) or _from_convention(guest_os_id)


def _port(flag: int | None, annotated: int | None, rule: GuestRule) -> tuple[int, str]:
    if flag:
        return flag, "given on the command line"
    if annotated:
        return annotated, f"annotation {PORT_ANNOTATION}"
    if rule.port:
        return rule.port, f"settings ({rule.port_origin})" if rule.port_origin else "settings"
    return DEFAULT_PORT, "the default"


def _annotated_user(annotations: Mapping[str, str], warnings: list[str]) -> str | None:
    text = annotations.get(USER_ANNOTATION)
    if text is None or is_user(text):
        return text
    warnings.append(
        f"annotation {USER_ANNOTATION} is passed over: '{clean(text, 48)}' is not a user name that ssh may be given"
    )
    return None


def _annotated_port(annotations: Mapping[str, str], warnings: list[str]) -> int | None:
    text = annotations.get(PORT_ANNOTATION)
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    warnings.append(f"annotation {PORT_ANNOTATION} is passed over: '{clean(text, 48)}' is not a port from 1 to 65535")
    return None


def _from_cloud_init(machine: MachineSpec) -> Said | None:
    # Only the first cloud-init volume reaches the guest (pkg/cloud-init/cloud-init.go).
    for volume in machine.volumes or ():
        if volume.cloud_init is not None:
            user = cloud_config_user(_user_data(volume.cloud_init))
            return Said(user=user, origin=f"cloud-init data of volume {clean(volume.name, 63)}") if user else None
    return None


def _from_credentials(machine: MachineSpec) -> Said | None:
    for credential in machine.access_credentials or ():
        key = credential.ssh_public_key
        agent = key.propagation_method.qemu_guest_agent if key and key.propagation_method else None
        for user in (agent.users if agent else None) or ():
            if is_user(user) and user != "root":
                return Said(user=user, origin="accessCredentials (guest agent)")
    return None


def _from_convention(guest_os_id: str | None) -> Said | None:
    known = {**_CONVENTIONS, **_ADMINISTRATORS}
    user = known.get((guest_os_id or "").lower())
    return Said(user=user, origin=f"convention for {clean(guest_os_id, 32)} images", is_guess=True) if user else None


def _user_data(source: CloudInit) -> str:
    if source.user_data:
        return source.user_data
    encoded = source.user_data_base64 or ""
    if not encoded or len(encoded) > _USER_DATA_LIMIT_BYTES * 2:
        return ""
    try:
        return base64.b64decode(encoded, validate=False).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def _yaml(text: str) -> object:
    import yaml  # costs 15 ms: only where there is a text to read

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # Aliases can grow a small text without bound, and no account needs one.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=loader)):
            return None
        return yaml.load(text, Loader=loader)  # noqa: S506  # a safe loader, C or Python
    except (yaml.YAMLError, RecursionError, ValueError):
        return None


def _entry_name(entry: object) -> str | None:
    name = entry.get("name") if isinstance(entry, dict) else entry
    return name if isinstance(name, str) and is_user(name) else None


def _listed(users: object) -> Iterator[str]:
    if isinstance(users, str):
        users = [part.strip() for part in users.split(",")]
    if isinstance(users, dict):
        users = [{"name": name, **(entry if isinstance(entry, dict) else {})} for name, entry in users.items()]
    for entry in users if isinstance(users, list) else ():
        if isinstance(entry, dict) and (entry.get("system") is True or entry.get("inactive") not in (None, False)):
            continue
        name = _entry_name(entry)
        if name and name not in ("default", "root"):
            yield name
