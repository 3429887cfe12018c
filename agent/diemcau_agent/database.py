"""SQLite as a spool needs it, and the one thread that its connection lives in.

Write-ahead log with ``synchronous=FULL``: what is committed survives SIGKILL and a power cut (``NORMAL`` can
lose commits at the latter). The lock is exclusive, so two agents can never write one file. ``max_page_count``
caps it: on a card that is full to the last byte even DELETE fails, below a cap it works.

Errors::

    DatabaseError      it could not be done: against a constraint, say
    ├── Full           no room: the cap, or the card itself
    ├── Locked         another process has it open
    ├── Corrupt        not a database, damaged, unreadable, or made by a newer version
    └── CardFailed     the card does not take it: I/O error, read-only, gone
        └── Blocked    it has not answered in time; what was asked of it may still come to pass
"""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import quote

PAGE_BYTES = 4096
CACHE_KIB = 256
"""SQLite would take 2 MB; the spool reads what it has just written."""
CHECKPOINT_PAGES = 128
"""The log's length before it is merged into the file: many commits to one page are merged as one."""
LOCK_WAIT_S = 2.0

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


class Blocked(CardFailed):
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
_UNREADABLE = ("SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS")
"""One sector that is gone: another file may be better."""


class DiskThread:
    """One named thread for what may block in the kernel. It is a daemon: a card that never answers must not
    keep the process from ending."""

    def __init__(self, name: str) -> None:
        self._works: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self.busy_since_s: float | None = None
        """``time.monotonic()`` when the work that is in the thread now began; None while none is."""
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it takes work, or is at one."""
        return self._thread.is_alive()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """``work()`` in the thread, after all that was submitted before; SQLite's errors as ours."""
        future: Future[T] = Future()
        self._works.put((work, future))
        return future

    def end(self) -> None:
        """The thread leaves once it has done what was submitted; nobody waits for it."""
        self._works.put(None)

    def _serve(self) -> None:
        while (item := self._works.get()) is not None:
            work, future = item
            if not future.set_running_or_notify_cancel():
                continue
            self.busy_since_s = time.monotonic()
            try:
                with told():
                    result = work()
            except BaseException as error:  # whoever waits for it judges it
                self.busy_since_s = None  # before anybody is told
                future.set_exception(error)
            else:
                self.busy_since_s = None
                future.set_result(result)
            del item, work, future  # what a work holds goes with it


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
    """SQLite's errors, and the kernel's, as ours."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        kind = _KINDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, DatabaseError)
        raise (Corrupt if name in _UNREADABLE else kind)(f"{name}: {error}") from error
    except OSError as error:
        raise (Full if error.errno in (errno.ENOSPC, errno.EDQUOT) else CardFailed)(str(error)) from error


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


def look_into(path: Path) -> sqlite3.Connection:
    """A broken file, to be read as far as it can be, and left as it is. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
    connection.text_factory = _text
    return connection


def _text(content: bytes) -> str:
    return content.decode(errors="replace")  # a flipped byte is for whoever reads it to judge


def _connect(
    path: Path | str, schema: Sequence[str], max_pages: int, functions: Mapping[str, Callable[..., Any]]
) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
    try:
        for name, function in functions.items():
            connection.create_function(name, -1, function, deterministic=True)
        connection.text_factory = _text
        # First: once anything has been read, WAL wants its -shm file, for which a full card has no room.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
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
