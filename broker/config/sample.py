"""The sample settings file, written from the key table. Pure."""

from __future__ import annotations

from broker.config.keys import KEYS, SECTIONS
from broker.config.values import show_value

_HEAD = """\
# Settings of vmbroker. The system's file is /etc/vmbroker/vmbroker.toml, yours is
# $XDG_CONFIG_HOME/vmbroker/vmbroker.toml (~/.config/vmbroker/vmbroker.toml).
# Strength: built in < system < user < [contexts."NAME"] < VMBROKER_SECTION_KEY < --set SECTION.KEY=VALUE.
# `vmbroker config show --origin` says where each value came from; `vmbroker config check` reads the files.
# Every line below shows a built-in value or an example: take away the first '#' to set it.

# In the system's file only: keys that nothing stronger may change.
# locked = ["stream.limit_bytes"]
"""

_TAIL = """
# Users and ports by VM: globs for NAME.NAMESPACE, the last dot divides them, the first match in the file holds.
# [ssh.vms."web*.shop"]
# user = "fedora"
# port = 2222

# What holds for one kubeconfig context only, and the label that NAME.NAMESPACE.vm.LABEL knows it by.
# [contexts."admin@prod"]
# alias = "prod"
# [contexts."admin@prod".api]
# timeout_s = "60 s"
"""


def sample() -> str:
    """Return the sample file's text; every setting stands in it once, commented out."""
    lines = [_HEAD]
    for section in SECTIONS:
        lines.append(f"\n# [{section}]\n")
        for key in KEYS:
            if key.section != section:
                continue
            value = show_value(key, key.default)
            quoted = value if key.kind in ("count", "port") else f'"{value}"'
            shown = {"ssh.user": '"fedora"', "ssh.port": "22"}.get(key.name, quoted)
            lines.append(f"# # {key.help}\n# {key.name.partition('.')[2]} = {shown}\n")
    return "".join(lines) + _TAIL
