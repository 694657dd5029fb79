"""Answers of the API decoded from bytes: one object, or one page of a list. **Pure.**

A page is decoded whole; only when that fails are its items tried one by one, so that one malformed object costs itself alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from broker.clean import clean
from broker.errors import Failed
from broker.model.meta import Struct
from broker.model.vm import VirtualMachine
from broker.model.vmi import VirtualMachineInstance

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One chunk of a list: its items, the token for the next one (empty at the end), how many were unreadable.

    `is_first`: a list starts (again) here, and what earlier pages gave is to be forgotten.
    """

    items: list[T]
    continue_token: str
    resource_version: str
    unreadable: int = 0
    is_first: bool = False


class ListMeta(Struct, frozen=True):
    """`metadata` of a list; `continue` is opaque and URL-escaped by whoever sends it back."""

    continue_token: str | None = msgspec.field(name="continue", default=None)
    resource_version: str | None = None


class _VmList(Struct, frozen=True):
    metadata: ListMeta = ListMeta()
    items: list[VirtualMachine] | None = None


class _VmiList(Struct, frozen=True):
    metadata: ListMeta = ListMeta()
    items: list[VirtualMachineInstance] | None = None


class _RawList(Struct, frozen=True):
    metadata: ListMeta = ListMeta()
    items: list[msgspec.Raw] | None = None


_VM_LIST = msgspec.json.Decoder(_VmList, strict=False)
_VMI_LIST = msgspec.json.Decoder(_VmiList, strict=False)
_RAW_LIST = msgspec.json.Decoder(_RawList)
_VM = msgspec.json.Decoder(VirtualMachine, strict=False)
_VMI = msgspec.json.Decoder(VirtualMachineInstance, strict=False)


def decode_vm(body: bytes) -> VirtualMachine:
    """Decode one VirtualMachine; Failed (`unreadable-answer`) when the bytes are none."""
    return decode(_VM.decode, body, "VirtualMachine")


def decode_vmi(body: bytes) -> VirtualMachineInstance:
    """Decode one VirtualMachineInstance; Failed (`unreadable-answer`) when the bytes are none."""
    return decode(_VMI.decode, body, "VirtualMachineInstance")


def decode_vm_page(body: bytes) -> Page[VirtualMachine]:
    """Decode one page of VirtualMachines; Failed (`unreadable-answer`) when the bytes are no list."""
    try:
        whole = _VM_LIST.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _one_by_one(body, _VM.decode, "list of VirtualMachines")
    return _page(whole.items or [], whole.metadata, 0)


def decode_vmi_page(body: bytes) -> Page[VirtualMachineInstance]:
    """Decode one page of VirtualMachineInstances; Failed (`unreadable-answer`) when the bytes are no list."""
    try:
        whole = _VMI_LIST.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _one_by_one(body, _VMI.decode, "list of VirtualMachineInstances")
    return _page(whole.items or [], whole.metadata, 0)


def decode(decoder: Callable[[bytes], T], body: bytes, what: str) -> T:
    """Run a msgspec decoder; its errors become Failed (`unreadable-answer`), which names `what` and the odd field."""
    try:
        return decoder(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise Failed(
            f"the API server's answer is not a readable {what}",
            code="unreadable-answer",
            cause=clean(exc),
            next_step="see whether a proxy stands before the API server, or whether KubeVirt is newer than vmbroker knows",
        ) from exc


def _one_by_one(body: bytes, decoder: Callable[[msgspec.Raw], T], what: str) -> Page[T]:
    raw = decode(_RAW_LIST.decode, body, what)
    items: list[T] = []
    unreadable = 0
    for item in raw.items or ():
        try:
            items.append(decoder(item))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            unreadable += 1
    return _page(items, raw.metadata, unreadable)


def _page(items: list[T], meta: ListMeta, unreadable: int) -> Page[T]:
    return Page(
        items=items,
        continue_token=meta.continue_token or "",
        resource_version=meta.resource_version or "",
        unreadable=unreadable,
    )
