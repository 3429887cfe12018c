"""What leaves the room: events and telemetry through the spool, health on change and as a heartbeat."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from .broker import Broker
from .clock import Clock, wait
from .database import DatabaseError
from .model import Event, Telemetry, encode
from .mqtt import Connection
from .spool import FLUSH_REST_S, Spool
from .stamp import Stamp
from .telemetry import Window
from .topics import point

log = logging.getLogger(__name__)

TELEMETRY_S = 60.0
DRAIN_PAUSE_S = 0.05
"""At most 20 messages a second while catching up, so that live traffic goes first."""
BATCH = 16
COALESCE_S = 0.1
"""A device that changes takes others with it (a cable has two ends): one document for all."""
RECENT = 20
SPOOL_RETRY_S = 30.0
"""After the spool could not be read."""


class Outbox:
    """Writes events and telemetry into the spool and drains it while there is a connection."""

    def __init__(self, spool: Spool, stamp: Stamp, clock: Clock, window: Window) -> None:
        self._spool = spool
        self._stamp = stamp
        self._clock = clock
        self._window = window
        self._queue: asyncio.Queue[tuple[dict[str, Any], dict[str, Any]]] = asyncio.Queue(1000)
        self._news = asyncio.Event()
        self.recent: deque[Event] = deque(maxlen=RECENT)
        self.listeners: list[Callable[[], None]] = []
        self.measured: list[Callable[[Telemetry], None]] = []
        """Called with each minute's telemetry."""

    def tell(
        self,
        kind: str,
        *,
        device: str | None = None,
        code: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """An event, stamped now and committed in order by :meth:`run`; never blocks."""
        what = {
            "kind": kind,
            "device": device,
            "code": code,
            "from_": from_,
            "to": to,
            "data": dict(data or {}),
        }
        try:
            self._queue.put_nowait((self._stamp.fields(Event), what))
        except asyncio.QueueFull:
            log.error("event lost, the spool takes none: %s", what)

    async def run(self) -> None:
        """Commit what is told, until cancelled."""
        while True:
            fields, what = await self._queue.get()
            await self._commit(fields, what)
            self._queue.task_done()

    async def settle(self, timeout_s: float) -> None:
        """Wait until everything told so far is committed, or the time is up (:meth:`run` does the work)."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        except TimeoutError:
            log.warning("%d events not committed in %.0f s", self._queue.qsize(), timeout_s)

    async def _commit(self, fields: dict[str, Any], what: dict[str, Any]) -> None:
        def build(seq: int) -> bytes:
            events.append(Event(**fields, spool=self._spool.uuid, seq=seq, **what))
            return encode(events[-1])

        events: list[Event] = []
        try:
            await self._spool.append("event", build)
        except DatabaseError as error:
            log.error("event not committed: %s: %s", error, what)
        self.recent.extend(events[-1:])
        self._news.set()
        for listener in self.listeners:
            listener()

    async def measure(self) -> None:
        """One telemetry document a minute, flushed to the card in batches."""
        flushed = self._clock.monotonic()
        while True:
            await self._clock.sleep(TELEMETRY_S)
            series = self._window.take()
            fields = self._stamp.fields(Telemetry)

            def document(seq: int, fields: dict[str, Any] = fields, series: Any = series) -> Telemetry:
                return Telemetry(
                    **fields, spool=self._spool.uuid, seq=seq, window_s=int(TELEMETRY_S), series=series
                )

            for listener in self.measured:
                listener(document(0))

            try:
                await self._spool.append("telemetry", lambda seq: encode(document(seq)))
                if self._clock.monotonic() - flushed >= FLUSH_REST_S:
                    await self._spool.flush()
                    flushed = self._clock.monotonic()
            except DatabaseError as error:
                log.error("telemetry not kept: %s", error)
            self._news.set()

    async def drain(self, connection: Connection) -> None:
        """Publish what the spool holds, oldest first, as long as ``connection`` lasts.

        Raises ConnectionLost. A spool that cannot be read is tried again: the rest goes on without it.
        """
        while True:
            self._news.clear()
            try:
                records = await self._spool.pending(BATCH)
                for record in records:
                    await connection.publish(point(self._stamp.point, record.stream), record.payload)
                    await self._spool.acknowledge(record.stream, record.seq)
                    if len(records) > 1:
                        await self._clock.sleep(DRAIN_PAUSE_S)
            except DatabaseError as error:
                log.error("spool: %s; again in %g s", error, SPOOL_RETRY_S)
                await self._clock.sleep(SPOOL_RETRY_S)
                continue
            if len(records) < BATCH:
                await self._news.wait()


class Heartbeat:
    """Publishes a retained document on change; with ``period_s`` at least so often, jittered by a tenth."""

    def __init__(
        self,
        name: str,
        broker: Broker,
        clock: Clock,
        document: Callable[[], bytes],
        period_s: float | None = None,
    ) -> None:
        self._name = name
        self._broker = broker
        self._clock = clock
        self._document = document
        self._period_s = period_s
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        while True:
            pause_s = None if self._period_s is None else self._period_s * random.uniform(0.9, 1.0)
            if await wait(self._clock, self._changed, pause_s):
                await self._clock.sleep(COALESCE_S)
            self._changed.clear()
            await self._broker.publish(self._name, self._document(), retain=True)
