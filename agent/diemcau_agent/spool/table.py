"""The rows of one stream, as SQL. Every change is one in the caller's transaction."""

from __future__ import annotations

import sqlite3

import msgspec

from .tables import checksum, sound


class Row(msgspec.Struct, frozen=True):
    """``payload``: None where the row is not as it was written."""

    seq: int
    age: int
    payload: bytes | None


class Table:
    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        self._db = db
        self._name = name

    def newest_number(self) -> tuple[int, int]:
        """(seq, age) of the newest row; zeros where there is none."""
        query = f"SELECT seq, CAST(age AS INTEGER) FROM {self._name} ORDER BY seq DESC LIMIT 1"
        row: tuple[int, int] | None = self._db.execute(query).fetchone()
        return row or (0, 0)

    def insert(self, seq: int, age: int, payload: bytes) -> None:
        row = (seq, age, checksum(self._name, seq, age, payload), payload)
        self._db.execute(f"INSERT INTO {self._name} (seq, age, crc, payload) VALUES (?, ?, ?, ?)", row)

    def between(self, first: int, last: int, limit: int) -> list[Row]:
        return self._rows("WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?", first, last, limit)

    def newest(self, limit: int) -> list[Row]:
        """Oldest of them first."""
        return self._rows("ORDER BY seq DESC LIMIT ?", limit)[::-1]

    def oldest(self, upto: int, count: int) -> int | None:
        """The last number of the oldest ``count`` rows that are not beyond ``upto``."""
        query = f"SELECT max(seq) FROM (SELECT seq FROM {self._name} WHERE seq <= ? ORDER BY seq LIMIT ?)"
        found: int | None = self._db.execute(query, (upto, count)).fetchone()[0]
        return found

    def delete(self, upto: int) -> None:
        self._db.execute(f"DELETE FROM {self._name} WHERE seq <= ?", (upto,))

    def _rows(self, which: str, *parameters: int) -> list[Row]:
        return [
            Row(seq, age, payload if sound(crc, self._name, seq, age, payload) else None)
            for seq, age, crc, payload in self._db.execute(
                f"SELECT seq, age, crc, payload FROM {self._name} {which}", parameters
            )
        ]
