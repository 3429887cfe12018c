"""What nobody will get, and that this is another spool, until an event has told it."""

from __future__ import annotations

import logging
import sqlite3

import msgspec

from .tables import Drop, Reason, Replaced

log = logging.getLogger(__name__)

_AT_ONCE = 50


class Losses:
    """Every change is one in the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.any = True
        """Whether there may be something to tell."""

    def note(self, spool: str, name: str, first: int, last: int, reason: Reason) -> None:
        """What continues a loss that is not told yet makes it longer: one event tells all of it."""
        count = last - first + 1
        self.any = True
        log.warning("spool: %s %d to %d of %s lost: %s", name, first, last, spool, reason)
        longer = self._db.execute(
            """UPDATE loss SET last = ?, count = count + ?
               WHERE spool = ? AND stream = ? AND reason = ? AND last = ?""",
            (last, count, spool, name, reason, first - 1),
        )
        if longer.rowcount == 0:
            self._db.execute(
                "INSERT INTO loss (spool, stream, first, last, count, reason) VALUES (?, ?, ?, ?, ?, ?)",
                (spool, name, first, last, count, reason),
            )

    def replaced(self, fact: Replaced) -> None:
        self._db.execute(
            "INSERT INTO replaced (previous, reason, kept, salvaged) VALUES (?, ?, ?, ?)",
            msgspec.structs.astuple(fact),
        )
        self.any = True

    def untold(self) -> list[tuple[str, int, Drop | Replaced]]:
        """The oldest, each with what :meth:`forget` needs."""
        facts: list[tuple[str, int, Drop | Replaced]] = []
        for number, *fields in self._db.execute(
            "SELECT number, previous, reason, kept, salvaged FROM replaced ORDER BY number LIMIT ?",
            (_AT_ONCE,),
        ):
            facts.append(("replaced", number, Replaced(*fields)))
        for number, *fields in self._db.execute(
            "SELECT number, spool, stream, first, last, count, reason FROM loss ORDER BY number LIMIT ?",
            (_AT_ONCE,),
        ):
            facts.append(("loss", number, Drop(*fields)))
        return facts

    def forget(self, table: str, number: int) -> None:
        self._db.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
