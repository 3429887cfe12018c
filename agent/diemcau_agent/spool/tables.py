"""The tables of a spool's database, and what its rows are.

Whoever looks into a spool's file from outside (``sqlite3 "file:spool.sqlite3?mode=ro"``, on a copy while an
agent runs) finds ``event`` and ``telemetry``, a table a stream: ``seq``; ``age``, which grows across both
streams in the order of keeping; ``payload``, the JSON as it goes on the wire, UTF-8; ``crc``,
:func:`checksum` of all of these, so a row whose ``crc`` differs is damaged. ``stream`` holds of each
the newest number ever given (``last``) and the last that was delivered, ``pair`` the ``uuid`` and other
values by name, ``inherited`` undelivered documents of spools before this one, under their own name and
number, ``loss`` and ``replaced`` what no event has told yet.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
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
    CREATE TABLE replaced (
        number INTEGER PRIMARY KEY, previous TEXT, reason TEXT NOT NULL, kept TEXT, salvaged INTEGER NOT NULL
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


Build = Callable[[str, int], bytes]
Reason = Literal["spool_full", "corrupt", "io_error"]
"""``io_error``: the card took nothing until memory was full."""


class Record(msgspec.Struct, frozen=True):
    """One committed document. ``payload`` is what goes on the wire, ``spool`` the UUID it says."""

    spool: str
    stream: str
    seq: int
    payload: bytes


class Document(msgspec.Struct, frozen=True):
    """A document to be kept. ``build(spool, seq)`` makes its payload once it has a number."""

    stream: str
    build: Build


class Drop(msgspec.Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """Documents that nobody will get: ``count`` numbers from ``first`` to ``last``. Where they were lost
    before they had a number, there is none."""

    spool: str
    stream: str
    first: int | None
    last: int | None
    count: int
    reason: Reason


class Replaced(msgspec.Struct, frozen=True):
    """Another spool than before. ``previous``: its UUID, where known; ``kept``: the name of its file;
    ``salvaged``: how many undelivered documents of it are still coming."""

    previous: str | None
    reason: str
    kept: str | None
    salvaged: int = 0


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
