"""Commands that a message may tell a person to type, about an object that the cluster named. **Pure.**

A name of the cluster's is no shell word until it proves to be one: where it does not, NAME or NAMESPACE stands for it.
"""

from __future__ import annotations

from typing import Literal

from broker.clean import Clean, clean
from broker.refs import Kind, is_name

KINDS = {"vm": "VM", "vmi": "VMI"}
_FULL = {"vm": "virtualmachine", "vmi": "virtualmachineinstance"}


def called(kind: Kind, name: str, namespace: str) -> Clean:
    """Return an object in words: `VM web in namespace shop`."""
    return clean(f"{KINDS[kind]} {name} in namespace {namespace}", 150)


def target_word(kind: Kind, name: str, namespace: str) -> str:
    """Return what vmbroker and virtctl call a target: `vm/web/shop`."""
    return f"{kind}/{_name(name)}/{_namespace(namespace)}"


def virtctl(verb: Literal["start", "unpause", "console", "restart"], name: str, namespace: str, kind: Kind = "vm") -> str:
    """Return a virtctl command: `virtctl start web -n shop`; unpause names the kind, as virtctl wants it."""
    word = f"{kind} {_name(name)}" if verb == "unpause" else _name(name)
    return f"virtctl {verb} {word} -n {_namespace(namespace)}"


def expose(name: str, namespace: str, port: int = 22) -> str:
    """Return the command that makes a NodePort Service for a VM's port."""
    word, place = _name(name), _namespace(namespace)
    return f"virtctl expose vm {word} -n {place} --name {word.replace('.', '-')[:58]}-ssh --type NodePort --port {port}"


def kubectl_events(kind: Kind, name: str, namespace: str) -> str:
    """Return the command that lists what the controllers reported about an object."""
    return f"kubectl events -n {_namespace(namespace)} --for {_FULL[kind]}/{_name(name)}"


def kubectl_describe(kind: Kind, name: str, namespace: str) -> str:
    """Return the command that shows an object with its conditions and events."""
    return f"kubectl describe {kind} {_name(name)} -n {_namespace(namespace)}"


def wait(kind: Kind, name: str, namespace: str, goal: Literal["running", "address", "agent", "ssh"]) -> str:
    """Return the command that waits for a machine: `vmbroker wait vm/web/shop --for ssh`."""
    return f"vmbroker wait {target_word(kind, name, namespace)} --for {goal}"


def show(kind: Kind, name: str, namespace: str) -> str:
    """Return the command that shows a machine: `vmbroker show vm/web/shop`."""
    return f"vmbroker show {target_word(kind, name, namespace)}"


def again(verb: str, words: str) -> str:
    """Return the command that was run with a target that is there: `vmbroker show vmi/web/shop`; PORTS stands for forward's."""
    return f"vmbroker {verb} {words}{' PORTS' if verb == 'forward' else ''}"


def _name(text: str) -> str:
    return text if is_name(text) else "NAME"


def _namespace(text: str) -> str:
    return text if is_name(text) and "." not in text and len(text) <= 63 else "NAMESPACE"
