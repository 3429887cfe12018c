"""Every command that was accepted, on the card before it runs: an id runs once, whatever
restarts in between."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from diemcau_agent.database import transaction
from diemcau_agent.spool import Spool

KEEP = 1000
"""Commands kept once they are answered. A replay that is older is stopped by its nonce or its expiry."""
KEEP_ANSWER_BYTES = 8 * 1024 * 1024
_PRUNE_EVERY = 20
DAY_S = 86_400.0


class Entry(msgspec.Struct, frozen=True):
    """``claims``: as they came, JSON. ``intent``: what a restart wrote down before it happened.
    ``answer``: the last reply, JSON; None while the command runs, or where it was cut short."""

    id: str
    claims: bytes
    intent: dict[str, Any] | None
    answer: bytes | None


class Journal:
    """Every method may raise DatabaseError."""

    def __init__(self, spool: Spool) -> None:
        self._database = spool.database
        self._finished = 0
        self._known: set[str] | None = None
        """Ids that may be on the card; what is not in it certainly is not, which spares most looks."""

    async def accept(self, command_id: str, claims: bytes, intent: Mapping[str, Any] | None) -> None:
        """Write it down, on the card when this returns. An id that is there already is a DatabaseError."""
        await self._insert(command_id, claims, None if intent is None else json.dumps(dict(intent)), None)

    async def record(self, command_id: str, claims: bytes, answer: bytes) -> None:
        """Both in one: a command that was answered at once."""
        await self._insert(command_id, claims, None, answer)

    async def finish(self, command_id: str, answer: bytes) -> None:
        def write(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute("UPDATE command SET answer = ? WHERE id = ?", (answer, command_id))

        await self._database.run(write)
        await self._prune()

    async def find(self, command_id: str) -> Entry | None:
        if self._known is None:
            self._known = await self._database.run(
                lambda db: {row[0] for row in db.execute("SELECT id FROM command")}
            )
        if command_id not in self._known:
            return None
        entries = await self._select("WHERE id = ?", command_id)
        return entries[0] if entries else None

    async def unfinished(self) -> list[Entry]:
        """What was cut short, oldest first."""
        return await self._select("WHERE answer IS NULL")

    async def note_restart(self, target: str, wall_s: float) -> None:
        def write(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute("INSERT INTO restart VALUES (?, ?)", (target, wall_s))
                db.execute("DELETE FROM restart WHERE abs(wall_s - ?) > ?", (wall_s, 2 * DAY_S))

        await self._database.run(write)

    async def restarts(self, target: str, wall_s: float) -> int:
        """How many there were in the day before ``wall_s``. One that lies ahead counts too: the clock of a
        Pi may have gone back since."""
        return await self._database.run(
            lambda db: db.execute(
                "SELECT count(*) FROM restart WHERE target = ? AND abs(wall_s - ?) < ?",
                (target, wall_s, DAY_S),
            ).fetchone()[0]
        )

    async def _insert(self, *row: Any) -> None:
        if self._known is not None:
            self._known.add(row[0])

        def write(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute("INSERT INTO command (id, claims, intent, answer) VALUES (?, ?, ?, ?)", row)

        await self._database.run(write)
        if row[-1] is not None:
            await self._prune()

    async def _prune(self) -> None:
        self._finished += 1
        if self._finished % _PRUNE_EVERY == 0:
            await self._database.run(_prune)
            self._known = None

    async def _select(self, where: str, *parameters: str) -> list[Entry]:
        def read(db: sqlite3.Connection) -> list[Entry]:
            rows = db.execute(
                f"SELECT id, claims, intent, answer FROM command {where} ORDER BY age", parameters
            )
            return [
                Entry(command_id, claims, None if intent is None else json.loads(intent), answer)
                for command_id, claims, intent, answer in rows
            ]

        return await self._database.run(read)


def _prune(db: sqlite3.Connection) -> None:
    db.execute(  # one statement is a transaction of its own
        """DELETE FROM command WHERE age IN (
               SELECT age FROM (
                   SELECT age, row_number() OVER newest AS place, sum(length(answer)) OVER newest AS bytes
                   FROM command WHERE answer IS NOT NULL WINDOW newest AS (ORDER BY age DESC))
               WHERE place > ? OR bytes > ?)""",
        (KEEP, KEEP_ANSWER_BYTES),
    )
