"""The record of what was done to the room: noted at once, written in batches by a thread of its own.

Nobody waits for the card but who asks to (:meth:`Audit.settle`). Where the card fails, entries wait in
memory; past :data:`WAITING_LIMIT` they are counted, and the count becomes an entry. The head that events
carry is of what is on the card, so a power cut never makes it look as if somebody had cut the record.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from diemcau_agent.clock import Clock, wait
from diemcau_agent.model import Event
from diemcau_agent.stamp import Stamp

from .chain import LOST, Head, Noted, bounded
from .file import AuditFile

log = logging.getLogger(__name__)

BATCH_S = 0.5
"""What comes within so long is one write and one fsync: cards wear."""
RETRY_S = 30.0
CLOSE_S = 2.0
WAITING_LIMIT = 1000
_STAMPED = ("time", "clock", "boot", "session", "mono_ms")


class Audit:
    def __init__(self, directory: Path, stamp: Stamp, clock: Clock) -> None:
        self._stamp = stamp
        self._clock = clock
        self._file = AuditFile(directory)
        self._thread = ThreadPoolExecutor(1, "audit")
        self._waiting: deque[Noted] = deque()
        self._lost = 0
        self._news = asyncio.Event()
        self._urgent = asyncio.Event()
        self._turned = asyncio.Event()
        """Written, or given up for now."""
        self._writing: asyncio.Task[None] | None = None
        self._failing = False
        self.head: Head | None = None
        """Of the newest entry on the card; None before the first."""

    @property
    def busy(self) -> bool:
        """The card is being written."""
        return self._writing is not None and not self._writing.done()

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """An entry, stamped now; never blocks."""
        if len(self._waiting) < WAITING_LIMIT:
            self._waiting.append(self._noted(kind, bounded(data)))
        else:
            self._lost += 1
        self._news.set()

    async def settle(self, timeout_s: float) -> bool:
        """Whether all that was noted so far is on the card, by then at the latest (:meth:`run` does the
        work). False at once while the card is known to fail."""
        ends_s = self._clock.monotonic() + timeout_s
        while self._waiting or self._lost:
            left_s = ends_s - self._clock.monotonic()
            if self._failing or left_s <= 0:
                return False
            self._urgent.set()
            self._turned.clear()
            await wait(self._clock, self._turned, left_s)
        return True

    async def run(self) -> None:
        """Write what is noted, until cancelled."""
        while True:
            await self._news.wait()
            await wait(self._clock, self._urgent, RETRY_S if self._failing else BATCH_S)
            self._news.clear()
            self._urgent.clear()
            self._writing = asyncio.create_task(self._write(), name="audit written")
            await asyncio.shield(self._writing)

    async def aclose(self) -> None:
        """The last of it, once :meth:`run` has ended; a card that hangs is not waited for."""
        try:
            async with asyncio.timeout(CLOSE_S):
                if self._writing is not None:
                    await self._writing
                if self._waiting or self._lost:
                    await self._write()
                await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        except TimeoutError:
            log.error("audit: the card does not answer")
        if self._waiting or self._lost:
            log.error("audit: %d entries are lost", len(self._waiting) + self._lost)
        self._thread.shutdown(wait=False)

    async def _write(self) -> None:
        batch, lost = list(self._waiting), self._lost
        told = [*batch, self._noted(LOST, {"count": lost})] if lost else batch
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.append, told)
        except OSError as error:
            if not self._failing:
                log.error("audit: not written, and tried again: %s", error)
            self._failing = True
            self._news.set()
        else:
            for _ in batch:
                self._waiting.popleft()
            self._lost -= lost
            self._failing = False
            self.head = self._file.head
        self._turned.set()

    def _noted(self, kind: str, data: Mapping[str, Any]) -> Noted:
        fields = self._stamp.fields(Event)
        return Noted(**{name: fields[name] for name in _STAMPED}, kind=kind, data=data)
