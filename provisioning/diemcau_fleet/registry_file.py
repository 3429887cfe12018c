"""The registry's file (``fleet.sqlite3``): any number of processes may have it open; each change is one
transaction, on disk when it returns, and one line of the ``log`` table."""

from __future__ import annotations

import os
import pwd
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from diemcau_agent.database import Corrupt, transaction

from .database import told
from .owned_files import belong
from .registry_schema import SCHEMA

FILE = "fleet.sqlite3"
LOCK_WAIT_S = 10.0


class RegistryError(Exception):
    """It cannot be done, and why; nothing was changed."""


class RegistryFile:
    """Opened by :meth:`open`, closed by :meth:`close` or ``with``. Not for two threads."""

    def __init__(self, directory: Path, connection: sqlite3.Connection, now: Callable[[], float]) -> None:
        self.directory = directory
        self.path = directory / FILE
        self._db = connection
        self._now = now
        self.actor = _login()
        """Who changes it, for the log."""

    @classmethod
    def open(cls, directory: Path, now: Callable[[], float] = time.time, *, create: bool = False) -> Self:
        """``now``: seconds since the epoch."""
        path = directory / FILE
        if create == path.exists():
            hint = "there is one already" if create else "no fleet here: diemcau-fleet ca init makes one"
            raise RegistryError(f"{path}: {hint}")
        with told(path):
            if create:
                path.touch(0o600, exist_ok=False)  # SQLite gives its log's files the same mode and owner
                belong(path)
            registry = cls(directory, sqlite3.connect(path, LOCK_WAIT_S, isolation_level=None), now)
            try:
                registry._prepare()
            except BaseException:
                registry.close()
                raise
        return registry

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @property
    def now_s(self) -> float:
        return self._now()

    @contextmanager
    def change(self, what: str, member: str = "", detail: str = "") -> Generator[sqlite3.Connection]:
        """One transaction, with its line in the log."""
        with self.transaction() as db:
            yield db
            self.log(what, member, detail)

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """One that may change nothing; where it does, it calls :meth:`log`."""
        with told(self.path), transaction(self._db):
            yield self._db

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with told(self.path):
            return self._db.execute(query, values).fetchall()

    def log(self, what: str, member: str = "", detail: str = "") -> None:
        self._db.execute(
            "INSERT INTO log (time_s, actor, what, id, detail) VALUES (?, ?, ?, ?, ?)",
            (int(self._now()), self.actor, what, member, detail),
        )

    def _prepare(self) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._db.execute(f"PRAGMA {pragma}")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(SCHEMA):
            raise Corrupt(f"got schema {version}, expected {len(SCHEMA)} at most")
        for number, script in enumerate(SCHEMA[version:], version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def _login() -> str:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's
        name = str(os.geteuid())
    person = os.environ.get("SUDO_USER")
    return name if person is None else f"{person} as {name}"
