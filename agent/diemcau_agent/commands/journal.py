"""Every command that was accepted, on the card before it runs: an id runs once, whatever
restarts in between."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

import msgspec

from diemcau_agent.database import CardFailed, DatabaseError, Full, transaction
from diemcau_agent.model import Claims
from diemcau_agent.spool import Spool

log = logging.getLogger(__name__)

KEEP = 1000
"""Commands kept once they are answered. A replay that is older is stopped by its nonce or its expiry, one of
this session by its memory of as many."""
KEEP_ANSWER_BYTES = 8 * 1024 * 1024
UNTOLD = (8, 500)
"""Commands that one may die on, and the events among which they are looked for."""
MEMORY_LIMIT = 256
"""Commands that memory takes while the card takes none."""
_PRUNE_EVERY = 20
_COMMAND = "command (id, claims, intent, answer) VALUES (?, ?, ?, ?)"
DAY_S = 86_400.0


class Entry(msgspec.Struct, frozen=True):
    """``claims``: as they came, JSON. ``intent``: what a restart wrote down before it happened.
    ``answer``: the last reply, JSON; None while the command runs, or where it was cut short."""

    id: str
    claims: bytes
    intent: dict[str, Any] | None
    answer: bytes | None


class Journal:
    """Every method may raise DatabaseError.

    While the card takes nothing, memory is the journal, so that a room can still be commanded: then an id
    runs once in this session of the agent, and what is left in memory is written down with the next entry
    that the card takes.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._finished = 0
        self._known: set[str] | None = None
        """Ids that may be on the card; what is not in it certainly is not, which spares most looks."""
        self._memory: dict[str, Entry] = {}
        """Those that the card has not taken."""
        self._open: dict[str, Entry] = {}
        """Those that run, and are on the card."""
        self._recent: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=KEEP))
        """By verb, the ids of this session, whatever the card forgets of them: a replay may still be in its
        time, and whoever may only ask for logs could push a restart out of the card by asking a lot."""
        self._restarts: list[tuple[str, float]] = []

    async def accept(
        self, command_id: str, claims: bytes, intent: Mapping[str, Any] | None, verb: str = ""
    ) -> None:
        """Write it down, on the card when this returns. An id that is there already is a DatabaseError."""
        await self._insert(Entry(command_id, claims, None if intent is None else dict(intent), None))
        self._recent[verb].append(command_id)

    async def record(self, command_id: str, claims: bytes, answer: bytes) -> None:
        """Both in one: a command that was answered at once."""
        await self._insert(Entry(command_id, claims, None, answer))

    async def finish(self, command_id: str, answer: bytes) -> None:
        entry = self._memory.get(command_id) or self._open.pop(command_id, None)
        answered = None if entry is None else msgspec.structs.replace(entry, answer=answer)
        if answered is not None and command_id in self._memory:
            self._memory[command_id] = answered
            return

        def write(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute("UPDATE command SET answer = ? WHERE id = ?", (answer, command_id))

        try:
            await self._spool.run(write)
        except (CardFailed, Full):
            if answered is None:
                raise
            self._remember(answered)
            return
        await self._prune()

    async def find(self, command_id: str) -> Entry | None:
        if command_id in self._memory:
            return self._memory[command_id]
        if self._known is None:
            recent = set[str]().union(*self._recent.values())
            try:
                self._known = recent | await self._spool.run(
                    lambda db: {row[0] for row in db.execute("SELECT id FROM command")}
                )
            except (CardFailed, Full) as error:
                if command_id in recent:
                    raise DatabaseError(f"the entry of {command_id} cannot be read: {error}") from error
                return None
        if command_id not in self._known:
            return None
        entries = await self._select("WHERE id = ?", command_id)
        if not entries:  # damaged, or of a spool that was lost: it ran, so it does not run again
            raise DatabaseError(f"the entry of {command_id} cannot be read")
        return entries[0]

    async def unfinished(self) -> list[Entry]:
        """What was cut short, oldest first."""
        left = await self._select("WHERE answer IS NULL")
        return left + [entry for entry in self._memory.values() if entry.answer is None]

    async def untold(self) -> list[Entry]:
        """Those lately answered that no event on the card tells, oldest first."""
        left = await self._select(
            """WHERE answer IS NOT NULL AND age > (SELECT max(age) FROM command) - ?
               AND NOT EXISTS (SELECT 1 FROM event WHERE seq > (SELECT max(seq) FROM event) - ?
                               AND instr(payload, CAST(command.id AS BLOB)))""",
            *UNTOLD,
        )
        return [entry for entry in left if entry.answer is not None]

    async def note_restart(self, target: str, wall_s: float) -> None:
        def write(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute("INSERT INTO restart VALUES (?, ?)", (target, wall_s))
                db.execute("DELETE FROM restart WHERE abs(wall_s - ?) > ?", (wall_s, 2 * DAY_S))

        try:
            await self._spool.run(write)
        except (CardFailed, Full):
            self._restarts.append((target, wall_s))

    async def restarts(self, target: str, wall_s: float) -> int:
        """How many there were in the day before ``wall_s``. One that lies ahead counts too: the clock of a
        Pi may have gone back since."""
        in_memory = sum(name == target and abs(at_s - wall_s) < DAY_S for name, at_s in self._restarts)
        try:
            on_card: int = await self._spool.run(
                lambda db: db.execute(
                    "SELECT count(*) FROM restart WHERE target = ? AND abs(wall_s - ?) < ?",
                    (target, wall_s, DAY_S),
                ).fetchone()[0]
            )
        except (CardFailed, Full):
            on_card = 0
        return on_card + in_memory

    async def _insert(self, entry: Entry) -> None:
        if self._known is not None:
            self._known.add(entry.id)
        memory = dict(self._memory)

        def write(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute(f"INSERT INTO {_COMMAND}", _row(entry))
                for other in memory.values():  # one that timed out may be there by now
                    db.execute(f"INSERT OR REPLACE INTO {_COMMAND}", _row(other))

        try:
            await self._spool.run(write)
        except (CardFailed, Full) as error:
            log.error("command %s is written down in memory alone: %s", entry.id, error)
            self._remember(entry)
            return
        if entry.answer is None:
            self._open[entry.id] = entry
        for command_id, other in memory.items():
            if self._memory.get(command_id) is other:  # else it has been answered meanwhile
                del self._memory[command_id]
        if entry.answer is not None:
            await self._prune()

    def _remember(self, entry: Entry) -> None:
        if len(self._memory) >= MEMORY_LIMIT:
            raise Full(f"memory holds {MEMORY_LIMIT} commands that the card has not taken")
        self._memory[entry.id] = entry

    async def _prune(self) -> None:
        self._finished += 1
        if self._finished % _PRUNE_EVERY == 0:
            await self._spool.run(_prune)
            self._known = None

    async def _select(self, where: str, *parameters: str | int) -> list[Entry]:
        def read(db: sqlite3.Connection) -> list[Entry]:
            query = f"SELECT id, claims, intent, answer FROM command {where} ORDER BY age"
            return [entry for row in db.execute(query, parameters) if (entry := _entry(*row)) is not None]

        return await self._spool.run(read)


def _row(entry: Entry) -> tuple[str, bytes, str | None, bytes | None]:
    intent = None if entry.intent is None else json.dumps(entry.intent)
    return entry.id, entry.claims, intent, entry.answer


def _entry(command_id: object, claims: object, intent: object, answer: object) -> Entry | None:
    """None for a row that the card has damaged."""
    try:
        if not isinstance(command_id, str) or not isinstance(claims, bytes):
            raise TypeError("it is of another type")
        if not isinstance(answer, bytes | None):
            raise TypeError("its answer is of another type")
        msgspec.json.decode(claims, type=Claims)
        if answer is not None:
            msgspec.json.decode(answer)
        told = None if intent is None else msgspec.json.decode(str(intent), type=dict[str, Any])
    except (ValueError, TypeError) as error:
        log.error("the entry of command %r is damaged: %s", command_id, error)
        return None
    return Entry(command_id, claims, told, answer)


def _prune(db: sqlite3.Connection) -> None:
    db.execute(  # one statement is a transaction of its own
        """DELETE FROM command WHERE age IN (
               SELECT age FROM (
                   SELECT age, row_number() OVER newest AS place, sum(length(answer)) OVER newest AS bytes
                   FROM command WHERE answer IS NOT NULL WINDOW newest AS (ORDER BY age DESC))
               WHERE place > ? OR bytes > ?)""",
        (KEEP, KEEP_ANSWER_BYTES),
    )
