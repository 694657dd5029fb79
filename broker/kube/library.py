"""kubernetes_asyncio's transport without the thousand model classes that its packages import on the way.

We decode objects ourselves; its `__init__` files cost 0.2 s and 50 MiB that no command of ours uses (measured, 36.1).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

_PACKAGE: Final = "kubernetes_asyncio"
_SKIPPED: Final = (_PACKAGE, f"{_PACKAGE}.client", f"{_PACKAGE}.client.models")
_PARTS: Final = ("configuration", "rest", "api_client")


def load_transport() -> tuple[Any, Any, Any]:
    """Return the classes (Configuration, RESTClientObject, ApiClient); ImportError where the package is not installed.

    Where somebody imported the package before, or its layout changed, it is the ordinary import.
    """
    with _no_collection():
        try:
            parts = _load_parts()
        except (ImportError, AttributeError):
            parts = [import_module(f"{_PACKAGE}.client.{part}") for part in _PARTS]
    configuration, rest, api_client = parts
    return configuration.Configuration, rest.RESTClientObject, api_client.ApiClient


def _load_parts() -> list[ModuleType]:
    if _PACKAGE in sys.modules:
        return [import_module(f"{_PACKAGE}.client.{part}") for part in _PARTS]
    with _placeholders():
        return [import_module(f"{_PACKAGE}.client.{part}") for part in _PARTS]


@contextmanager
def _placeholders() -> Iterator[None]:
    """Let empty packages stand for the skipped ones while their parts load, and leave nothing behind in `sys.modules`."""
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"{_PACKAGE} is not a package")
    root = str(next(iter(found.submodule_search_locations)))
    folders = (root, f"{root}/client", f"{root}/client/models")
    before = set(sys.modules)
    parent: ModuleType | None = None
    for name, folder in zip(_SKIPPED, folders, strict=True):
        module = ModuleType(name)
        module.__path__ = [folder]
        sys.modules[name] = module
        if parent is not None:
            setattr(parent, name.rpartition(".")[2], module)
        parent = module
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            if name == _PACKAGE or name.startswith(f"{_PACKAGE}."):
                del sys.modules[name]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Import without the garbage collector: nothing that an import makes is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
