"""One line of a watch decoded: an event with its object, its place in the stream, or the server's Status. **Pure.**

Source: Kubernetes meta/v1 WatchEvent (`{"type": …, "object": …}`), API concepts, "efficient detection of changes".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar, get_args

import msgspec

from broker.errors import Failed
from broker.model.meta import Meta, Struct
from broker.model.pages import decode

T = TypeVar("T")
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
NO_META: Final = Meta()
_TYPES: Final = frozenset(get_args(EventType))


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent(Generic[T]):
    """One event: `obj` is None for BOOKMARK and ERROR, and for an object that cannot be read (its `meta` could be).

    `status_code` and `status` (the Status as JSON) are set for ERROR only.
    """

    type: EventType
    meta: Meta = NO_META
    obj: T | None = None
    status_code: int = 0
    status: bytes = b""


class _Line(Struct, frozen=True):
    type: str = ""
    object: msgspec.Raw = msgspec.Raw(b"{}")


class _Bare(Struct, frozen=True):
    metadata: Meta = Meta()


class _Status(Struct, frozen=True):
    code: int | None = None


_LINE: Final = msgspec.json.Decoder(_Line)
_BARE: Final = msgspec.json.Decoder(_Bare, strict=False)
_STATUS: Final = msgspec.json.Decoder(_Status, strict=False)


def decode_event(line: bytes, decode_object: Callable[[bytes], T]) -> WatchEvent[T]:
    """Decode one line without its end; Failed (`unreadable-answer`) for a line that is no event.

    An object that `decode_object` refuses costs itself alone: the event then has its meta and no object.
    """
    found = decode(_LINE.decode, line, "watch event")
    raw = bytes(found.object)
    if found.type not in _TYPES:
        raise Failed("the API server sent a watch event of an unknown type", code="unreadable-answer")
    kind: EventType = found.type  # type: ignore[assignment]  # one of them, as just seen
    if kind == "ERROR":
        return WatchEvent(type=kind, status_code=_code(raw), status=raw)
    meta = decode(_BARE.decode, raw, "object of a watch event").metadata
    if kind == "BOOKMARK":
        return WatchEvent(type=kind, meta=meta)
    try:
        return WatchEvent(type=kind, meta=meta, obj=decode_object(raw))
    except Failed:
        return WatchEvent(type=kind, meta=meta)


def _code(raw: bytes) -> int:
    try:
        code = _STATUS.decode(raw).code or 0
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 500
    return code if 400 <= code <= 599 else 500
