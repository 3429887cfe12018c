"""What must outlive a crash: events, telemetry, and a few values by name.

A document is *acknowledged* once it is committed (docs/wire.md). Events commit at once. Telemetry waits in
memory and is committed by :meth:`Spool.flush`, by the next event, or when :data:`BATCH` documents wait: SD
cards wear, and fifty records in one commit write a tenth of what they write alone. Only what is committed is
ever handed out, so the number of a document that a crash took with it may be given again, while a number that
anybody has seen never comes back. Within a stream ``seq`` grows by exactly one.

A delivered document only moves its stream's cursor; its row stays until the spool needs the room. The cursor
is committed with the next rows, so a crash may deliver some documents twice: (point, spool, stream, seq) is
unique, and the reader drops what it has seen.

Raises :class:`~diemcau_agent.database.DatabaseError`; after Full what was to be appended has no number, and
telemetry that waited still waits. The rest of the agent adds its tables to :data:`SCHEMA` and reaches them
by :attr:`Spool.database`, since one file may have one connection only.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from .database import Database, is_full, transaction
from .topics import STREAMS

FLUSH_REST_S = 600.0
FLUSH_CONFERENCE_S = 60.0
"""How old telemetry may grow in memory, at rest and while a conference is on (docs/wire.md)."""
BATCH = 50
WAITING_LIMIT = 500
"""Documents that memory holds while the card takes none; beyond, ``append`` raises."""
KEEP_ROWS = 20_000
"""Documents kept in all, some 36 MiB of telemetry at 1.8 kB each; the oldest delivered go first."""
MAX_BYTES = 64 * 1024 * 1024
_EVICT = 500
_CURSOR_LAG = 64
"""Deliveries after which the cursors are committed though nothing else is to be written."""

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
)
"""One script a version. ``command`` and ``restart`` belong to :mod:`diemcau_agent.commands.journal`."""


class Record(msgspec.Struct, frozen=True):
    """One committed document. ``payload`` is what goes on the wire."""

    stream: str
    seq: int
    payload: bytes


class _Waiting(msgspec.Struct, frozen=True):
    stream: str
    seq: int
    age: int
    payload: bytes


class _Stream(msgspec.Struct):
    last: int
    """The newest number given."""
    committed: int
    delivered: int


class Spool:
    """Opened by :meth:`open`, closed by :meth:`close`. Its state lives in the database's thread."""

    def __init__(self, database: Database, spool_uuid: str, keep_rows: int) -> None:
        self.database = database
        self.uuid = spool_uuid
        """Of this database; a new file is a new spool."""
        self._keep_rows = keep_rows
        self._streams: dict[str, _Stream] = {}
        self._waiting: list[_Waiting] = []
        self._rows = 0
        self._age = 0
        self._lag = 0

    @classmethod
    async def open(cls, path: Path, *, keep_rows: int = KEEP_ROWS, max_bytes: int = MAX_BYTES) -> Spool:
        database = await Database.open(path, SCHEMA, max_bytes=max_bytes, thread="spool")
        try:
            spool = cls(database, await database.run(_identify), keep_rows)
            await database.run(spool._load)
        except BaseException:
            await database.close()
            raise
        return spool

    async def append(self, stream: str, build: Callable[[int], bytes]) -> int:
        """Number a document and keep it; its ``seq``.

        ``build(seq)`` makes the payload, in the spool's thread; where it raises, no number is used. An event
        is committed when this returns; telemetry waits.
        """
        return await self.database.run(lambda db: self._append(db, stream, build))

    async def flush(self) -> None:
        """Commit the telemetry and the cursors that wait."""
        await self.database.run(self._flush)

    async def pending(self, limit: int, after: Mapping[str, int] | None = None) -> list[Record]:
        """At most ``limit`` committed documents that are not delivered, oldest first across the streams.

        ``after`` (stream -> seq) leaves out what the caller holds already and has no PUBACK for yet.
        """
        return await self.database.run(lambda db: self._pending(db, limit, after or {}))

    async def newest(self, stream: str, limit: int) -> list[bytes]:
        """The last ``limit`` committed documents of ``stream``, delivered or not, oldest of them first."""

        def read(db: sqlite3.Connection) -> list[bytes]:
            rows = db.execute(
                "SELECT payload FROM record WHERE stream = ? ORDER BY seq DESC LIMIT ?", (stream, limit)
            )
            return [payload for (payload,) in rows][::-1]

        return await self.database.run(read)

    async def acknowledge(self, stream: str, seq: int) -> None:
        """Everything of ``stream`` up to ``seq`` was delivered. Never moves back.

        Raises ValueError for a number that was never handed out.
        """
        await self.database.run(lambda db: self._acknowledge(db, stream, seq))

    async def next_session(self) -> int:
        """One more at each start of the agent, committed before it is told."""

        def grow(db: sqlite3.Connection) -> int:
            with transaction(db):
                session = int(_get(db, "session") or 0) + 1
                _put(db, "session", str(session))
            return session

        return await self.database.run(grow)

    async def get(self, key: str) -> str | None:
        return await self.database.run(lambda db: _get(db, f"value.{key}"))

    async def put(self, key: str, value: str) -> None:
        def write(db: sqlite3.Connection) -> None:
            with transaction(db):
                _put(db, f"value.{key}", value)

        await self.database.run(write)

    async def close(self) -> None:
        """Commit what waits, then close: the orderly stop."""
        try:
            await self.flush()
        finally:
            await self.database.close()

    # --- In the database's thread

    def _load(self, db: sqlite3.Connection) -> None:
        for name, last, delivered in db.execute("SELECT name, last, delivered FROM stream"):
            self._streams[name] = _Stream(last, last, delivered)
        self._rows, self._age = db.execute("SELECT count(*), coalesce(max(age), 0) FROM record").fetchone()

    def _append(self, db: sqlite3.Connection, name: str, build: Callable[[int], bytes]) -> int:
        if len(self._waiting) >= WAITING_LIMIT:
            self._flush(db)
        stream = self._streams[name]
        seq = stream.last + 1
        payload = build(seq)
        self._waiting.append(_Waiting(name, seq, self._age + 1, payload))
        self._age += 1
        stream.last = seq
        if name == "telemetry" and len(self._waiting) % BATCH:
            return seq
        try:
            self._flush(db)
        except sqlite3.Error:
            if name == "telemetry":
                return seq  # it waits on, with the others
            self._waiting.pop()
            stream.last = seq - 1
            raise
        return seq

    def _flush(self, db: sqlite3.Connection) -> None:
        if not self._waiting and not self._lag:
            return
        surplus = max(0, self._rows + len(self._waiting) - self._keep_rows)
        try:
            gone = self._write(db, surplus and surplus + _EVICT)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            with transaction(db):
                gone = self._evict(db, _EVICT)
            self._rows -= gone
            gone = self._write(db, 0)
        self._rows += len(self._waiting) - gone
        self._waiting.clear()
        self._lag = 0
        for stream in self._streams.values():
            stream.committed = stream.last

    def _write(self, db: sqlite3.Connection, surplus: int) -> int:
        """Commit all that waits, and drop ``surplus`` delivered documents at most; how many went."""
        with transaction(db):
            db.executemany(
                "INSERT INTO record VALUES (?, ?, ?, ?)",
                ((item.stream, item.seq, item.age, item.payload) for item in self._waiting),
            )
            db.executemany(
                "UPDATE stream SET last = ? WHERE name = ?",
                ((stream.last, name) for name, stream in self._streams.items()),
            )
            return self._evict(db, surplus)

    def _evict(self, db: sqlite3.Connection, count: int) -> int:
        """Write the cursors, and drop the oldest delivered documents, at most ``count``; how many."""
        db.executemany(
            "UPDATE stream SET delivered = ? WHERE name = ?",
            ((stream.delivered, name) for name, stream in self._streams.items()),
        )
        if not count:
            return 0
        return db.execute(
            """DELETE FROM record WHERE (stream, seq) IN (
                   SELECT stream, seq FROM record JOIN stream ON stream = name
                   WHERE seq <= delivered ORDER BY age LIMIT ?)""",
            (count,),
        ).rowcount

    def _pending(self, db: sqlite3.Connection, limit: int, after: Mapping[str, int]) -> list[Record]:
        found: list[tuple[int, Record]] = []
        for name, stream in self._streams.items():
            floor = max(stream.delivered, after.get(name, 0))
            found += (
                (age, Record(name, seq, payload))
                for seq, age, payload in db.execute(
                    "SELECT seq, age, payload FROM record WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?",
                    (name, floor, limit),
                )
            )
        found.sort(key=lambda item: item[0])
        return [record for _, record in found[:limit]]

    def _acknowledge(self, db: sqlite3.Connection, name: str, seq: int) -> None:
        stream = self._streams[name]
        if seq > stream.committed:
            raise ValueError(f"{name} {seq} was never handed out; the newest is {stream.committed}")
        if seq > stream.delivered:
            self._lag += seq - stream.delivered
            stream.delivered = seq
            if self._lag >= _CURSOR_LAG:
                self._flush(db)


def _identify(db: sqlite3.Connection) -> str:
    with transaction(db):
        for stream in STREAMS:
            db.execute("INSERT OR IGNORE INTO stream VALUES (?, 0, 0)", (stream,))
        known = _get(db, "uuid")
        if known is None:
            known = str(uuid.uuid4())
            _put(db, "uuid", known)
    return known


def _get(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT value FROM pair WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def _put(db: sqlite3.Connection, key: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO pair VALUES (?, ?)", (key, value))
