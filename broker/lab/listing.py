"""Lists: chunks with continue tokens, selectors, versions, and the three forms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from aiohttp import web

from broker.lab.answers import ApiError, answer_json, bad_request, expired
from broker.lab.forms import Form, encoded_in, form_of
from broker.lab.list_options import check_list_options
from broker.lab.objects import Compacted, Entry, Objects
from broker.lab.paging import Position, continue_token, parse_token
from broker.lab.resources import Resource
from broker.lab.selectors import Selection, parse_selection

__all__ = ["list_answer", "number_of", "selection_of"]

Json = dict[str, Any]
TOO_NEW_WAIT_S = 3.0
"""How long the real server waits for a version that does not exist yet before it answers 504."""
_EXPIRED_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the"
    " continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with"
    " the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the"
    " first chunk was returned and now may show up in the list."
)


def number_of(request: web.Request, name: str) -> int | None:
    """Read a whole number from the query, None where it is absent or empty; ApiError 400 for anything else."""
    text = request.query.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise bad_request(f'strconv.ParseUint: parsing "{text[:40]}": invalid syntax')
    return int(text)


def selection_of(request: web.Request, resource: Resource) -> Selection:
    """Read the two selectors of a list or watch."""
    return parse_selection(request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""), resource.plural)


async def list_answer(objects: Objects, resource: Resource, version: str, namespace: str, request: web.Request) -> web.Response:
    """Answer a list request; ApiError 400, 406, 410 or 504 as the real server."""
    form = form_of(request)
    check_list_options(request.query, is_watch=False)
    selection = selection_of(request, resource)
    limit = number_of(request, "limit") or 0
    prefix = f"{namespace}/" if namespace else ""
    token = request.query.get("continue", "")
    position = parse_token(token, prefix=prefix) if token else None
    at = await _version(objects, request, position)
    start = position.start if position is not None else ""
    try:
        found = objects.entries(resource.name, namespace or None, at=at, start=start)
        page, following = _page(found, selection, limit)
        remaining = sum(1 for _ in found) + 1 if following is not None and selection.is_whole else 0
    except Compacted as exc:
        if position is None:
            raise expired("The resourceVersion for the provided list is too old.") from exc
        fresh = continue_token(position.start.rstrip("\0"), -1, prefix=prefix, is_first=False)
        raise expired(_EXPIRED_TOKEN, metadata={"continue": fresh}) from exc
    shown_version = at if at is not None else objects.resource_version
    metadata: Json = {}
    if following is not None and page:
        metadata["continue"] = continue_token(page[-1].key, shown_version, prefix=prefix, is_first=position is None)
        if remaining:
            metadata["remainingItemCount"] = remaining
    metadata["resourceVersion"] = str(shown_version)
    return answer_json(_body(form, resource, version, page, metadata))


async def _version(objects: Objects, request: web.Request, position: Position | None) -> int | None:
    """The past version to list at, None for the newest."""
    if position is not None:
        if request.query.get("resourceVersion", "") not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        return None if position.resource_version < 0 else position.resource_version
    asked = number_of(request, "resourceVersion")
    match = request.query.get("resourceVersionMatch", "")
    if asked is None or asked == 0:
        return None
    if asked > objects.resource_version:
        await asyncio.sleep(TOO_NEW_WAIT_S)
        if asked > objects.resource_version:
            details = {
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            }
            message = f"Timeout: Too large resource version: {asked}, current: {objects.resource_version}"
            raise ApiError(504, "Timeout", message, details=details, retry_after_s=1)
    return asked if match == "Exact" else None


def _page(found: Iterator[Entry], selection: Selection, limit: int) -> tuple[list[Entry], Entry | None]:
    """The entries of one page, and the first one after it."""
    chosen = found if selection.is_whole else (entry for entry in found if selection.matches(entry.decode()))
    page = list(islice(chosen, limit)) if limit else list(chosen)
    return page, next(chosen, None) if limit else None


def _body(form: Form, resource: Resource, version: str, page: list[Entry], metadata: Json) -> bytes:
    if form.kind == "table":
        return msgspec.json.encode(form.table(resource, [entry.decode() for entry in page], _ordered(metadata)))
    if form.kind == "metadata":
        items = [form.of_object(resource, version, entry.decode()) for entry in page]
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": _ordered(metadata)}
        return msgspec.json.encode({**head, "items": items})
    kind, api_version = f"{resource.kind}List", resource.api_version(version)
    if resource.is_custom:
        joined = b",".join(encoded_in(entry, resource, version) for entry in page)
        tail = msgspec.json.encode({"kind": kind, "metadata": {"continue": "", **metadata}})
        return b'{"apiVersion":' + msgspec.json.encode(api_version) + b',"items":[' + joined + b"]," + tail[1:]
    # Items of a built-in list carry no kind and apiVersion of their own.
    bare = [{key: value for key, value in entry.decode().items() if key not in ("apiVersion", "kind")} for entry in page]
    head = {"kind": kind, "apiVersion": api_version, "metadata": _ordered(metadata)}
    return msgspec.json.encode({**head, "items": bare})


def _ordered(metadata: Json) -> Json:
    order = ("resourceVersion", "continue", "remainingItemCount")
    return {key: metadata[key] for key in order if key in metadata}
