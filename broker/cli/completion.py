"""`vmbroker completion`: scripts for three shells, the answers they ask for, and the renewal of known names."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from broker.cli import output, snapshot
from broker.cli.candidates import asked_options, candidates
from broker.cli.invocation import Invocation, own_words
from broker.errors import BrokerError, NotPermitted, UsageError

_BASH: Final = """\
# bash completion of vmbroker
_vmbroker() {
    local found
    COMPREPLY=()
    while IFS= read -r found; do
        COMPREPLY+=("$found")
    done < <("${COMP_WORDS[0]}" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    case "${COMPREPLY[*]}" in *[=:@/]) compopt -o nospace ;; esac
}
complete -o default -F _vmbroker vmbroker
"""
_ZSH: Final = """\
#compdef vmbroker
# zsh completion of vmbroker
_vmbroker() {
    local -a found
    found=("${(@f)$("${words[1]}" __complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        if [[ "${found[1]}" == *[:=] ]]; then compadd -S '' -- "${found[@]}"; else compadd -- "${found[@]}"; fi
    else
        _files
    fi
}
if [[ "${funcstack[1]}" == _vmbroker ]]; then _vmbroker "$@"; else compdef _vmbroker vmbroker; fi
"""
_FISH: Final = """\
# fish completion of vmbroker
function __vmbroker_complete
    set -l typed (commandline -opc)
    set -l program $typed[1]
    set -e typed[1]
    $program __complete fish $typed (commandline -ct) 2>/dev/null
end
complete -c vmbroker -n 'not __fish_seen_subcommand_from scp sftp' -f
complete -c vmbroker -a '(__vmbroker_complete)'
"""
SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_REFRESH_S: Final = 60
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_@%+=:,./-]", re.ASCII)
"""What means something to bash, or may: in a context's name, anything can stand."""


def run(invocation: Invocation) -> int:
    """Print a shell's script; answer a completion or renew the names, both in silence whatever happens."""
    command = invocation.parsed.command
    if command is not None and command.name == "__complete":
        with contextlib.suppress(Exception):  # a completion that fails says nothing
            _answer(invocation.parsed.rest, invocation.environ)
        return 0
    if command is not None and command.name == "__refresh":
        with contextlib.suppress(Exception):
            _refresh(invocation)
        return 0
    shell = invocation.parsed.operands[0]
    if shell not in SCRIPTS:
        from broker.clean import escaped

        raise UsageError(f"there is no completion for {escaped(shell)}", next_step="say bash, zsh or fish")
    output.text(SCRIPTS[shell])
    return 0


def bash_words(line: str, breaks: str) -> tuple[list[str], str]:
    """Split what bash's line holds up to the cursor; also what bash itself will keep of the last word.

    Bash divides words at COMP_WORDBREAKS (`:`, `@`, `=` among them) and replaces only what stands after the last one.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        words = line.split()
    if not line or line[-1].isspace():
        words.append("")
    current = words[-1] if words else ""
    kept = max((current.rfind(char) for char in breaks if not char.isspace()), default=-1)
    return words[1:], current[: kept + 1]


def bash_candidates(found: Sequence[str], kept: str, line: str) -> list[str]:
    """Return what bash may put behind `kept`, each word escaped, since bash inserts it as it stands.

    Inside an open quote an escape would be text of its own: there only words that need none are offered.
    """
    rests = [word[len(kept) :] for word in found if word.startswith(kept)]
    if _is_quote_open(line):
        return [rest for rest in rests if not _UNSAFE.search(rest)]
    return [_UNSAFE.sub(r"\\\g<0>", rest) for rest in rests]


def _is_quote_open(line: str) -> bool:
    try:
        shlex.split(line.rstrip("\\"), comments=False)
    except ValueError:
        return True
    return False


def _answer(rest: Sequence[str], environ: Mapping[str, str]) -> None:
    if rest[0] == "bash":
        words, kept = bash_words(rest[1], rest[2] if len(rest) > 2 else "")
    else:
        words, kept = list(rest[1:]), ""
    said = asked_options(words[:-1])
    held = snapshot.Held(names=snapshot.Names(), age_s=None)
    if "lab" not in said:  # TAB must not start a lab
        flags = _carried(said)
        given = said.get("kubeconfig")
        kubeconfig = given[-1] if given else None
        path = snapshot.place(environ, kubeconfig=kubeconfig, words=flags)
        held = snapshot.read(path)
        if (held.age_s is None or held.age_s > snapshot.FRESH_S) and snapshot.claim(path):
            _start_refresh(flags, kubeconfig, path)
    found = candidates(words, held.names)
    if rest[0] == "bash":
        found = bash_candidates(found, kept, rest[1])
    if found:
        output.text("\n".join(found))


def _carried(said: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    words: list[str] = []
    for dest, flag in (("context", "--context"), ("as_user", "--as"), ("as_groups", "--as-group"), ("as_uid", "--as-uid")):
        words += [f"{flag}={value}" for value in said.get(dest, ())]
    return tuple(words)


def _start_refresh(flags: Sequence[str], kubeconfig: str | None, path: Path) -> None:
    import subprocess

    words = [*own_words(), *flags, *([f"--kubeconfig={Path(kubeconfig).absolute()}"] if kubeconfig else []), "__refresh"]
    try:
        subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            close_fds=True,
            env={**os.environ, "VMBROKER_REFRESH_FILE": str(path)},
        )
    except OSError:
        snapshot.release(path)


def _refresh(invocation: Invocation) -> None:
    import signal

    path = Path(invocation.environ.get("VMBROKER_REFRESH_FILE", ""))
    if not path.is_absolute():
        return
    # A hung plugin or name look-up must not leave a process behind for each TAB.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
    signal.alarm(_REFRESH_S)
    try:
        snapshot.write(path, _names(invocation))
    except BrokerError:
        # Names of a cluster that does not answer stay as they are, and the next try waits as after a good one.
        snapshot.write(path, snapshot.read(path).names)
    finally:
        snapshot.release(path)


def _names(invocation: Invocation) -> snapshot.Names:
    from broker.cli.reading import listed
    from broker.kube.endpoint import list_contexts

    contexts = list_contexts(kubeconfig=invocation.kubeconfig, environ=invocation.environ)
    try:
        listing = listed(invocation, all_namespaces=True, selector=None, wide=False)
    except NotPermitted:
        listing = listed(invocation, all_namespaces=False, selector=None, wide=False)
    rows = listing.found.rows
    vms = tuple((row.namespace, row.name, "vm" if row.object == "VirtualMachine" else "vmi") for row in rows)
    return snapshot.Names(namespace=listing.namespace, contexts=tuple(entry.name for entry in contexts.entries), vms=vms)
