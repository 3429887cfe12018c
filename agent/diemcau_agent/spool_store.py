"""What one spool database holds, and what goes first when there is no room.

Each stream has a table whose key is ``seq``. A number is never skipped without a record of it: what is
undelivered goes from the front only, in one transaction with its row in ``loss`` and the cursor, so a gap is
always explained by a ``dropped`` event with its range. What SQLite cannot notice (a flipped byte in a payload,
a write that the card lost) shows in a row's checksum or a hole when it comes to the front; it is a loss too.

The order of going, oldest first in each: delivered telemetry, delivered events, telemetry, events. Commands
and what else a room must remember are never dropped for documents, which take three quarters of the pages.

Every method runs in the database's thread and raises sqlite3.Error.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import msgspec

from .database import Corrupt, transaction
from .spool_inherited import Inherited, Statement
from .spool_tables import Drop, Item, Record, Replaced, Stream, checksum, sound
from .topics import STREAMS

log = logging.getLogger(__name__)

CHUNK = 64
"""Documents that go at once."""
_CHUNKS = 64
_UNTOLD = 50


class Store:
    """Raises Corrupt where what all the rest hangs on, the UUID or a stream's numbers, is damaged."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.streams: dict[str, Stream] = {}
        self.unsaved = 0
        """Deliveries that the card does not know of yet."""
        self._inherited = Inherited(db)
        if db.execute("SELECT count(*) FROM stream").fetchone()[0] == 0:
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
        for name in STREAMS:
            self.streams[name] = self._stream(name)
            newest = db.execute(f"SELECT CAST(age AS INTEGER) FROM {name} ORDER BY seq DESC LIMIT 1").fetchone()
            self.age = max(self.age, *(newest or ()))

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

    def commit(self, items: Sequence[Item] = ()) -> None:
        """Keep ``items`` and the cursors, and make room; all of it is on the card when this returns."""
        with self._change() as streams:
            for item in items:
                self._insert(item, streams)
            for _ in range(_CHUNKS):
                if not self._crowded() or not self._drop(streams, waiting=False, names=STREAMS[::-1]):
                    break
            for _ in range(_CHUNKS):
                if not self._crowded() or not self._drop(streams, waiting=True, names=STREAMS[::-1]):
                    break

    def make_room(self, *, waiting: bool, names: Sequence[str]) -> bool:
        """Drop the oldest documents of the first of the streams that has any, delivered ones or those that
        are still ``waiting``; whether any went."""
        with self._change() as streams:
            return self._drop(streams, waiting=waiting, names=names)

    def lose(self, name: str, upto: int, reason: Literal["full", "corrupt"]) -> None:
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
                    self._note(record.spool, record.stream, record.seq, record.seq, "corrupt")
        if inherited:
            return inherited
        found = [each for name in STREAMS for each in self._front(name, limit)]
        found.sort(key=lambda each: each[0])
        return [record for _, record in found[:limit]]

    def range(self, name: str, first: int, last: int, limit: int) -> list[Record]:
        """Of the numbers from ``first`` to ``last`` what is still there and sound, at most ``limit``."""
        rows = self.db.execute(
            f"SELECT seq, age, crc, payload FROM {name} WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
            (first, last, limit),
        )
        return [
            Record(self.uuid, name, seq, payload)
            for seq, age, crc, payload in rows
            if sound(crc, name, seq, age, payload)
        ]

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

    def untold(self) -> list[tuple[int, Drop | Replaced]]:
        """With a number for :meth:`tell`, 0 for the new spool."""
        replaced = self.get("replaced")
        facts: list[tuple[int, Drop | Replaced]] = []
        if replaced is not None:
            facts.append((0, msgspec.json.decode(replaced, type=Replaced)))
        rows = self.db.execute(f"SELECT * FROM loss ORDER BY number LIMIT {_UNTOLD}")
        return facts + [(number, Drop(*fields)) for number, *fields in rows]

    def tell(self, number: int, item: Item) -> None:
        """Keep the event that tells it, and forget it."""
        with self._change() as streams:
            self._insert(item, streams)
            if number:
                self.db.execute("DELETE FROM loss WHERE number = ?", (number,))
            else:
                self.db.execute("DELETE FROM pair WHERE key = 'replaced'")

    def settle(
        self, replaced: Replaced | None, values: Mapping[str, str], estate: Sequence[Statement]
    ) -> None:
        """Take over what the one before leaves, all or nothing."""
        with transaction(self.db):
            for write, row in estate:
                self.db.execute(write, row)
            if replaced is not None:
                self._put("replaced", msgspec.json.encode(replaced).decode())
            for key, value in values.items():
                self._put(key, value)

    # --- Inside a transaction

    @contextmanager
    def _change(self) -> Generator[dict[str, Stream]]:
        """The streams as they will be, in a transaction that saves them."""
        streams = dict(self.streams)
        with transaction(self.db):
            yield streams
            for name, stream in streams.items():
                crc = checksum(name, stream.last, stream.delivered, b"")
                self.db.execute(
                    "UPDATE stream SET last = ?, delivered = ?, crc = ? WHERE name = ?",
                    (stream.last, stream.delivered, crc, name),
                )
            self._inherited.save()
        self.streams = streams
        self.unsaved = 0
        self._inherited.saved()

    def _put(self, key: str, value: str) -> None:
        row = (key, value, checksum(key, 0, 0, value))
        self.db.execute("INSERT OR REPLACE INTO pair (key, value, crc) VALUES (?, ?, ?)", row)

    def _stream(self, name: str) -> Stream:
        row = self.db.execute("SELECT last, delivered, crc FROM stream WHERE name = ?", (name,)).fetchone()
        if row is None or row[2] != checksum(name, row[0], row[1], b""):
            raise Corrupt(f"the numbers of {name} are damaged")
        last, delivered, _ = row
        newest = self.db.execute(f"SELECT coalesce(max(seq), 0) FROM {name}").fetchone()[0]
        return Stream(max(last, newest), delivered)

    def _insert(self, item: Item, streams: dict[str, Stream]) -> None:
        crc = checksum(item.stream, item.seq, item.age, item.payload)
        row = (item.seq, item.age, crc, item.payload)
        self.db.execute(f"INSERT INTO {item.stream} VALUES (?, ?, ?, ?)", row)
        streams[item.stream] = Stream(item.seq, streams[item.stream].delivered)

    def _crowded(self) -> bool:
        """Whether documents stand where commands may need the room."""
        pages, free, cap = (
            self.db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "max_page_count")
        )
        return pages - free > cap * 3 // 4

    def _drop(self, streams: dict[str, Stream], *, waiting: bool, names: Sequence[str]) -> bool:
        return any(self._drop_of(name, streams, waiting) for name in names)

    def _drop_of(self, name: str, streams: dict[str, Stream], waiting: bool) -> bool:
        stream = streams[name]
        if waiting and self._drop_inherited(name):
            return True
        upto = self.db.execute(
            f"SELECT max(seq) FROM (SELECT seq FROM {name} WHERE seq <= ? ORDER BY seq LIMIT ?)",
            (stream.last if waiting else stream.delivered, CHUNK),
        ).fetchone()[0]
        if upto is None:
            return False
        self.db.execute(f"DELETE FROM {name} WHERE seq <= ?", (upto,))
        if upto > stream.delivered:
            self._lose(streams, name, upto, "full")
        return True

    def _drop_inherited(self, name: str) -> bool:
        oldest = self._inherited.oldest(name, CHUNK)
        for record in oldest:
            self._inherited.delete(record)
            if not self._inherited.passed(record.spool, name, record.seq):
                self._note(record.spool, name, record.seq, record.seq, "full")
        return bool(oldest)

    def _lose(self, streams: dict[str, Stream], name: str, upto: int, reason: str) -> None:
        stream = streams[name]
        self._note(self.uuid, name, stream.delivered + 1, upto, reason)
        streams[name] = Stream(max(stream.last, upto), upto)

    def _note(self, spool: str, name: str, first: int, last: int, reason: str) -> None:
        """What continues a loss that is not told yet makes it longer: one event tells all of it."""
        count = last - first + 1
        log.warning("spool: %s %d to %d of %s lost: %s", name, first, last, spool, reason)
        longer = self.db.execute(
            """UPDATE loss SET last = ?, count = count + ?
               WHERE spool = ? AND stream = ? AND reason = ? AND last = ?""",
            (last, count, spool, name, reason, first - 1),
        )
        if longer.rowcount == 0:
            self.db.execute(
                "INSERT INTO loss (spool, stream, first, last, count, reason) VALUES (?, ?, ?, ?, ?, ?)",
                (spool, name, first, last, count, reason),
            )

    # --- What comes next

    def _front(self, name: str, limit: int) -> list[tuple[int, Record]]:
        """(age, document): the undelivered ones up to the first that is damaged or missing. Where that is
        the very first, it is lost."""
        while True:
            stream = self.streams[name]
            rows = self.db.execute(
                f"""SELECT seq, age, crc, payload FROM {name}
                    WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?""",
                (stream.delivered, stream.last, limit),
            ).fetchall()
            good: list[tuple[int, Record]] = []
            for seq, age, crc, payload in rows:
                if good and good[-1][1].seq != seq - 1:
                    break
                if sound(crc, name, seq, age, payload):
                    good.append((age, Record(self.uuid, name, seq, payload)))
                elif good:
                    break
            if good:
                lost = good[0][1].seq - 1
            else:
                lost = rows[-1][0] if len(rows) == limit else stream.last
            if lost > stream.delivered:
                self.lose(name, lost, "corrupt")
            if good or lost == stream.last:
                return good
