"""The documents that memory holds until the card has taken them. Pure."""

from __future__ import annotations

from collections import Counter

import msgspec

from .tables import Document

LIMIT = 1000
"""Documents that memory holds while the card takes none."""


class Item(msgspec.Struct, frozen=True):
    """``place``: in the order of appending."""

    place: int
    document: Document


class Waiting:
    """In the order of appending, :data:`LIMIT` at most; then telemetry goes first, the oldest of it, and
    events only after."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._appended = 0
        self.lost: Counter[str] = Counter()
        """What had to go, by stream."""

    def __len__(self) -> int:
        return len(self._items)

    @property
    def urgent(self) -> bool:
        """Whether an event waits: it should not."""
        return any(item.document.stream == "event" for item in self._items)

    def append(self, document: Document) -> None:
        self._appended += 1
        self._items.append(Item(self._appended, document))
        self._trim()

    def take(self, size: int) -> list[list[Item]]:
        """All of it, in batches of ``size``; one that is empty where nothing waits."""
        items, self._items = self._items, []
        return [items[at : at + size] for at in range(0, max(1, len(items)), size)]

    def put_back(self, items: list[Item]) -> None:
        """Each in its place."""
        self._items = sorted([*items, *self._items], key=lambda item: item.place)
        self._trim()

    def _trim(self) -> None:
        excess = len(self._items) - LIMIT
        if excess <= 0:
            return
        by_worth = sorted(self._items, key=lambda item: item.document.stream != "telemetry")
        gone = by_worth[:excess]
        self.lost.update(item.document.stream for item in gone)
        places = {item.place for item in gone}
        self._items = [item for item in self._items if item.place not in places]
