"""What a spool takes over from the broken one before it.

Documents keep the name and number that they have, so whoever has seen them knows them again, and commands
keep their ids, so that none runs twice. From a broken file it is as much as can still be read, and sound.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from diemcau_agent.topics import STREAMS

from .tables import Record, checksum, sound

log = logging.getLogger(__name__)

SHARE = 8
"""One part in so many of a spool's size is taken over at most, the newest: it must be there in seconds."""

Statement = tuple[str, tuple[Any, ...]]
"""SQL and its values."""

_LOSS = "INSERT INTO loss (spool, stream, first, last, count, reason) VALUES (?, ?, ?, ?, ?, ?)"
_TABLES = (
    (
        "SELECT id, claims, intent, answer FROM command ORDER BY age",
        "INSERT OR REPLACE INTO command (id, claims, intent, answer) VALUES (?, ?, ?, ?)",
    ),
    (
        "SELECT target, wall_s FROM restart",
        """INSERT INTO restart SELECT ?1, ?2
           WHERE NOT EXISTS (SELECT 1 FROM restart WHERE target = ?1 AND wall_s = ?2)""",
    ),
    (
        "SELECT key, value, crc FROM pair WHERE key LIKE 'value.%'",
        "INSERT OR REPLACE INTO pair (key, value, crc) VALUES (?, ?, ?)",
    ),
    (
        "SELECT spool, stream, first, last, count, reason FROM loss ORDER BY number",
        _LOSS,
    ),
    (
        "SELECT previous, reason, kept, salvaged FROM replaced ORDER BY number",
        "INSERT INTO replaced (previous, reason, kept, salvaged) VALUES (?, ?, ?, ?)",
    ),
)
"""How what is no document is read there and written here."""


class Inherited:
    """The documents of another spool in this one's database, oldest first."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._passed: dict[tuple[str, str], int] = {}

    def pending(self, limit: int) -> tuple[list[Record], list[Record]]:
        """(sound ones, at most ``limit``; those before them that are damaged)."""
        good: list[Record] = []
        bad: list[Record] = []
        for spool, name, seq, crc, payload in self._db.execute(
            "SELECT spool, stream, seq, crc, payload FROM inherited ORDER BY age"
        ):
            if self.passed(spool, name, seq):
                continue
            record = Record(spool, name, seq, payload)
            (good if sound(crc, f"{spool} {name}", seq, 0, payload) else bad).append(record)
            if len(good) == limit:
                break
        return good, bad

    def passed(self, spool: str, name: str, seq: int) -> bool:
        return seq <= self._passed.get((spool, name), 0)

    def acknowledge(self, record: Record) -> None:
        """In memory, until :meth:`save`."""
        self._passed[record.spool, record.stream] = record.seq

    def oldest(self, name: str, limit: int) -> list[Record]:
        """Of one stream, without their payloads."""
        rows = self._db.execute(
            "SELECT spool, stream, seq FROM inherited WHERE stream = ? ORDER BY age LIMIT ?", (name, limit)
        )
        return [Record(spool, stream, seq, b"") for spool, stream, seq in rows]

    def delete(self, record: Record) -> None:
        self._db.execute(
            "DELETE FROM inherited WHERE spool = ? AND stream = ? AND seq = ?",
            (record.spool, record.stream, record.seq),
        )

    def save(self) -> None:
        """What was acknowledged goes, in the caller's transaction."""
        for (spool, name), seq in self._passed.items():
            self._db.execute(
                "DELETE FROM inherited WHERE spool = ? AND stream = ? AND seq <= ?", (spool, name, seq)
            )

    def saved(self) -> None:
        self._passed.clear()


class Estate:
    """What ``old`` leaves: commands, values, losses, and documents of ``room`` bytes. ``spool``: its UUID,
    where it cannot tell itself; ``marked``: how far each stream had got at least. What of the documents
    cannot be taken over is among the losses. Never raises for damage."""

    def __init__(
        self, old: sqlite3.Connection, spool: str | None, marked: Mapping[str, int], room: int
    ) -> None:
        self._old = old
        self._marked = marked
        self._room = room
        self._values = [(write, row) for read, write in _TABLES for row in self._rows(read)]
        self.documents: list[Record] = []
        named = {
            key: value
            for key, value, crc in self._rows("SELECT key, value, crc FROM pair")
            if sound(crc, key, 0, 0, value)
        }
        self.spool = named.get("uuid", spool)
        self.session = int(named.get("session", 0))
        kept = [each for name in STREAMS for each in self._stream(name)]
        kept.sort(key=lambda each: each[0])
        self._inherited()
        self.documents += [record for _, record in kept]

    def statements(self, *, documents: bool) -> list[Statement]:
        """For its heir; where the documents find no room there, they are lost."""
        if documents:
            return self._values + [_kept(record) for record in self.documents]
        return self._values + [_lost(each.spool, each.stream, each.seq, each.seq) for each in self.documents]

    def _stream(self, name: str) -> list[tuple[int, Record]]:
        """(age, document): the newest that there is room for."""
        last = delivered = None
        for row in self._rows(f"SELECT last, delivered, crc FROM stream WHERE name = '{name}'"):
            if sound(row[2], name, row[0], row[1], b""):
                last, delivered, _ = row
        last = max(last or 0, self._marked.get(name, 0)) or None
        found: dict[int, tuple[int, Record]] = {}
        for order in ("DESC", "ASC"):  # what lies behind a damaged page can be read from the other side
            for seq, age, crc, payload in self._rows(
                f"SELECT seq, age, crc, payload FROM {name} WHERE seq > {delivered or 0} ORDER BY seq {order}"
            ):
                if seq in found or self._room <= 0:
                    break
                if sound(crc, name, seq, age, payload):
                    self._room -= len(payload)
                    found[seq] = (age, Record(self.spool or "unknown", name, seq, payload))
        numbers = sorted(found)
        if delivered is not None:
            numbers.insert(0, delivered)
        if last is not None:
            numbers.append(last + 1)
        for before, after in pairwise(numbers):
            if after - before > 1:
                self._values.append(_lost(self.spool or "unknown", name, before + 1, after - 1))
        return list(found.values())

    def _inherited(self) -> None:
        for spool, name, seq, crc, payload in self._rows(
            "SELECT spool, stream, seq, crc, payload FROM inherited ORDER BY age"
        ):
            if sound(crc, f"{spool} {name}", seq, 0, payload) and self._room > 0:
                self._room -= len(payload)
                self.documents.append(Record(spool, name, seq, payload))
            else:
                self._values.append(_lost(spool, name, seq, seq))

    def _rows(self, read: str) -> Iterator[tuple[Any, ...]]:
        """As far as they can be read."""
        try:
            yield from self._old.execute(read)
        except sqlite3.Error as error:
            log.warning("spool: not all of the one before can be read: %s: %s", error, read)


def _kept(record: Record) -> Statement:
    crc = checksum(f"{record.spool} {record.stream}", record.seq, 0, record.payload)
    write = "INSERT OR IGNORE INTO inherited (spool, stream, seq, crc, payload) VALUES (?, ?, ?, ?, ?)"
    return write, (record.spool, record.stream, record.seq, crc, record.payload)


def _lost(spool: str, name: str, first: int, last: int) -> Statement:
    return _LOSS, (spool, name, first, last, last - first + 1, "corrupt")
