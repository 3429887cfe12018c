"""The file below a spool: opened only when it is sound, set aside and kept when it is not.

``spool.sqlite3`` has beside it ``spool-N.broken``, the newest two that were set aside, each with its log;
``spool.identity`` and ``spool.mark`` (:mod:`.side`); ``spool.lock``, held while an agent runs; and
``spool.ballast``, room that is given up when the card is full, so that dropping, which needs some itself, is
still possible.

A file is sound when its header is one of ours, its log is whole to its end (:mod:`.wal`), and quick_check
finds nothing. 64 MiB take quick_check 1.7 s from a cold card of 200 MB/s, but 0.4 s when they were read in
one go before. So that is done first; what has not been read in 5 s is read while the agent runs.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
import time
from pathlib import Path

from diemcau_agent import database
from diemcau_agent.database import CardFailed, Corrupt, Full, Locked

from . import wal
from .tables import FUNCTIONS, SCHEMA

log = logging.getLogger(__name__)

KEPT = 2
"""Broken files that are kept, the newest."""
READ_S = 5.0
READ_ON_S = 1.0
BALLAST_SHARE = 128
"""One part in so many of the cap: 512 KiB of 64 MiB, what the log may grow to."""
_WORK_PAGES = 64
_PLENTY_BYTES = 8 * 1024 * 1024
"""No work needs more, and the log with it."""
_SUFFIXES = ("", "-wal", "-shm")
_MIB = 1024 * 1024
_MAGIC = b"SQLite format 3\0"
_VERSIONS = (1, 2)
"""Of the file's format; SQLite takes a file that a newer one may write for read-only."""


