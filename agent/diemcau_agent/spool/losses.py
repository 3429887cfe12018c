"""What nobody will get, until an event has told it: the table ``loss``, and the value ``replaced``."""

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

    def untold(self, replaced: str | None) -> list[tuple[int, Drop | Replaced]]:
        """The oldest, each with a number for :meth:`forget`. ``replaced``: the value of that name."""
        facts: list[tuple[int, Drop | Replaced]] = []
        if replaced is not None:
            facts.append((0, msgspec.json.decode(replaced, type=Replaced)))
        rows = self._db.execute(
            "SELECT number, spool, stream, first, last, count, reason FROM loss ORDER BY number LIMIT ?",
            (_AT_ONCE,),
        )
        return facts + [(number, Drop(*fields)) for number, *fields in rows]

    def forget(self, number: int) -> None:
        if number:
            self._db.execute("DELETE FROM loss WHERE number = ?", (number,))
        else:
            self._db.execute("DELETE FROM pair WHERE key = 'replaced'")
