"""One SQLite file, one connection, one named thread.

Write-ahead log with ``synchronous=FULL``: what is committed survives SIGKILL and a power cut (``NORMAL`` can
lose commits at the latter). The lock is exclusive, so two agents can never write one file. ``max_page_count``
caps it: on a card that is full to the last byte even DELETE fails, below a cap it works.

Errors::

    DatabaseError
    ├── Full       no room: the cap, or the card itself
    ├── Locked     another process has it open
    └── Corrupt    not a database, damaged, made by a newer version, or the card failed
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

PAGE_BYTES = 4096
CACHE_KIB = 256
"""SQLite would take 2 MB; the spool reads what it has just written."""
_LOCK_WAIT_S = 2.0

T = TypeVar("T")


class DatabaseError(Exception):
    """The database could not do it; what it was to do has left no trace."""


class Full(DatabaseError):
    pass


class Locked(DatabaseError):
    pass


class Corrupt(DatabaseError):
    pass


class Database:
    def __init__(self, thread: ThreadPoolExecutor, connection: sqlite3.Connection) -> None:
        self._thread = thread
        self._connection = connection

    @classmethod
    async def open(cls, path: Path, schema: Sequence[str], *, max_bytes: int, thread: str) -> Database:
        """Open or create, and bring to the schema's newest version.

        ``schema`` holds one script a version, in order; ``PRAGMA user_version`` counts those that a file
        has had. ``thread`` names the executor's thread. Raises Locked, Corrupt.
        """
        executor = ThreadPoolExecutor(1, thread)
        try:
            connection = await asyncio.get_running_loop().run_in_executor(
                executor, _connect, path, schema, max_bytes // PAGE_BYTES
            )
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(executor, connection)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """``work(connection)`` in the thread. Cancelling the wait does not stop the work."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    async def close(self) -> None:
        try:
            await self.run(sqlite3.Connection.close)
        finally:
            self._thread.shutdown(wait=False)

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with _told():
            return work(self._connection)


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


def is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _connect(path: Path, schema: Sequence[str], max_pages: int) -> sqlite3.Connection:
    with _told():
        connection = sqlite3.connect(path, timeout=_LOCK_WAIT_S, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA max_page_count = {max_pages}")
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > len(schema):
                raise Corrupt(f"{path}: made by a newer version (schema {version}, known {len(schema)})")
            for number, script in enumerate(schema[version:], version + 1):
                connection.executescript(
                    f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;"
                )
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def _told() -> Generator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise Full(str(error)) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Locked(str(error)) from error
        raise Corrupt(f"{type(error).__name__}: {error}") from error