class SpoolFile:
    """Every method runs in the disk's thread."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._wal = path.with_name(f"{path.name}-wal")
        self._ballast = path.with_name(f"{path.stem}.ballast")
        self._unread: int | None = None
        """A descriptor on what is still to be read. It is closed after the connection: closing any
        descriptor on a file drops all locks that the process has on it."""
        self._checked = True
        self._merged_at = -1
        """The connection's count of changes when the log was merged for room."""
        self._lock: int | None = None
        self.connection: sqlite3.Connection | None = None

    def connect(self) -> sqlite3.Connection:
        """Raises Locked; Corrupt for what should be set aside; Full and CardFailed."""
        self._take_lock()
        self._begin_reading()
        committed = wal.surely_committed(self._log())
        db = database.connect(self.path, SCHEMA, max_bytes=self._max_bytes, functions=FUNCTIONS)
        self.connection = db
        with database.told():
            recovered = self.merge()
        if recovered < committed:
            raise Corrupt(f"its log is damaged: {committed} pages were committed, {recovered} can be read")
        self._checked = self._unread is None
        if self._checked:
            database.check(db)
        self.refill_ballast()
        return db

    def merge(self) -> int:
        """The log into the file, so that what is old does not hang on it; how many pages it holds."""
        if self.connection is None:
            return 0
        return int(self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])

    def read_on(self) -> None:
        """Read what opening did not, a second's worth, and check once all is read. Raises Corrupt."""
        if self._checked or self.connection is None:
            return
        ends = time.monotonic() + READ_ON_S
        while self._read_on():
            if time.monotonic() > ends:
                return
        database.check(self.connection)
        self._checked = True

    def probe(self) -> None:
        """Whether the card takes anything. Raises OSError."""
        probe = self.path.with_name(f"{self.path.stem}.probe")
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, bytes(database.PAGE_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Let go of the file and rename it, with its log; where it is now. Raises CardFailed."""
        self.release()
        numbers = sorted(self._broken())
        kept = self._named(numbers[-1] + 1 if numbers else 1)
        try:
            for suffix in _SUFFIXES:
                now = self.path.with_name(self.path.name + suffix)
                if now.exists():
                    now.rename(kept.with_name(kept.name + suffix))
            for number in numbers[: len(numbers) + 1 - KEPT]:
                for suffix in _SUFFIXES:
                    old = self._named(number)
                    old.with_name(old.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            raise CardFailed(f"{self.path} cannot be set aside: {error}") from error
        return kept

    def release(self) -> None:
        """Let go of the file. A card that fails does not keep us."""
        connection, self.connection = self.connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                log.warning("%s: %s", self.path, error)
        self._close_unread()

    def refill_ballast(self) -> None:
        """Where there is room. Without it the file must not grow, see :meth:`release_ballast`."""
        if self._ballast.exists() or self.connection is None:
            return
        try:
            with self._ballast.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, self._max_bytes // BALLAST_SHARE)
        except OSError as error:
            log.info("%s: %s", self._ballast, error)
            self._ballast.unlink(missing_ok=True)
            return
        self.connection.execute(f"PRAGMA max_page_count = {self._max_bytes // database.PAGE_BYTES}")

    def capped(self) -> bool:
        """Whether it is the cap that leaves no room, not the card."""
        pages, free, cap = (self._pragma(name) for name in ("page_count", "freelist_count", "max_page_count"))
        room = os.statvfs(self.path.parent)
        return cap - pages + free < _WORK_PAGES or room.f_bavail * room.f_frsize > _PLENTY_BYTES

    def release_ballast(self) -> None:
        """The card is full: merge the log, and let the file grow no more, so that dropping is enough from
        here on. Where that was done already, the log is merged once more: it grows past what the ballast
        gave, and begins anew after it. Raises Full where nothing has been written since."""
        had = self._ballast.exists()
        self._ballast.unlink(missing_ok=True)
        pages = self._pragma("page_count")
        if not had and self._pragma("max_page_count") == pages:
            changes = 0 if self.connection is None else self.connection.total_changes
            if changes == self._merged_at:
                raise Full("the card is full")
            self._merged_at = changes
            self.merge()
            return
        log.error("%s: the card is full; the oldest documents are dropped from now on", self.path)
        self.merge()
        self._pragma(f"max_page_count = {pages}")

    def _pragma(self, name: str) -> int:
        if self.connection is None:
            raise CardFailed(f"{self.path} is not open")
        return int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _take_lock(self) -> None:
        """Before anything is judged: another agent's file changes while one looks at it."""
        if self._lock is not None:
            return
        try:
            lock = os.open(self.path.with_name(f"{self.path.stem}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return  # a card that cannot be written; SQLite says so
        ends = time.monotonic() + database.LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if time.monotonic() > ends:
                    os.close(lock)
                    raise Locked(f"{self.path}: another agent has it") from error
                time.sleep(0.05)
            else:
                self._lock = lock
                return

    def close(self) -> None:
        """As :meth:`release`; another agent may have it now."""
        self.release()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- Reading ahead

    def _begin_reading(self) -> None:
        self._close_unread()
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            descriptor = None  # a new one, or SQLite will say why not
        head = b"" if descriptor is None else self._read(descriptor, 100)
        if descriptor is None or not head:
            if descriptor is not None:
                os.close(descriptor)
            if self._wal.exists() and self._wal.stat().st_size:
                raise Corrupt("it is gone or empty, but its log is not")
            return
        self._unread = descriptor
        if not head.startswith(_MAGIC) or not {head[18], head[19]} <= set(_VERSIONS):
            raise Corrupt("its header is damaged")
        ends = time.monotonic() + READ_S
        while self._read_on():
            if time.monotonic() > ends:
                log.warning("%s: read no further in %g s; checked later", self.path, READ_S)
                return
        self._close_unread()

    def _read_on(self) -> bool:
        """The next MiB; whether there is more."""
        return self._unread is not None and bool(self._read(self._unread, _MIB))

    def _read(self, descriptor: int, size: int) -> bytes:
        try:
            return os.read(descriptor, size)
        except OSError as error:  # EISDIR and EIO
            raise Corrupt(f"it cannot be read: {error}") from error

    def _close_unread(self) -> None:
        if self._unread is not None:
            os.close(self._unread)
            self._unread = None

    # --- Files beside it

    def _named(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.stem}-{number}.broken")

    def _broken(self) -> list[int]:
        pattern = re.compile(re.escape(self.path.stem) + r"-(\d+)\.broken")
        try:
            names = [entry.name for entry in self.path.parent.iterdir()]
        except OSError:
            return []
        return [int(match[1]) for name in names if (match := pattern.fullmatch(name))]

    def _log(self) -> bytes:
        try:
            return self._wal.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise Corrupt(f"its log cannot be read: {error}") from error
