"""What the collector has stored, to be read beside it (write-ahead log): documents, gaps, losses, rooms.

The tables are described in :mod:`diemcau_fleet.collector.schema`.

Raises :mod:`diemcau_agent.database`'s Full, Locked, Corrupt and CardFailed, which name the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec

from diemcau_agent.database import Corrupt
from diemcau_agent.model import Readiness
from diemcau_fleet.database import told

from .batch import Loss, Row
from .gaps import Key, Range, Tracker
from .presence import Held, Presence, Slot, presence, shown
from .schema import SCHEMA

LOCK_WAIT_S = 5.0
HELD_COLUMNS = Held.__struct_fields__


class Gap(msgspec.Struct, frozen=True):
    """Numbers that are missing, and may yet come."""

    key: Key
    range: Range


class Room(msgspec.Struct, frozen=True):
    """What is known of a point now. ``readiness``: to show, ``unknown`` where it is not known to hold.
    ``held``: the newest documents themselves, as they came."""

    point: str
    presence: Presence
    readiness: Readiness
    held: dict[Slot, bytes]


class Records:
    """Opened by :meth:`open`, closed by :meth:`close` or ``with``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises Locked, Corrupt, CardFailed."""
        with told(path):
            records = cls(path, sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", LOCK_WAIT_S, uri=True))
            try:
                version = int(records._db.execute("PRAGMA user_version").fetchone()[0])
                if version != len(SCHEMA):
                    raise Corrupt(f"got schema {version}, expected {len(SCHEMA)}")
            except BaseException:
                records.close()
                raise
        return records

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def documents(
        self, point: str, stream: str | None = None, *, since_ms: int = 0, limit: int | None = None
    ) -> Iterator[Row]:
        """The documents of ``point`` in the order in which they were made, whenever they came.

        ``since_ms``: milliseconds since the epoch, of the corrected time; where it is not known, of arrival.
        """
        left = -1 if limit is None else limit
        spools = "SELECT id, uuid FROM spool WHERE point = ? ORDER BY place"
        with told(self.path):
            for number, uuid in self._db.execute(spools, (point,)).fetchall():
                rows = self._db.execute(
                    """SELECT stream, seq, session, boot, mono_ms, clock, time_ms, time_corrected_ms,
                              arrived_ms, kind, payload
                       FROM document WHERE spool = ? AND (? IS NULL OR stream = ?)
                         AND coalesce(time_corrected_ms, arrived_ms) >= ?
                       ORDER BY session, mono_ms, seq LIMIT ?""",
                    (number, stream, stream, since_ms, left),
                )
                for name, *rest in rows:
                    left -= 1
                    yield Row(Key(point, uuid, name), *rest)
                if left == 0:
                    return

    def gaps(self, point: str | None = None) -> list[Gap]:
        """What is missing, of one point or of all."""
        return [Gap(key, gap) for key, tracker in self._trackers(point).items() for gap in tracker.gaps()]

    def losses(self, point: str | None = None) -> list[Loss]:
        """What will not come, and why; what came all the same is left out."""
        told: list[Loss] = []
        trackers = self._trackers(point)
        for *key, first, last, reason in self._all("lost", "stream, first, last, reason", point):
            have = trackers[Key(*key)].have
            told += (Loss(Key(*key), gap, reason) for gap in have.missing(first, last))
        return told

    def rooms(self, now_ms: int) -> list[Room]:
        """Every point whose retained documents are known, by its id."""
        found: dict[str, dict[Slot, tuple[Held, bytes]]] = {}
        for point, slot, held, payload in self._held():
            found.setdefault(point, {})[slot] = (held, payload)
        rooms: list[Room] = []
        for point, documents in sorted(found.items()):
            held = {slot: documents[slot][0] for slot in documents}
            there = presence(held.get("birth"), held.get("status"), held.get("lost"), now_ms)
            readiness = shown(held.get("health"), there, now_ms)
            rooms.append(Room(point, there, readiness, {slot: documents[slot][1] for slot in documents}))
        return rooms

    def count(self, table: str) -> int:
        """How many rows a table of :mod:`diemcau_fleet.collector.schema` has."""
        with told(self.path):
            return self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    def _trackers(self, point: str | None) -> dict[Key, Tracker]:
        trackers = {Key(*key): Tracker(floor) for *key, floor in self._all("stream", "stream, floor", point)}
        for *key, first, last in self._all("have", "stream, first, last", point):
            trackers[Key(*key)].have.add(first, last)
        for *key, first, last in self._all("lost", "stream, first, last", point):
            trackers[Key(*key)].lost.add(first, last)
        return trackers

    def _all(self, table: str, columns: str, point: str | None) -> list[tuple[Any, ...]]:
        with told(self.path):
            return self._db.execute(
                f"SELECT point, uuid, {columns} FROM {table} JOIN spool ON spool = id"
                " WHERE ? IS NULL OR point = ?",
                (point, point),
            ).fetchall()

    def _held(self) -> Iterator[tuple[str, Slot, Held, bytes]]:
        with told(self.path):
            rows = self._db.execute(f"SELECT point, slot, payload, {', '.join(HELD_COLUMNS)} FROM held")
            for point, slot, payload, *fields in rows:
                held = Held(*fields)
                yield point, slot, msgspec.structs.replace(held, live=bool(held.live)), payload
