"""What leaves the room: events and telemetry through the spool, health on change and as a heartbeat."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from .audit.chain import AUDITED
from .audit.record import Audit
from .broker import Broker
from .clock import Clock, wait
from .database import DatabaseError
from .model import Event, Telemetry, encode
from .mqtt import Connection
from .spool import FLUSH_CONFERENCE_S, FLUSH_REST_S, Drop, Record, Replaced, Spool
from .stamp import Stamp
from .telemetry import Window
from .topics import point

log = logging.getLogger(__name__)

TELEMETRY_S = 60.0
DRAIN_PAUSE_S = 0.05
"""At most 20 messages a second while catching up, so that live traffic goes first."""
IN_FLIGHT = 4
"""Documents on their way at once: so a round trip of 200 ms makes catching up no slower."""
BATCH = 16
COALESCE_S = 0.1
"""A device that changes takes others with it (a cable has two ends): one document for all."""
RECENT = 20
SPOOL_RETRY_S = 30.0
"""After the spool could not be read."""
AUDITED_S = 2.0
"""How long an event waits for its own entry to be on the card, so as to carry its hash."""


class Outbox:
    """Writes events and telemetry into the spool and drains it while there is a connection."""

    def __init__(
        self,
        spool: Spool,
        stamp: Stamp,
        clock: Clock,
        window: Window,
        conference: Callable[[], bool] = lambda: False,
        audit: Audit | None = None,
    ) -> None:
        """``audit``: takes the events of :data:`.audit.AUDITED` too, and they carry its newest head."""
        self._spool = spool
        self._audit = audit
        self._conference = conference
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
        if self._audit is not None and kind in AUDITED:
            told = {"device": device, "code": code, "from": from_, "to": to, **(data or {})}
            self._audit.note(kind, {name: value for name, value in told.items() if value is not None})
        try:
            self._queue.put_nowait((self._stamp.fields(Event), what))
        except asyncio.QueueFull:
            log.error("event lost, the spool takes none: %s", what)
            self._spool.forgo("event")

    async def run(self) -> None:
        """Commit what is told, until cancelled."""
        while True:
            await self._tell_losses()
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
        if self._audit is not None and what["kind"] in AUDITED:
            await self._audit.settle(AUDITED_S)
            if self._audit.head is not None:
                what["data"]["audit"] = msgspec.to_builtins(self._audit.head)

        def event(spool: str, seq: int) -> Event:
            return Event(**fields, spool=spool, seq=seq, **what)

        seq = await self._spool.append("event", lambda spool, seq: encode(event(spool, seq)))
        self._tell_listeners(event(self._spool.uuid, seq or 0))

    def _tell_listeners(self, *events: Event) -> None:
        self.recent.extend(events)
        self._news.set()
        for listener in self.listeners:
            listener()

    async def _tell_losses(self) -> None:
        """What the spool lost, and that it is another one, as events of their own."""
        if not self._spool.news:
            return
        fields = self._stamp.fields(Event)
        told: dict[tuple[str, int], Event] = {}

        def describe(fact: Drop | Replaced) -> Callable[[str, int], bytes]:
            kind = "dropped" if isinstance(fact, Drop) else "spool_replaced"

            def build(spool: str, seq: int) -> bytes:
                event = Event(**fields, spool=spool, seq=seq, kind=kind, data=msgspec.to_builtins(fact))
                told[spool, seq] = event
                return encode(event)

            return build

        try:
            await self._spool.tell(describe)
        except DatabaseError as error:
            log.error("spool: %s", error)
        self._tell_listeners(*told.values())

    async def measure(self) -> None:
        """One telemetry document a minute, flushed to the card in batches; the spool is looked after."""
        flushed = self._clock.monotonic()
        while True:
            await self._clock.sleep(TELEMETRY_S)
            series = self._window.take()
            fields = self._stamp.fields(Telemetry)

            def document(spool: str, seq: int, fields: Any = fields, series: Any = series) -> Telemetry:
                return Telemetry(**fields, spool=spool, seq=seq, window_s=int(TELEMETRY_S), series=series)

            for listener in self.measured:
                listener(document(self._spool.uuid, 0))

            def build(spool: str, seq: int, document: Any = document) -> bytes:
                return encode(document(spool, seq))

            await self._spool.append("telemetry", build)
            await self._spool.tend()
            await self._tell_losses()
            every_s = FLUSH_CONFERENCE_S if self._conference() else FLUSH_REST_S
            if self._clock.monotonic() - flushed >= every_s:
                try:
                    await self._spool.flush()
                    flushed = self._clock.monotonic()
                except DatabaseError as error:
                    log.error("telemetry waits: %s", error)
            self._news.set()

    async def drain(self, connection: Connection) -> None:
        """Publish what the spool holds, oldest first, as long as ``connection`` lasts.

        Raises ConnectionLost. A spool that cannot be read is tried again: the rest goes on without it.
        """
        while True:
            self._news.clear()
            try:
                records = await self._spool.pending(BATCH)
                await self._send(connection, records)
            except DatabaseError as error:
                log.error("spool: %s; again in %g s", error, SPOOL_RETRY_S)
                await self._clock.sleep(SPOOL_RETRY_S)
                continue
            if not records:  # fewer than asked for is not all: what the card has damaged is passed over
                await self._news.wait()

    async def _send(self, connection: Connection, records: Sequence[Record]) -> None:
        """In their order, :data:`IN_FLIGHT` at once, each acknowledged once all before it are."""
        on_their_way: deque[tuple[Record, asyncio.Future[None]]] = deque()
        next_s = self._clock.monotonic()
        try:
            for record in records:
                if len(on_their_way) == IN_FLIGHT:
                    await self._delivered(*on_their_way.popleft())
                topic = point(self._stamp.point, record.stream)
                on_their_way.append(
                    (record, asyncio.ensure_future(connection.publish(topic, record.payload)))
                )
                if len(records) > 1:
                    next_s = max(next_s + DRAIN_PAUSE_S, self._clock.monotonic())
                    await self._clock.sleep(next_s - self._clock.monotonic())
            while on_their_way:
                await self._delivered(*on_their_way.popleft())
        finally:
            for _, left in on_their_way:
                left.cancel()

    async def _delivered(self, record: Record, sent: asyncio.Future[None]) -> None:
        await sent
        await self._spool.acknowledge(record)


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
