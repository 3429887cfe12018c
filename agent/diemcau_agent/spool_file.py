"""The file below a spool: opened only when it is sound, set aside and kept when it is not.

``spool.sqlite3`` has beside it ``spool-N.broken``, the newest two that were set aside, each with its log;
``spool.identity``, the UUID and the session once more, since the file may be lost but the session must never
go back; and ``spool.ballast``, room that is given up when the card is full, so that dropping, which needs
some itself, is still possible.

A file is sound when its header is one of ours, its log is whole to its end (SQLite takes a flipped byte in
the log for the end of it, and would give the numbers behind it once more), and quick_check finds nothing.
64 MiB take quick_check 1.7 s from a cold card of 200 MB/s, but 0.4 s when they were read in one go before.
So that is done first; what has not been read in 5 s is read while the agent runs.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import struct
import time
from pathlib import Path

import msgspec

from . import database
from .database import CardFailed, Corrupt, Full
from .spool_tables import FUNCTIONS, SCHEMA

log = logging.getLogger(__name__)

KEPT = 2
"""Broken files that are kept, the newest."""
READ_S = 5.0
BALLAST_SHARE = 128
"""One part in so many of the cap: 512 KiB of 64 MiB, what the log may grow to."""
_SUFFIXES = ("", "-wal", "-shm")
_MIB = 1024 * 1024
_MAGIC = b"SQLite format 3\0"
_VERSIONS = (1, 2)
"""Of the file's format; SQLite takes a file that a newer one may write for read-only."""
_WAL_HEAD = struct.Struct(">8I")
_FRAME_HEAD = struct.Struct(">6I")


class Identity(msgspec.Struct, frozen=True):
    spool: str | None = None
    session: int = 0


class SpoolFile:
    """Every method runs in the database's thread."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._wal = path.with_name(f"{path.name}-wal")
        self._ballast = path.with_name(f"{path.stem}.ballast")
        self._side = path.with_name(f"{path.stem}.identity")
        self._unread: int | None = None
        """A descriptor on what is still to be read. It is closed after the connection: closing any
        descriptor on a file drops all locks that the process has on it."""
        self.connection: sqlite3.Connection | None = None
        self.identity = self._read_identity()

    def connect(self) -> sqlite3.Connection:
        """Raises Locked; Corrupt for what should be set aside; Full and CardFailed."""
        self._begin_reading()
        commits = _log_end(self._wal)
        db = database.connect(self.path, SCHEMA, max_bytes=self._max_bytes, functions=FUNCTIONS)
        self.connection = db
        with database.told():
            recovered = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        if recovered < commits:
            raise Corrupt(f"its log is damaged: {commits} pages were committed, {recovered} can be read")
        if self._unread is None:
            database.check(db)
        self.refill_ballast()
        return db

    def check(self) -> bool:
        """Read on, and check once all is read; whether that is to be called again. Raises Corrupt."""
        if self._unread is None or self.connection is None:
            return False
        if self._read_on():
            return True
        database.check(self.connection)
        return False

    def set_aside(self) -> Path:
        """Rename the file and its log, and let go of it; where it is now. Raises CardFailed."""
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
        finally:
            self.release()
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

    def remember(self, spool: str, session: int) -> None:
        """Whole or not at all; told in the log where the card does not take it."""
        self.identity = Identity(spool, session)
        new = self._side.with_name(self._side.name + ".new")
        try:
            with new.open("wb") as file:
                file.write(msgspec.json.encode(self.identity))
                file.flush()
                os.fsync(file.fileno())
            new.rename(self._side)
            folder = os.open(self._side.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # the rename itself
            finally:
                os.close(folder)
        except OSError as error:
            log.error("%s: %s", self._side, error)

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

    def release_ballast(self) -> None:
        """The card is full: merge the log, and let the file grow no more, so that dropping is enough from
        here on. Raises Full where there is no ballast."""
        if self.connection is None or not self._ballast.exists():
            raise Full("the card is full")
        log.error("%s: the card is full; the oldest documents are dropped from now on", self.path)
        self._ballast.unlink()
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        pages = self.connection.execute("PRAGMA page_count").fetchone()[0]
        self.connection.execute(f"PRAGMA max_page_count = {pages}")

    # --- Reading ahead

    def _begin_reading(self) -> None:
        self._close_unread()
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            descriptor = None  # a new one, or SQLite will say why not
        head = b"" if descriptor is None else os.read(descriptor, 100)
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
        assert self._unread is not None
        try:
            return bool(os.read(self._unread, _MIB))
        except OSError as error:
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

    def _read_identity(self) -> Identity:
        try:
            return msgspec.json.decode(self._side.read_bytes(), type=Identity)
        except FileNotFoundError:
            return Identity()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("%s: %s", self._side, error)
            return Identity()


def _log_end(wal: Path) -> int:
    """The last frame that ends a commit of this log, counted from 1; 0 where there is none. Frames that an
    earlier log left behind have other salts. Raises Corrupt."""
    try:
        content = wal.read_bytes()
    except OSError:
        return 0
    if len(content) <= _WAL_HEAD.size + _FRAME_HEAD.size:
        return 0
    magic, _, page_bytes, _, *salts, sum1, sum2 = _WAL_HEAD.unpack_from(content)
    if (sum1, sum2) != _log_sum(content[:24], big=bool(magic & 1)) or page_bytes < 512:
        raise Corrupt("the head of its log is damaged")
    last = 0
    step = _FRAME_HEAD.size + page_bytes
    for number, at in enumerate(range(_WAL_HEAD.size, len(content) - step + 1, step), 1):
        _, commits, *frame_salts = _FRAME_HEAD.unpack_from(content, at)[:4]
        if commits and frame_salts == salts:
            last = number
    return last


def _log_sum(head: bytes, *, big: bool) -> tuple[int, int]:
    """SQLite's checksum of the log's head (fileformat2.html, Checksum Algorithm)."""
    words = struct.unpack(f"{'>' if big else '<'}6I", head)
    sum1 = sum2 = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        sum1 = (sum1 + even + sum2) & 0xFFFFFFFF
        sum2 = (sum2 + odd + sum1) & 0xFFFFFFFF
    return sum1, sum2
