"""What a spool takes over from the one before it: a broken file's, or what memory held while the card failed.

Documents keep the name and number that they have, so whoever has seen them knows them again, and commands
keep their ids, so that none runs twice. From a broken file it is as much as can still be read, and sound.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from typing import Any

from .spool_tables import Record, checksum, sound
from .topics import STREAMS

log = logging.getLogger(__name__)

LIMIT_BYTES = 4 * 1024 * 1024
"""Of documents that are taken over; a new spool must be there in seconds."""

Statement = tuple[str, tuple[Any, ...]]
"""SQL and its values."""

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
        "INSERT INTO loss (spool, stream, first, last, count, reason) VALUES (?, ?, ?, ?, ?, ?)",
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
        return [Record(*row, b"") for row in rows]

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


def estate(old: sqlite3.Connection, spool: str | None, *, documents: bool) -> list[Statement]:
    """What ``old`` leaves, as statements for its heir: commands, values, losses, and undelivered documents
    where they are wanted. ``spool``: its UUID, where it cannot tell itself."""
    left: list[Statement] = []
    for read, write in _TABLES:
        left += [(write, row) for row in _rows(old, read)]
    if documents:
        for key, value, crc in _rows(old, "SELECT key, value, crc FROM pair WHERE key = 'uuid'"):
            spool = value if sound(crc, key, 0, 0, value) else spool
        left += _documents(old, spool or "unknown")
    return left


def _documents(old: sqlite3.Connection, spool: str) -> list[Statement]:
    write = "INSERT OR IGNORE INTO inherited (spool, stream, seq, crc, payload) VALUES (?, ?, ?, ?, ?)"
    left = [
        (write, row)
        for row in _rows(old, "SELECT spool, stream, seq, crc, payload FROM inherited ORDER BY age")
    ]
    room = LIMIT_BYTES
    found: list[tuple[int, Statement]] = []
    for name in STREAMS:
        delivered = 0
        for last, upto, crc in _rows(old, f"SELECT last, delivered, crc FROM stream WHERE name = '{name}'"):
            delivered = upto if crc == checksum(name, last, upto, b"") else 0
        for seq, age, crc, payload in _rows(
            old, f"SELECT seq, age, crc, payload FROM {name} WHERE seq > {delivered} ORDER BY seq"
        ):
            if not sound(crc, name, seq, age, payload):
                continue
            room -= len(payload)
            if room < 0:
                break
            row = (spool, name, seq, checksum(f"{spool} {name}", seq, 0, payload), payload)
            found.append((age, (write, row)))
    found.sort(key=lambda each: each[0])
    return left + [statement for _, statement in found]


def _rows(old: sqlite3.Connection, read: str) -> Iterator[tuple[Any, ...]]:
    """As far as they can be read."""
    try:
        yield from old.execute(read)
    except sqlite3.Error as error:
        log.warning("spool: not all of the one before can be read: %s: %s", error, read)
