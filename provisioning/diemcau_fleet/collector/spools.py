"""The spools that each point has had, and which came after which. Pure.

They are ordered by when they were first seen, but for what a point says itself: the event ``spool_replaced``
names the one before, and may come earlier than the last documents of that one.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

LIMIT = 1000
"""Of a point. A card that breaks at each start makes one a day; beyond, somebody makes them up."""


class Spool(msgspec.Struct):
    """``order``: its place among the spools of all points, oldest first. ``replaces``: the one before, by the
    point's own word."""

    id: int
    order: int
    replaces: str | None = None


class Spools:
    def __init__(self) -> None:
        self._of: dict[str, dict[str, Spool]] = {}
        self._known = 0

    def of(self, point: str) -> Mapping[str, Spool]:
        """By their UUIDs."""
        return self._of.get(point, {})

    def newest(self, point: str) -> str | None:
        """Its UUID."""
        spools = self.of(point)
        return max(spools, key=lambda uuid: spools[uuid].order, default=None)

    def load(self, point: str, uuid: str, spool: Spool) -> None:
        """As the store knows it."""
        self._of.setdefault(point, {})[uuid] = spool
        self._known += 1

    def add(self, point: str, uuid: str) -> set[str]:
        """One that is seen for the first time; whose places change."""
        number = self._known + 1
        self.load(point, uuid, Spool(number, number))
        return {uuid, *self._settle(point, uuid)}

    def replaces(self, point: str, uuid: str, before: str) -> set[str]:
        """``uuid`` came after ``before``, by its first word; whose entries change."""
        spool = self._of[point][uuid]
        if spool.replaces is not None:
            return set()
        spool.replaces = before
        return {uuid, *self._settle(point, uuid)}

    def _settle(self, point: str, uuid: str) -> list[str]:
        """Order the chain that ``uuid`` stands in; whose places change."""
        spools = self._of[point]
        chain = [uuid]
        while (before := spools[chain[0]].replaces) in spools and before not in chain:
            chain.insert(0, before)
        after = {spool.replaces: follower for follower, spool in spools.items() if spool.replaces}
        while (follower := after.get(chain[-1])) is not None and follower not in chain:
            chain.append(follower)
        places = sorted(spools[each].order for each in chain)
        changed = [each for each, place in zip(chain, places, strict=True) if spools[each].order != place]
        for each, place in zip(chain, places, strict=True):
            spools[each].order = place
        return changed
