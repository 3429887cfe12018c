"""The tables of a spool's database, and what its rows are."""

from __future__ import annotations

import zlib
from typing import Literal

import msgspec

SCHEMA = (
    """
    CREATE TABLE pair (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE stream (
        name TEXT PRIMARY KEY, last INTEGER NOT NULL, delivered INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE record (
        stream TEXT NOT NULL, seq INTEGER NOT NULL, age INTEGER NOT NULL, payload BLOB NOT NULL,
        PRIMARY KEY (stream, seq)
    ) WITHOUT ROWID;
    CREATE TABLE command (
        age INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        claims BLOB NOT NULL, intent TEXT, answer BLOB
    );
    CREATE TABLE restart (target TEXT NOT NULL, wall_s REAL NOT NULL);
    """,
    """
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY, age INTEGER NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL
    );
    CREATE TABLE telemetry (
        seq INTEGER PRIMARY KEY, age INTEGER NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL
    );
    CREATE TABLE inherited (
        age INTEGER PRIMARY KEY, spool TEXT NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL,
        crc INTEGER NOT NULL, payload BLOB NOT NULL, UNIQUE (spool, stream, seq)
    );
    CREATE TABLE loss (
        number INTEGER PRIMARY KEY, spool TEXT NOT NULL, stream TEXT NOT NULL, first INTEGER NOT NULL,
        last INTEGER NOT NULL, count INTEGER NOT NULL, reason TEXT NOT NULL
    );
    INSERT INTO event
        SELECT seq, age, checksum(stream, seq, age, payload), payload FROM record WHERE stream = 'event';
    INSERT INTO telemetry
        SELECT seq, age, checksum(stream, seq, age, payload), payload FROM record WHERE stream = 'telemetry';
    DROP TABLE record;
    ALTER TABLE stream ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    UPDATE stream SET crc = checksum(name, last, delivered, '');
    ALTER TABLE pair ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    UPDATE pair SET crc = checksum(key, 0, 0, value);
    """,
)
"""One script a version. ``command`` and ``restart`` belong to :mod:`diemcau_agent.commands.journal`."""


class Record(msgspec.Struct, frozen=True):
    """One committed document. ``payload`` is what goes on the wire, ``spool`` the UUID it says."""

    spool: str
    stream: str
    seq: int
    payload: bytes


class Item(msgspec.Struct, frozen=True):
    """A document to be kept; ``age`` grows across the streams."""

    stream: str
    seq: int
    age: int
    payload: bytes


class Drop(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Documents that nobody will get: ``count`` numbers from ``from_`` to ``to``."""

    spool: str
    stream: str
    from_: int
    to: int
    count: int
    reason: Literal["full", "corrupt"]


class Replaced(msgspec.Struct, frozen=True):
    """Another spool than before. ``previous``: its UUID, where known; ``kept``: where its file is."""

    previous: str | None
    reason: str
    kept: str | None


class Stream(msgspec.Struct, frozen=True):
    """``last``: the newest number on the card; ``delivered``: the last that needs to go out no more."""

    last: int
    delivered: int


def checksum(name: str, seq: int, age: int, content: bytes | str) -> int:
    if isinstance(content, str):
        content = content.encode()
    return zlib.crc32(content, zlib.crc32(f"{name} {seq} {age}".encode()))


def sound(crc: object, name: str, seq: int, age: int, content: object) -> bool:
    """Whether a row is as it was written, be it of whatever type by now."""
    return isinstance(content, bytes | str) and crc == checksum(name, seq, age, content)


FUNCTIONS = {"checksum": checksum}
"""Those that :data:`SCHEMA` needs."""
