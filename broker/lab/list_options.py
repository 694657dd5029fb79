"""The query of a list or watch, read and checked as kube-apiserver does (apimachinery metav1/validation, conversion)."""

from __future__ import annotations

from collections.abc import Mapping

from broker.lab.answers import ApiError

__all__ = ["check_list_options", "flag_of"]

_MATCHES = ("Exact", "NotOlderThan")


def flag_of(query: Mapping[str, str], name: str) -> bool:
    """Whether a flag is set: only its absence, `0` and `false` in any case mean no (apimachinery's conversion of booleans)."""
    text = query.get(name)
    return text is not None and text != "0" and text.lower() != "false"


def check_list_options(query: Mapping[str, str], *, is_watch: bool) -> None:
    """Refuse options that cannot go together: ApiError 422 with each reason."""
    problems = list(_watch_problems(query) if is_watch else _list_problems(query))
    if not problems:
        return
    message = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    causes = []
    for problem in problems:
        field, _, why = problem.partition(": ")
        reason = "FieldValueForbidden" if why.startswith("Forbidden") else "FieldValueNotSupported"
        causes.append({"reason": reason, "message": why, "field": field})
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": causes}
    raise ApiError(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {message}', details=details)


def _forbidden(why: str) -> str:
    return f"resourceVersionMatch: Forbidden: {why}"


def _unsupported(match: str, supported: tuple[str, ...]) -> str:
    words = ", ".join(f'"{word}"' for word in supported)
    return f'resourceVersionMatch: Unsupported value: "{match[:80]}": supported values: {words}'


def _list_problems(query: Mapping[str, str]) -> list[str]:
    found = []
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    if match:
        if not version:
            found.append(_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if query.get("continue"):
            found.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
        if match not in _MATCHES:
            found.append(_unsupported(match, (*_MATCHES, "")))
        if match == "Exact" and version == "0":
            found.append(_forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in query:
        found.append("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list")
    return found


def _watch_problems(query: Mapping[str, str]) -> list[str]:
    found = []
    match = query.get("resourceVersionMatch", "")
    if "sendInitialEvents" in query and match != "NotOlderThan":
        found.append(_forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match:
        if "sendInitialEvents" not in query:
            found.append(_forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
        if match != "NotOlderThan":
            found.append(_unsupported(match, ("NotOlderThan",)))
        if query.get("continue"):
            found.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
    return found
