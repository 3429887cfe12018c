"""One SQLite connection at a time, in one named thread.

Write-ahead log with ``synchronous=FULL``: what is committed survives SIGKILL and a power cut (``NORMAL`` can
lose commits at the latter). The lock is exclusive, so two agents can never write one file. ``max_page_count``
caps it: on a card that is full to the last byte even DELETE fails, below a cap it works.

Errors::

    DatabaseError      it could not be done: against a constraint, say
    ├── Full           no room: the cap, or the card itself
    ├── Locked         another process has it open
    ├── Corrupt        not a database, damaged, or made by a newer version
    └── CardFailed     the card does not take it: I/O error, read-only, gone
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

PAGE_BYTES = 4096
CACHE_KIB = 256
"""SQLite would take 2 MB; the spool reads what it has just written."""
CHECKPOINT_PAGES = 128
"""The log's length before it is merged into the file: many commits to the same few pages are merged as one."""
_LOCK_WAIT_S = 2.0
_MENDINGS = 64
"""How often one work is tried again; each time a little more room was made for it."""

T = TypeVar("T")


class DatabaseError(Exception):
    """The database could not do it; what it was to do has left no trace."""


class Full(DatabaseError):
    pass


class Locked(DatabaseError):
    pass


class Corrupt(DatabaseError):
    pass


class CardFailed(DatabaseError):
    pass


_KINDS: Mapping[int, type[DatabaseError]] = {
    sqlite3.SQLITE_FULL: Full,
    sqlite3.SQLITE_BUSY: Locked,
    sqlite3.SQLITE_LOCKED: Locked,
    sqlite3.SQLITE_CORRUPT: Corrupt,
    sqlite3.SQLITE_NOTADB: Corrupt,
    sqlite3.SQLITE_FORMAT: Corrupt,
    sqlite3.SQLITE_IOERR: CardFailed,
    sqlite3.SQLITE_READONLY: CardFailed,
    sqlite3.SQLITE_CANTOPEN: CardFailed,
    sqlite3.SQLITE_PERM: CardFailed,
}


class Database:
    """``mend(error)``, in the thread, makes good what failed, by setting another :attr:`connection` where
    it must; whether the work is worth another try. A work that failed has left no trace, so it may be."""

    connection: sqlite3.Connection
    """Set in the thread, before the first :meth:`run`."""

    def __init__(self, thread: str, mend: Callable[[DatabaseError], bool]) -> None:
        self._thread = ThreadPoolExecutor(1, thread)
        self._mend = mend
        self.busy_since_s: float | None = None
        """``time.monotonic()`` when the work that is in the thread now began; None while none is."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """``work(connection)`` in the thread. Cancelling the wait does not stop the work."""
        return await self.call(lambda: self._mended(work))

    async def call(self, work: Callable[[], T]) -> T:
        """``work()`` in the thread, once, SQLite's errors as ours."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, work)

    async def close(self) -> None:
        """Close the connection, if any, and end the thread."""
        try:
            await self.call(lambda: self.connection.close() if hasattr(self, "connection") else None)
        finally:
            self._thread.shutdown(wait=False)

    def _timed(self, work: Callable[[], T]) -> T:
        self.busy_since_s = time.monotonic()
        try:
            with told():
                return work()
        finally:
            self.busy_since_s = None

    def _mended(self, work: Callable[[sqlite3.Connection], T]) -> T:
        for _ in range(_MENDINGS):
            try:
                with told():
                    return work(self.connection)
            except DatabaseError as error:
                if not self._mend(error):
                    raise
        return work(self.connection)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """All of it or nothing, on the card when the block ends."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls some failures back
            connection.execute("ROLLBACK")
        raise


@contextmanager
def told() -> Generator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        kind = _KINDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, DatabaseError)
        raise kind(f"{getattr(error, 'sqlite_errorname', type(error).__name__)}: {error}") from error


def connect(
    path: Path | str,
    schema: Sequence[str],
    *,
    max_bytes: int,
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> sqlite3.Connection:
    """Open or create, and bring to the schema's newest version.

    ``schema`` holds one script a version, in order; ``PRAGMA user_version`` counts those that a file has had.
    The scripts may use ``functions``. Raises Full, Locked, Corrupt, CardFailed.
    """
    try:
        with told():
            return _connect(path, schema, max_bytes // PAGE_BYTES, functions or {})
    except DatabaseError as error:
        if type(error) is DatabaseError:  # our own statements are right, so what they are run on is not
            raise Corrupt(f"{path}: {error}") from error
        raise


def check(connection: sqlite3.Connection) -> None:
    """SQLite's own look at every page; 0.2 s for 64 MiB that are in memory. Raises Corrupt."""
    with told():
        (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise Corrupt(finding)


def _text(content: bytes) -> str:
    return content.decode(errors="replace")  # a flipped byte is for whoever reads it to judge


def _connect(
    path: Path | str, schema: Sequence[str], max_pages: int, functions: Mapping[str, Callable[..., Any]]
) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_LOCK_WAIT_S, isolation_level=None)
    try:
        for name, function in functions.items():
            connection.create_function(name, -1, function, deterministic=True)
        connection.text_factory = _text
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute("PRAGMA secure_delete = OFF")  # Debian's default writes every freed page once more
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(schema):
            raise Corrupt(f"{path}: made by a newer version (schema {version}, known {len(schema)})")
        for number, script in enumerate(schema[version:], version + 1):
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
        # The cap comes last: while a script moves rows, both copies need room.
        connection.execute(f"PRAGMA max_page_count = {max_pages}")
    except BaseException:
        connection.close()
        raise
    return connection
