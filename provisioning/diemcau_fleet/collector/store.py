"""The collector's SQLite file: one writer, any number of readers (write-ahead log).

A batch is one transaction, on disk (``synchronous=FULL``) before any of it is acknowledged to the broker.

Raises :mod:`diemcau_agent.database`'s Full, Locked, Corrupt and CardFailed, which name the file.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Self

import msgspec

from diemcau_agent.database import Corrupt, Locked, transaction
from diemcau_fleet.database import told

from .batch import Batch, Boot
from .gaps import HISTORY
from .ledger import Ledger
from .records import HELD_COLUMNS, LOCK_WAIT_S, Records
from .schema import SCHEMA
from .spools import Spool

REJECTED_ROWS = 1000
REJECTED_BYTES = 4096
"""Of a message that is no document so much is kept, of the newest :data:`REJECTED_ROWS`."""
_CACHE_KIB = 32 * 1024


class Store(Records):
    """Reads and writes, in one process at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int) -> None:
        super().__init__(path, connection)
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create. Raises Locked, Corrupt, CardFailed."""
        with told(path):
            lock = _only_writer(path)
            try:
                connection = sqlite3.connect(path, LOCK_WAIT_S, isolation_level=None)
            except BaseException:
                os.close(lock)
                raise
            store = cls(path, connection, lock)
            try:
                store._prepare()
            except BaseException:
                store.close()
                raise
        return store

    def close(self) -> None:
        super().close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def ledger(self, history: int = HISTORY) -> Ledger:
        """What was known when the last batch was written."""
        ledger = Ledger(history)
        ledger.held = {(point, slot): held for point, slot, held, _ in self._held()}
        ledger.trackers = self._trackers(None)
        with told(self.path):
            spools = "SELECT id, point, uuid, place, replaces FROM spool ORDER BY place"
            for number, point, uuid, place, replaces in self._db.execute(spools):
                ledger.spools.load(point, uuid, Spool(number, place, replaces))
            boots = """SELECT boot.point, boot, offset_ms, uuid FROM boot
                       LEFT JOIN spool ON boot.spool = spool.id ORDER BY boot.id"""
            for point, boot, offset_ms, uuid in self._db.execute(boots):
                ledger.add_boot(point, boot, Boot(offset_ms, uuid))
        ledger.open = {key: tracker for key, tracker in ledger.trackers.items() if not tracker.whole}
        return ledger

    def write(self, ledger: Ledger) -> None:
        """Commit the ledger's batch, and begin a new one. Raises Full, Corrupt: nothing of it is written."""
        batch = ledger.batch
        if not batch:
            return
        with told(self.path), transaction(self._db):
            self._write_spools(ledger, batch)
            self._write_boots(ledger, batch)
            self._write_documents(ledger, batch)
            self._write_trackers(ledger, batch)
            self._write_held(batch)
            self._correct(batch)
            self._write_refusals(batch)
        ledger.batch = Batch()
        for key in batch.trackers:
            ledger.trackers[key].changed.clear()

    def _write_spools(self, ledger: Ledger, batch: Batch) -> None:
        for point, uuid in batch.spools:
            spool = ledger.spools.of(point)[uuid]
            self._db.execute(
                "INSERT OR REPLACE INTO spool VALUES (?, ?, ?, ?, ?)",
                (spool.id, point, uuid, spool.order, spool.replaces),
            )

    def _write_boots(self, ledger: Ledger, batch: Batch) -> None:
        """What the ledger has forgotten of a boot stays."""
        self._db.executemany(
            """INSERT INTO boot (point, boot, offset_ms, spool) VALUES (?, ?, ?, ?)
               ON CONFLICT (point, boot) DO UPDATE SET
                   offset_ms = coalesce(excluded.offset_ms, offset_ms),
                   spool = coalesce(excluded.spool, spool)""",
            (
                (
                    point,
                    uuid,
                    boot.offset_ms,
                    None if boot.spool is None else ledger.spools.of(point)[boot.spool].id,
                )
                for (point, uuid), boot in batch.boots.items()
            ),
        )

    def _write_documents(self, ledger: Ledger, batch: Batch) -> None:
        """A boot that the ledger has forgotten has its offset here."""
        self._db.executemany(
            """INSERT INTO document VALUES (
                   :spool, :stream, :seq, :session, :boot, :mono_ms, :clock, :time_ms,
                   coalesce(:time_corrected_ms, :mono_ms +
                       (SELECT offset_ms FROM boot WHERE point = :point AND boot = :boot)),
                   :arrived_ms, :kind, :payload)""",
            (
                msgspec.structs.asdict(row)
                | {
                    "point": row.key.point,
                    "spool": ledger.spools.of(row.key.point)[row.key.spool].id,
                    "stream": row.key.stream,
                    "key": None,
                }
                for row in batch.rows
            ),
        )

    def _write_trackers(self, ledger: Ledger, batch: Batch) -> None:
        for key in batch.trackers:
            tracker, spool = ledger.trackers[key], ledger.spools.of(key.point)[key.spool].id
            place = (spool, key.stream)
            self._db.execute("INSERT OR IGNORE INTO stream VALUES (?, ?, ?)", (*place, tracker.floor))
            for first in tracker.changed:
                last = tracker.have.end_of(first)
                if last is None:
                    self._db.execute(
                        "DELETE FROM have WHERE spool = ? AND stream = ? AND first = ?", (*place, first)
                    )
                else:
                    self._db.execute("INSERT OR REPLACE INTO have VALUES (?, ?, ?, ?)", (*place, first, last))
        for loss in batch.losses:
            spool = ledger.spools.of(loss.key.point)[loss.key.spool].id
            self._db.execute(
                "INSERT INTO lost VALUES (?, ?, ?, ?, ?)", (spool, loss.key.stream, *loss.range, loss.reason)
            )

    def _write_held(self, batch: Batch) -> None:
        for (point, slot), entry in batch.held.items():
            if entry is None:
                self._db.execute("DELETE FROM held WHERE point = ? AND slot = ?", (point, slot))
            else:
                held, payload = entry
                self._db.execute(
                    f"INSERT OR REPLACE INTO held (point, slot, {', '.join(HELD_COLUMNS)}, payload)"
                    f" VALUES ({', '.join('?' * (len(HELD_COLUMNS) + 3))})",
                    (point, slot, *msgspec.structs.astuple(held), payload),
                )

    def _correct(self, batch: Batch) -> None:
        """After the documents: those of this batch may have come before their boot's true time."""
        for (point, boot), offset_ms in batch.corrected.items():
            self._db.execute(
                """UPDATE document SET time_corrected_ms = mono_ms + ?
                   WHERE boot = ? AND time_corrected_ms IS NULL
                     AND spool IN (SELECT id FROM spool WHERE point = ?)""",
                (offset_ms, boot, point),
            )
            self._db.execute(
                "UPDATE held SET time_ms = mono_ms + ? WHERE point = ? AND boot = ? AND time_ms IS NULL",
                (offset_ms, point, boot),
            )

    def _write_refusals(self, batch: Batch) -> None:
        if batch.refusals:
            self._db.executemany(
                "INSERT INTO rejected (arrived_ms, topic, reason, payload) VALUES (?, ?, ?, ?)",
                (
                    (refusal.arrived_ms, refusal.topic, refusal.reason, refusal.payload[:REJECTED_BYTES])
                    for refusal in batch.refusals
                ),
            )
            self._db.execute(
                "DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?", (REJECTED_ROWS,)
            )

    def _prepare(self) -> None:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(SCHEMA):
            raise Corrupt(f"got schema {version}, expected {len(SCHEMA)} at most")
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"cache_size = -{_CACHE_KIB}"):
            self._db.execute(f"PRAGMA {pragma}")
        for number, script in enumerate(SCHEMA[version:], version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def _only_writer(path: Path) -> int:
    """SQLite would let two collectors take turns, each with a picture of its own. Raises Locked, OSError."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Locked("another collector writes it") from None
    return lock
