"""A pretend server of one kind for the pure watch state: objects, versions, a memory that can be forgotten, pages, labels."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.model.events import WatchEvent
from broker.model.meta import Meta, Struct
from broker.model.pages import Page


class Thing(Struct, frozen=True):
    """An object with nothing but metadata."""

    metadata: Meta = Meta()


def thing(name: str, version: int, uid: str, *, is_selected: bool = True) -> Thing:
    labels = {"app": "web"} if is_selected else {}
    return Thing(metadata=Meta(name=name, namespace="shop", uid=uid, resource_version=str(version), labels=labels))


@dataclass(slots=True)
class Server:
    """What is there, and every event since `oldest`; a watcher sees objects with the label app=web only."""

    version: int = 100
    oldest: int = 100
    things: dict[str, Thing] = field(default_factory=dict)
    log: list[tuple[int, WatchEvent[Thing]]] = field(default_factory=list)
    uids: int = 0

    def put(self, name: str, *, is_selected: bool) -> None:
        """Create or change one object; it enters or leaves the selection with it."""
        self.version += 1
        old = self.things.get(name)
        if old is None:
            self.uids += 1
        new = thing(name, self.version, old.metadata.uid if old else f"u{self.uids}", is_selected=is_selected)
        self.things[name] = new
        was_in = old is not None and bool(old.metadata.labels)
        if is_selected:
            self._record(WatchEvent(type="MODIFIED" if was_in else "ADDED", meta=new.metadata, obj=new))
        elif was_in and old is not None:
            self._gone(old)

    def delete(self, name: str) -> None:
        """Remove one object, if it is there."""
        old = self.things.pop(name, None)
        if old is None:
            return
        self.version += 1
        if old.metadata.labels:
            self._gone(old)

    def page(self, token: str, size: int) -> Page[Thing]:
        """One page; the token carries the version it began at, so that a forgotten one expires (ValueError)."""
        began, _, after = token.partition("/") if token else (str(self.version), "", "")
        if int(began) < self.oldest or (token and int(began) < self.version):
            raise ValueError("expired")
        names = sorted(name for name, each in self.things.items() if each.metadata.labels and name > after)
        more = len(names) > size
        items = [self.things[name] for name in names[:size]]
        return Page(
            items=items, continue_token=f"{began}/{names[size - 1]}" if more else "", resource_version=began, is_first=not token
        )

    def since(self, version: str) -> list[WatchEvent[Thing]]:
        """Events after a version; ValueError where they are forgotten."""
        if int(version) < self.oldest:
            raise ValueError("expired")
        return [event for at, event in self.log if at > int(version)]

    def compact(self) -> None:
        """Forget every past version."""
        self.oldest = self.version
        self.log.clear()

    @property
    def selected(self) -> dict[tuple[str, str], str | None]:
        """What a watcher should know: key → version."""
        return {("shop", n): t.metadata.resource_version for n, t in self.things.items() if t.metadata.labels}

    def _gone(self, old: Thing) -> None:
        # The old state with the new version (kubevirt.md M2).
        last = thing(old.metadata.name, self.version, old.metadata.uid)
        self._record(WatchEvent(type="DELETED", meta=last.metadata, obj=last))

    def _record(self, event: WatchEvent[Thing]) -> None:
        self.log.append((self.version, event))
