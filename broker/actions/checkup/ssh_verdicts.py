"""What `ssh-config check` found and `ssh -G` said, as checks of `doctor`: each is decided by its own facts. **Pure.**"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from broker.actions.checkup.check import Check, failed, not_looked_at, ok, title_of, unknown
from broker.clean import clean
from broker.errors import Failed

if TYPE_CHECKING:
    from broker.actions.check_ssh_config import SshConfigCheck, Way
    from broker.paths.ssh_findings import Finding

_OF_CODE: Final = (
    ("include-", "ssh-include"),
    ("own-", "ssh-include"),
    ("not-installed", "ssh-include"),
    ("controlpath-", "ssh-control-path"),
    ("control-folder-", "ssh-control-path"),
    ("earlier-proxy", "ssh-alias"),
    ("fdpass", "ssh-alias"),
    ("program-missing", "ssh-alias"),
    ("kubeconfig-gone", "ssh-alias"),
)
"""Which check a finding belongs to, by how its code begins; any other is about the user's own file."""
_INSTALL: Final = "vmbroker ssh-config install makes NAME.NAMESPACE.vm work in ssh, scp, rsync, git and Ansible"
_CHECK: Final = "vmbroker ssh-config check"
_UNSEEN: Final = ("config-unread", "unsafe-path")
_NOT_INSTALLED: Final = "ssh-config is not installed"
_Found = Mapping[str, Sequence["Finding"]]


def settle_findings(found: SshConfigCheck, measured: Check | None = None) -> Iterator[Check]:
    """Give each check of the ssh configuration the worst finding of its own, or what was seen instead.

    `measured` is what `socket_check` says, None where ssh gave no answer: it decides the length of a ControlPath, and a finding
    that names its line tells it better.
    """
    bad: dict[str, list[Finding]] = {}
    notes: dict[str, list[Finding]] = {}
    for finding in found.findings:
        code = check_of(finding)
        if finding.code == "controlpath-long" and measured is not None and measured.state == "ok":
            code = "ssh-file"  # it fits as yet: a danger that grows with the names
        (notes if finding.severity == "note" else bad).setdefault(code, []).append(finding)
    yield _include(found, bad, notes)
    yield _alias(found, bad)
    yield _jump(found, bad)
    yield _control_path(found, bad, measured)
    yield _own_file(bad, notes)


def check_of(finding: Finding) -> str:
    """Return the check that a finding belongs to."""
    if finding.code == "earlier-proxy" and finding.what.lower().startswith("`proxyjump"):
        return "ssh-jump"
    return next((check for start, check in _OF_CODE if finding.code.startswith(start)), "ssh-file")


def _include(found: SshConfigCheck, bad: _Found, notes: _Found) -> Check:
    own = clean(found.own, 160)
    told = notes.get("ssh-include", ())
    if "ssh-include" in bad:
        return _failed("ssh-include", bad["ssh-include"])
    if not found.is_installed:
        if any(finding.code in _UNSEEN for finding in found.findings):
            return unknown("ssh-include", f"not known: {'; '.join(found.unknown)}")
        return unknown("ssh-include", "not installed", next_step=_INSTALL)
    late = [finding for finding in told if finding.code == "include-not-first"]
    if late and _lost(found):
        return _failed("ssh-include", late)
    if told:
        return ok("ssh-include", f"{own} is read; {'; '.join(f'{each.what}: {each.why}' for each in told)}")
    return ok("ssh-include", f"{own}, before any Host or Match of {clean(found.file, 160)}")


def _alias(found: SshConfigCheck, bad: _Found) -> Check:
    if "ssh-alias" in bad:
        return _failed("ssh-alias", bad["ssh-alias"])
    if not found.is_installed:
        return not_looked_at("ssh-alias", _NOT_INSTALLED)
    lost = _lost(found)
    if lost:
        by = bad.get("ssh-jump") or bad.get("ssh-include") or ()
        return failed("ssh-alias", _astray(lost, cause=f"{by[0].place}: {by[0].what}" if by else None))
    if _is_unanswered(found):
        return unknown("ssh-alias", _unanswered(found))
    return ok("ssh-alias", f"ssh -G gives our ProxyCommand for {len(found.ways)} sample aliases")


def _jump(found: SshConfigCheck, bad: _Found) -> Check:
    if "ssh-jump" in bad:
        return _failed("ssh-jump", bad["ssh-jump"])
    if not found.is_installed:
        return not_looked_at("ssh-jump", _NOT_INSTALLED)
    jumping = [way for way in found.ways if way.proxy.startswith("proxyjump")]
    if jumping:
        return failed("ssh-jump", _astray(jumping))
    if _is_unanswered(found):
        return unknown("ssh-jump", _unanswered(found))
    return ok("ssh-jump", "ssh -G gives none for the sample aliases")


def _control_path(found: SshConfigCheck, bad: _Found, measured: Check | None) -> Check:
    others = [finding for finding in bad.get("ssh-control-path", ()) if not finding.code.startswith("controlpath-")]
    if others:
        return _failed("ssh-control-path", others)
    if measured is not None and (measured.state == "ok" or "ssh-control-path" not in bad):
        return measured
    if "ssh-control-path" in bad:
        return _failed("ssh-control-path", bad["ssh-control-path"])
    if not found.is_installed:
        return not_looked_at("ssh-control-path", _NOT_INSTALLED)
    return unknown("ssh-control-path", _unanswered(found))


def _own_file(bad: _Found, notes: _Found) -> Check:
    if "ssh-file" in bad:
        return _failed("ssh-file", bad["ssh-file"])
    above = [title_of(code) for code in ("ssh-include", "ssh-alias", "ssh-jump", "ssh-control-path") if code in bad]
    count = sum(len(each) for each in notes.values())
    noted = f" ({count} note{'s' if count > 1 else ''}: {_CHECK})" if count else ""
    if above:
        return ok("ssh-file", f"nothing more than what is said at '{above[0]}'{noted}")
    return ok("ssh-file", f"nothing in it defeats or endangers an alias{noted}")


def _lost(found: SshConfigCheck) -> list[Way]:
    return [way for way in found.ways if way.is_ours is False] if found.is_installed else []


def _is_unanswered(found: SshConfigCheck) -> bool:
    return bool(found.unknown) or not found.ways or any(way.is_ours is None for way in found.ways)


def _unanswered(found: SshConfigCheck) -> str:
    return f"not known: {'; '.join(found.unknown) or 'what ssh makes of an alias'}"


def _astray(ways: Sequence[Way], *, cause: str | None = None) -> Failed:
    takes = f"`{ways[0].proxy}`" if ways[0].proxy else "no proxy at all"
    why = "ssh takes the first ProxyCommand or ProxyJump that it reads, and ours is not that"
    others = f" (and for {len(ways) - 1} more)" if len(ways) > 1 else ""
    return Failed(
        f"for {clean(ways[0].alias, 140)} ssh -G gives {takes}, not our ProxyCommand{others}",
        code="earlier-proxy",
        cause=cause or (why if ways[0].proxy else "no block of ours is read for it"),
        next_step="put our Include before it: `vmbroker ssh-config install`",
    )


def _worst(found: Iterable[Finding]) -> Finding:
    return min(found, key=lambda finding: finding.severity != "defeats")


def _failed(code: str, found: Sequence[Finding]) -> Check:
    finding, others = _worst(found), len(found) - 1
    more = f" (and {others} more: {_CHECK})" if others else ""
    error = Failed(f"{finding.place}: {finding.what}{more}", code=finding.code, cause=finding.why, next_step=finding.instead)
    return failed(code, error)
