"""What must outlive a crash: the front end, on the event loop.

A document is *acknowledged* once it is committed (docs/wire.md). Events commit at once. Telemetry waits in
memory and is committed by :meth:`Spool.flush`, by the next event, or when :data:`BATCH` of it waits: SD cards
wear, and fifty records in one commit write a tenth of what they write alone. A document gets its number when
it is committed, and only what is committed is ever handed out: within a stream ``seq`` grows by exactly one,
and a number that anybody has seen never comes back.

A card that takes nothing (full, read-only, broken) or does not answer keeps documents waiting, in memory, up
to :data:`WAITING_LIMIT`; then telemetry goes first, the oldest of it, and events only after. The first commit
that succeeds takes all that waits along, and what had to go is told by an event. Nobody waits for the card
longer than ``blocked_s``: what is not done by then raises Blocked, and may still come to pass.

A delivered document only moves its stream's cursor; its row stays until the spool needs the room. The cursor
is committed with the next documents, so a crash may deliver some twice: (point, spool, stream, seq) is
unique, and the reader drops what it has seen.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from diemcau_agent.database import Blocked, DatabaseError, DiskThread, Locked

from .card import Card
from .store import Store, Unbuildable
from .tables import Build, Document, Drop, Record, Replaced
from .waiting import Item, Waiting

log = logging.getLogger(__name__)

FLUSH_REST_S = 600.0
FLUSH_CONFERENCE_S = 60.0
"""How old telemetry may grow in memory, at rest and while a conference is on (docs/wire.md)."""
BATCH = 50
MAX_BYTES = 64 * 1024 * 1024
OPEN_S = 8.0
BLOCKED_S = 10.0
"""How long opening, and anything else, may take before nobody waits any more."""
_COMMIT = 2 * BATCH
"""Documents in one transaction, so that no log grows far."""
_CURSOR_LAG = 64
"""Deliveries after which the cursors are committed though nothing else is to be written."""

T = TypeVar("T")


class Spool:
    """Opened by :meth:`open`, closed by :meth:`close`. Methods that ask the card raise DatabaseError."""

    def __init__(self, path: Path, max_bytes: int, open_s: float, blocked_s: float) -> None:
        self._path = path
        self._open_s = open_s
        self._blocked_s = blocked_s
        self._thread = DiskThread("spool")
        self._card = Card(path, max_bytes)
        self._waiting = Waiting()
        self._failing = False

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        max_bytes: int = MAX_BYTES,
        open_s: float = OPEN_S,
        blocked_s: float = BLOCKED_S,
    ) -> Spool:
        """Raises Locked. A card that fails otherwise is tried again by :meth:`tend`."""
        spool = cls(path, max_bytes, open_s, blocked_s)
        try:
            await spool._ask(spool._card.open, open_s)
        except Locked:
            spool._thread.end()
            raise
        except DatabaseError as error:
            spool._note_failure(error)
        return spool

    @property
    def uuid(self) -> str:
        """Of the database in force; empty where none could be opened yet."""
        store = self._card.store
        return "" if store is None else store.uuid

    @property
    def busy_since_s(self) -> float | None:
        """``time.monotonic()`` when the disk call began that is under way; None while there is none."""
        return self._thread.busy_since_s

    @property
    def alive(self) -> bool:
        """Whether the disk's thread takes work, or sits in a disk call."""
        return self._thread.alive

    @property
    def news(self) -> bool:
        """Whether there is something for :meth:`tell`."""
        store = self._card.store
        return store is not None and not self._failing and (store.losses.any or bool(self._waiting.lost))

    # --- Documents

    async def append(self, stream: str, build: Build) -> int | None:
        """Keep a document: its ``seq``, or None while it waits in memory.

        ``build(spool, seq)`` makes the payload, in the disk's thread; where it raises, no number is used.
        """
        self._waiting.append(Document(stream, build))
        if stream == "telemetry" and len(self._waiting) % BATCH:
            return None
        try:
            return (await self._commit())[-1]
        except DatabaseError as error:
            self._note_failure(error)
            return None

    def forgo(self, stream: str) -> None:
        """A document that could not even wait: counted, and told."""
        self._waiting.lost[stream] += 1

    async def flush(self) -> None:
        """Commit the documents and the cursors that wait."""
        store = self._card.store
        if self._waiting or (store is not None and store.unsaved):
            await self._commit()

    async def pending(self, limit: int) -> list[Record]:
        """At most ``limit`` committed documents that are not delivered: those of broken spools first, then
        oldest first across the streams."""
        return await self._do(lambda store: store.pending(limit))

    async def range(self, stream: str, first: int, last: int, limit: int) -> list[Record]:
        """Of the numbers from ``first`` to ``last`` of this spool what is still there, at most ``limit``."""
        return await self._do(lambda store: store.range(stream, first, last, limit))

    async def newest(self, stream: str, limit: int) -> list[bytes]:
        """The last ``limit`` committed documents of ``stream``, delivered or not, oldest of them first."""
        return await self._do(lambda store: store.newest(stream, limit))

    async def acknowledge(self, record: Record) -> None:
        """This document, and all before it of its stream in its spool, were delivered. Never moves back.

        Raises ValueError for a number that was never handed out.
        """

        def move(store: Store) -> bool:
            store.acknowledge(record)
            return store.unsaved > 0 and store.unsaved % _CURSOR_LAG == 0

        if await self._do(move):
            try:
                await self._commit()
            except DatabaseError as error:  # the cursor has moved all the same
                self._note_failure(error)

    async def tell(self, describe: Callable[[Drop | Replaced], Build]) -> None:
        """Keep an event for each loss that has not been told, and for a new spool. ``describe`` gives what
        builds the event."""
        lost, self._waiting.lost = self._waiting.lost, Counter()
        for stream, count in sorted(lost.items()):
            drop = Drop(self.uuid, stream, None, None, count, "io_error")
            await self.append("event", describe(drop))
        await self._do(lambda store: store.tell(describe))

    # --- Values

    async def next_session(self) -> int:
        """One more at each start of the agent, on the card before it is told.

        A card that takes nothing gives minutes since 1970: more than any count, so that it does not go back.
        """
        try:
            return await self._ask(self._card.next_session, self._blocked_s)
        except DatabaseError as error:
            self._note_failure(error)
            self._card.session = max(self._card.session + 1, int(time.time() // 60))
            return self._card.session

    async def get(self, key: str) -> str | None:
        return await self._do(lambda store: store.get(f"value.{key}"))

    async def put(self, key: str, value: str) -> None:
        await self._do(lambda store: store.put(f"value.{key}", value))

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """``work(connection)`` in the disk's thread, for what has tables of its own here. It must leave no
        trace where it fails: it may be tried again, on another database."""
        return await self._do(lambda store: work(store.db))

    # --- Its life

    async def tend(self) -> None:
        """To be called each minute: opens again what failed, and commits what a failing card kept waiting.
        Raises nothing."""
        try:
            await self._ask(self._card.tend, self._open_s)
            if self._failing or self._waiting.urgent:
                await self._commit()
        except DatabaseError as error:
            self._note_failure(error)

    async def close(self) -> None:
        """Commit what waits, then close: the orderly stop. It never waits long for a card."""
        try:
            await self.flush()
        finally:
            try:
                await self._ask(self._card.close, self._blocked_s)
            finally:
                self._thread.end()

    # --- Asking the card

    async def _do(self, work: Callable[[Store], T]) -> T:
        return await self._ask(lambda: self._card.run(work), self._blocked_s)

    async def _ask(self, work: Callable[[], T], bound_s: float) -> T:
        """Cancelling the wait does not stop the work."""
        self._refuse_while_blocked()
        return await self._await(self._submit(work), bound_s)

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        future = asyncio.wrap_future(self._thread.submit(work))
        future.add_done_callback(_seen)
        return future

    async def _await(self, future: asyncio.Future[T], bound_s: float) -> T:
        done, _ = await asyncio.wait({future}, timeout=bound_s)
        if not done:
            raise Blocked(f"{self._path}: the card has not answered in {bound_s:g} s")
        return future.result()

    def _refuse_while_blocked(self) -> None:
        since_s = self._thread.busy_since_s
        if since_s is not None and (busy_s := time.monotonic() - since_s) > self._blocked_s:
            raise Blocked(f"{self._path}: the card has not answered for {busy_s:.0f} s")

    async def _commit(self) -> list[int]:
        """All that waits, and the cursors; the numbers. What fails waits on, be it long after."""
        self._refuse_while_blocked()
        numbers: list[int] = []
        for future in [self._submit_batch(batch) for batch in self._waiting.take(_COMMIT)]:
            try:
                numbers += await self._await(future, self._blocked_s)
            except Unbuildable as error:
                raise (error.__cause__ or error) from None
        return numbers

    def _submit_batch(self, batch: list[Item]) -> asyncio.Future[list[int]]:
        documents = [item.document for item in batch]
        future = self._submit(lambda: self._card.run(lambda store: store.commit(documents)))
        future.add_done_callback(partial(self._ended, batch))
        return future

    def _ended(self, batch: list[Item], future: asyncio.Future[list[int]]) -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            if self._failing:
                log.warning("%s: the card takes documents again", self._path)
            self._failing = False
        elif isinstance(error, Unbuildable):
            self._waiting.put_back([item for item in batch if item.document is not error.document])
        elif isinstance(error, DatabaseError):
            self._note_failure(error)
            self._waiting.put_back(batch)
        else:
            log.error("%s: %d documents are not kept", self._path, len(batch), exc_info=error)

    def _note_failure(self, error: DatabaseError) -> None:
        if not self._failing:
            log.error("%s: %s; documents wait in memory", self._path, error)
        self._failing = True


def _seen(future: asyncio.Future[T]) -> None:
    """An answer that nobody waits for any more is no news."""
    if not future.cancelled():
        future.exception()
