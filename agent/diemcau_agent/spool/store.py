"""What one spool database holds, and what goes first when there is no room.

A number is never skipped without a record of it: what is undelivered goes from the front only, in one
transaction with its row in ``loss`` and the cursor, so a gap is always explained by a ``dropped`` event with
its range. What SQLite cannot notice (a flipped byte in a payload, a write that the card lost) shows in a
row's checksum or a hole when it comes to the front; it is a loss too.

The order of going, oldest first in each: delivered telemetry, delivered events, telemetry, events. Commands
and what else a room must remember are never dropped for documents, which take three quarters of the pages.

Every method runs in the disk's thread and raises sqlite3.Error; what failed has left no trace.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from diemcau_agent.database import Corrupt, transaction
from diemcau_agent.topics import STREAMS

from .inherited import Inherited, Statement
from .losses import Losses
from .table import Table
from .tables import Build, Document, Drop, Reason, Record, Replaced, Stream, checksum, sound

log = logging.getLogger(__name__)

CHUNK = 64
"""Documents, or commands, that go at once."""
_CHUNKS = 64
_DOCUMENTS_SHARE = 0.75
"""Of the pages; the rest is for commands."""


class Unbuildable(Exception):
    """``document``'s build raised what is this exception's cause."""

    def __init__(self, document: Document) -> None:
        super().__init__(document.stream)
        self.document = document


class Store:
    """Raises Corrupt where what all the rest hangs on, the UUID or a stream's numbers, is damaged."""

    def __init__(self, db: sqlite3.Connection, max_pages: int) -> None:
        self.db = db
        self._pages = int(max_pages * _DOCUMENTS_SHARE)
        self.streams: dict[str, Stream] = {}
        self.unsaved = 0
        """Deliveries that the card does not know of yet."""
        self._inherited = Inherited(db)
        self.losses = Losses(db)
        if not db.execute("SELECT (SELECT count(*) FROM stream) + (SELECT count(*) FROM pair)").fetchone()[0]:
            with transaction(db):
                new = [(name, 0, 0, checksum(name, 0, 0, b"")) for name in STREAMS]
                db.executemany("INSERT INTO stream VALUES (?, ?, ?, ?)", new)
                self._put("uuid", str(uuid.uuid4()))
        known = self.get("uuid")
        if known is None:
            raise Corrupt("its UUID is damaged")
        self.uuid = known
        self.age = 0
        """Of the newest document."""
        self._tables = {name: Table(db, name) for name in STREAMS}
        for name, table in self._tables.items():
            seq, age = table.newest_number()
            self.streams[name] = self._stream(name, seq)
            self.age = max(self.age, age)

    # --- Values by name

    def get(self, key: str) -> str | None:
        """None where there is none, or a damaged one."""
        row = self.db.execute("SELECT value, crc FROM pair WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        value, crc = row
        if not sound(crc, key, 0, 0, value):
            log.error("spool: the value of %s is damaged", key)
            return None
        return value

    def put(self, key: str, value: str) -> None:
        with transaction(self.db):
            self._put(key, value)

    # --- Documents

    def commit(self, documents: Sequence[Document] = ()) -> list[int]:
        """Keep ``documents`` and the cursors, and make room; their numbers. All of it is on the card when
        this returns. Where a ``build`` raises, nothing is kept and no number is used."""
        with self._change() as streams:
            numbers = [self._insert(document, streams) for document in documents]
            for waiting in (False, True):
                for _ in range(_CHUNKS):
                    if not self._crowded() or not self._drop(streams, waiting=waiting):
                        break
        return numbers

    def make_room(self) -> bool:
        """Drop something, what matters least first; whether there was anything."""
        for waiting in (False, True):
            with self._change() as streams:
                if self._drop(streams, waiting=waiting):
                    return True
        with transaction(self.db):
            gone = self.db.execute(
                """DELETE FROM command WHERE age IN (
                       SELECT age FROM command WHERE answer IS NOT NULL ORDER BY age LIMIT ?)""",
                (CHUNK,),
            ).rowcount
        if gone:
            log.error("spool: the oldest %d commands are forgotten, there is no room", gone)
        return gone > 0

    def lose(self, name: str, upto: int, reason: Reason) -> None:
        """Go on behind ``upto`` in a stream: what is undelivered before it is lost, and told."""
        with self._change() as streams:
            self._lose(streams, name, upto, reason)

    def pending(self, limit: int) -> list[Record]:
        """At most ``limit`` undelivered documents, the inherited ones first, then oldest first across the
        streams. What is damaged is passed over, and told."""
        inherited, damaged = self._inherited.pending(limit)
        if damaged:
            with self._change():
                for record in damaged:
                    self._inherited.delete(record)
                    self.losses.note(record.spool, record.stream, record.seq, record.seq, "corrupt")
        if inherited:
            return inherited
        found = [each for name in STREAMS for each in self._front(name, limit)]
        found.sort(key=lambda each: each[0])
        return [record for _, record in found[:limit]]

    def range(self, name: str, first: int, last: int, limit: int) -> list[Record]:
        """Of the numbers from ``first`` to ``last`` what is still there and sound, at most ``limit``."""
        rows = self._tables[name].between(first, last, limit)
        return [Record(self.uuid, name, row.seq, row.payload) for row in rows if row.payload is not None]

    def newest(self, name: str, limit: int) -> list[bytes]:
        """The last ``limit`` documents of a stream, delivered or not, oldest of them first; not those that
        are damaged."""
        return [row.payload for row in self._tables[name].newest(limit) if row.payload is not None]

    def acknowledge(self, record: Record) -> None:
        """In memory; :meth:`commit` saves it. Raises ValueError for a number that was never handed out."""
        if record.spool != self.uuid:
            self._inherited.acknowledge(record)
            self.unsaved += 1
            return
        stream = self.streams[record.stream]
        if record.seq > stream.last:
            raise ValueError(
                f"{record.stream} {record.seq} was never handed out; the newest is {stream.last}"
            )
        if record.seq > stream.delivered:
            self.unsaved += record.seq - stream.delivered
            self.streams[record.stream] = Stream(stream.last, record.seq)

    # --- What has to be told

    def tell(self, describe: Callable[[Drop | Replaced], Build]) -> int:
        """Keep an event for each thing that has to be told, and forget it; how many. ``describe`` gives
        what builds the event."""
        self.losses.any = False
        facts = self.losses.untold()
        try:
            for table, number, fact in facts:
                with self._change() as streams:
                    self._insert(Document("event", describe(fact)), streams)
                    self.losses.forget(table, number)
        except BaseException:
            self.losses.any = True
            raise
        return len(facts)

    def settle(
        self, replaced: Replaced | None, values: Mapping[str, str], estate: Sequence[Statement]
    ) -> None:
        """Take over what the one before leaves, all or nothing."""
        with transaction(self.db):
            for write, row in estate:
                try:
                    self.db.execute(write, row)
                except sqlite3.IntegrityError as error:
                    log.warning("spool: a damaged row is not taken over: %s: %s", error, write)
            if replaced is not None:
                self.losses.replaced(replaced)
            for key, value in values.items():
                self._put(key, value)
        self.losses.any = True

    # --- Inside a transaction

    @contextmanager
    def _change(self) -> Generator[dict[str, Stream]]:
        """The streams as they will be, in a transaction that saves them."""
        streams = dict(self.streams)
        try:
            with transaction(self.db):
                yield streams
                self._save(streams)
        except sqlite3.IntegrityError as error:  # our statements are right: what they meet is not
            raise Corrupt(str(error)) from error
        self.streams = streams
        self.unsaved = 0
        self._inherited.saved()

    def _save(self, streams: Mapping[str, Stream]) -> None:
        for name, stream in streams.items():
            crc = checksum(name, stream.last, stream.delivered, b"")
            row = (stream.last, stream.delivered, crc, name)
            self.db.execute("UPDATE stream SET last = ?, delivered = ?, crc = ? WHERE name = ?", row)
        self._inherited.save()

    def _put(self, key: str, value: str) -> None:
        row = (key, value, checksum(key, 0, 0, value))
        self.db.execute("INSERT OR REPLACE INTO pair (key, value, crc) VALUES (?, ?, ?)", row)

    def _stream(self, name: str, newest: int) -> Stream:
        row = self.db.execute("SELECT last, delivered, crc FROM stream WHERE name = ?", (name,)).fetchone()
        if row is None or row[2] != checksum(name, row[0], row[1], b""):
            raise Corrupt(f"the numbers of {name} are damaged")
        last, delivered, _ = row
        return Stream(max(last, newest), delivered)

    def _insert(self, document: Document, streams: dict[str, Stream]) -> int:
        name = document.stream
        seq = streams[name].last + 1
        try:
            payload = document.build(self.uuid, seq)
        except Exception as error:
            raise Unbuildable(document) from error
        self.age += 1
        self._tables[name].insert(seq, self.age, payload)
        streams[name] = Stream(seq, streams[name].delivered)
        return seq

    def _crowded(self) -> bool:
        """Whether documents stand where commands may need the room."""
        pages, free = (
            self.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
        )
        return pages - free > self._pages

    def _drop(self, streams: dict[str, Stream], *, waiting: bool) -> bool:
        """Of the first stream that has any, delivered documents or those that are still ``waiting``."""
        return any(self._drop_of(name, streams, waiting) for name in STREAMS[::-1])

    def _drop_of(self, name: str, streams: dict[str, Stream], waiting: bool) -> bool:
        stream = streams[name]
        if waiting and self._drop_inherited(name):
            return True
        upto = self._tables[name].oldest(stream.last if waiting else stream.delivered, CHUNK)
        if upto is None:
            return False
        self._tables[name].delete(upto)
        if upto > stream.delivered:
            self._lose(streams, name, upto, "spool_full")
        return True

    def _drop_inherited(self, name: str) -> bool:
        oldest = self._inherited.oldest(name, CHUNK)
        for record in oldest:
            self._inherited.delete(record)
            if not self._inherited.passed(record.spool, name, record.seq):
                self.losses.note(record.spool, name, record.seq, record.seq, "spool_full")
        return bool(oldest)

    def _lose(self, streams: dict[str, Stream], name: str, upto: int, reason: Reason) -> None:
        stream = streams[name]
        self.losses.note(self.uuid, name, stream.delivered + 1, upto, reason)
        streams[name] = Stream(max(stream.last, upto), upto)

    # --- What comes next

    def _front(self, name: str, limit: int) -> list[tuple[int, Record]]:
        """(age, document): the undelivered ones up to the first that is damaged or missing. Where that is
        the very first, it is lost."""
        while True:
            stream = self.streams[name]
            rows = self._tables[name].between(stream.delivered + 1, stream.last, limit)
            good: list[tuple[int, Record]] = []
            for row in rows:
                if good and (row.payload is None or good[-1][1].seq != row.seq - 1):
                    break
                if row.payload is not None:
                    good.append((row.age, Record(self.uuid, name, row.seq, row.payload)))
            beyond = rows[-1].seq if len(rows) == limit else stream.last
            lost = good[0][1].seq - 1 if good else beyond
            if lost > stream.delivered:
                self.lose(name, lost, "corrupt")
            if good or lost == stream.last:
                return good
