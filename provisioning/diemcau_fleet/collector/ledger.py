"""What the collector knows, and what of it is not yet on disk. Pure: no I/O, no clock.

:meth:`Ledger.take` judges one message; what it changes gathers in :attr:`Ledger.batch`, which the store
commits in one transaction before anything of it is acknowledged. Where that fails the ledger is ahead of the
disk and is thrown away with its process.
"""

from __future__ import annotations

from typing import Any

import msgspec

from diemcau_agent.model import Document, Lasting, Reply, Spooled, Status

from . import gaps, spools, times
from .batch import Batch, Boot, Counts, Loss, Refusal, Row
from .gaps import HISTORY, Key, Tracker
from .presence import SLOTS, Held, Presence, Slot, presence, supersedes
from .reading import LARGEST, Birth, Dropped, Event, Health, Rejected, Replaced, Selftest, read
from .spools import Spools

BOOTS_LIMIT = 16
"""Of a point, that are kept in mind; the store knows all."""


class Ledger:
    """``history``: how many documents before the first one seen of a spool count as missing."""

    def __init__(self, history: int = HISTORY) -> None:
        self._history = history
        self.spools = Spools()
        self.boots: dict[str, dict[str, Boot]] = {}
        """By point, the newest."""
        self.trackers: dict[Key, Tracker] = {}
        self.open: dict[Key, Tracker] = {}
        """Those with gaps."""
        self.held: dict[tuple[str, Slot], Held] = {}
        self.batch = Batch()
        self.counts = Counts()

    def take(self, topic: str, payload: bytes, now_ms: int, *, live: bool) -> Reply | None:
        """Judge one message; the reply, where it is one. ``live``: published just now, not a kept copy."""
        try:
            envelope = read(topic, payload)
            if isinstance(envelope.document, Spooled):
                self._bear(envelope.point, envelope.document)
        except Rejected as error:
            self.counts.rejected += 1
            self.batch.refusals.append(Refusal(now_ms, topic, str(error), payload))
            return None
        point, document = envelope.point, envelope.document
        if document is None:
            self._clear(point, envelope.name)
            return None
        if isinstance(document, Spooled):
            self._spool(point, document)
        time_ms = self._time(point, document, envelope.time_ms)
        if isinstance(document, Spooled):
            self._number(point, document, envelope.time_ms, time_ms, now_ms, payload)
        elif isinstance(document, Reply):
            return document
        else:
            self._hold(point, document, time_ms, now_ms, live, payload)
        return None

    def add_boot(self, point: str, uuid: str, boot: Boot) -> Boot:
        """Newer than those that are known; the oldest that no held document needs is forgotten for it."""
        boots = self.boots.setdefault(point, {})
        boots[uuid] = boot
        if len(boots) > BOOTS_LIMIT:
            needed = {held.boot for slot in SLOTS if (held := self.held.get((point, slot))) is not None}
            del boots[next(uuid for uuid in boots if uuid not in needed)]
        return boot

    def lose(self, key: Key, first: int, last: int, reason: str) -> None:
        """``first`` to ``last`` will not come."""
        tracker = self._tracker(key, first)
        for gap in tracker.close(first, last):
            self.batch.losses.append(Loss(key, gap, reason))
            self.counts.lost += gap.documents
        self._tend(key, tracker)

    def presence(self, point: str, now_ms: int) -> Presence:
        held = self.held
        return presence(
            held.get((point, "birth")), held.get((point, "status")), held.get((point, "lost")), now_ms
        )

    def _bear(self, point: str, document: Spooled) -> None:
        """Raises Rejected for what no kit sends, but would fill our memory."""
        known = self.spools.of(point)
        if document.spool not in known and len(known) >= spools.LIMIT:
            raise Rejected(f"spool: got one more of this point, expected {spools.LIMIT} at most")
        tracker = self.trackers.get(_key(point, document))
        if tracker is not None and not tracker.bears(document.seq):
            raise Rejected(f"seq: got one more gap, expected {gaps.RANGES_LIMIT} in a stream at most")

    def _spool(self, point: str, document: Spooled) -> None:
        known = self.spools.of(point)
        if document.spool not in known:
            self.batch.spools |= {(point, uuid) for uuid in self.spools.add(point, document.spool)}
            known = self.spools.of(point)
        boot = self._boot(point, document.boot)
        if self._order(point, boot) < known[document.spool].order:
            boot.spool = document.spool
            self.batch.boots[point, document.boot] = boot

    def _boot(self, point: str, uuid: str) -> Boot:
        return self.boots.get(point, {}).get(uuid) or self.add_boot(point, uuid, Boot())

    def _order(self, point: str, boot: Boot | None) -> int:
        """Of the newest spool seen in it; 0 where that is not known."""
        return 0 if boot is None or boot.spool is None else self.spools.of(point)[boot.spool].order

    def _time(self, point: str, document: Document, time_ms: int) -> int | None:
        synced = document.clock == "synced"
        boot = self._boot(point, document.boot)
        if synced and boot.offset_ms is None:
            boot.offset_ms = times.offset_ms(time_ms, document.mono_ms)
            self.batch.boots[point, document.boot] = boot
            self.batch.corrected[point, document.boot] = boot.offset_ms
            for slot in SLOTS:
                held = self.held.get((point, slot))
                if held is not None and held.boot == document.boot and held.time_ms is None:
                    corrected_ms = held.mono_ms + boot.offset_ms
                    self.held[point, slot] = msgspec.structs.replace(held, time_ms=corrected_ms)
        return times.corrected_ms(time_ms, document.mono_ms, synced=synced, offset=boot.offset_ms)

    def _number(
        self,
        point: str,
        document: Spooled,
        time_ms: int,
        corrected_ms: int | None,
        now_ms: int,
        payload: bytes,
    ) -> None:
        event = document if isinstance(document, Event) else None
        key = _key(point, document)
        tracker = self._tracker(key, document.seq)
        late = document.seq < tracker.top
        if not tracker.take(document.seq):
            self.counts.duplicates += 1
            return
        self.counts.documents += 1
        self.counts.late += late
        self.batch.rows.append(
            Row(
                key=key,
                seq=document.seq,
                session=document.session,
                boot=document.boot,
                mono_ms=document.mono_ms,
                clock=document.clock,
                time_ms=time_ms,
                time_corrected_ms=corrected_ms,
                arrived_ms=now_ms,
                kind=None if event is None else event.kind,
                payload=payload,
            )
        )
        self._tend(key, tracker)
        if event is not None and event.kind == "dropped":
            self._dropped(key, event.data)
        elif event is not None and event.kind == "spool_replaced":
            self._replaced(event)

    def _dropped(self, key: Key, data: Any) -> None:
        try:
            told = msgspec.convert(data, Dropped)
        except msgspec.ValidationError:
            return  # the event is kept as it came; whoever reads it sees what it says
        spool = told.spool or key.spool
        # Of a spool that we have nothing of nothing is missed; which of a range with less than all of its
        # numbers are gone only the point can tell: its answer to `resend` does.
        if spool not in self.spools.of(key.point) or not 1 <= told.first <= told.last <= LARGEST:
            return
        lost = Key(key.point, spool, told.stream)
        few = lost not in self.trackers or len(self.trackers[lost].lost) < gaps.RANGES_LIMIT
        if few and told.count in (None, told.last - told.first + 1):
            self.lose(lost, told.first, told.last, told.reason or "dropped")

    def _replaced(self, event: Event) -> None:
        try:
            before = msgspec.convert(event.data, Replaced).previous
        except msgspec.ValidationError:
            return
        if before is not None:
            changed = self.spools.replaces(event.point, event.spool, before)
            self.batch.spools |= {(event.point, uuid) for uuid in changed}
            self._spool(event.point, event)  # its boot may have seen both

    def _hold(
        self, point: str, document: Document, time_ms: int | None, now_ms: int, live: bool, payload: bytes
    ) -> None:
        says = _says(document)
        slot: Slot = says[0]
        new = Held(
            boot=document.boot,
            session=document.session,
            mono_ms=document.mono_ms,
            connection=document.connection,
            valid_s=document.valid_s if isinstance(document, Lasting) else 0,
            time_ms=time_ms,
            arrived_ms=now_ms,
            live=live,
            says=says[1],
            nonce=document.nonce if isinstance(document, Status) else None,
        )
        held = self.held.get((point, slot))
        boots = self.boots[point]
        orders = [self._order(point, boots.get(entry.boot)) for entry in (new, held) if entry is not None]
        if supersedes(new, held, orders[0], orders[-1]):
            self.held[point, slot] = new
            self.batch.held[point, slot] = (new, payload)

    def _clear(self, point: str, name: str) -> None:
        """A kit that is retired takes its retained documents with it; what it reported stays."""
        for slot in SLOTS:
            if slot == name or (slot, name) == ("lost", "status"):
                self.held.pop((point, slot), None)
                self.batch.held[point, slot] = None

    def _tracker(self, key: Key, first: int) -> Tracker:
        tracker = self.trackers.get(key)
        if tracker is None:
            tracker = self.trackers[key] = Tracker(max(1, first - self._history))
        return tracker

    def _tend(self, key: Key, tracker: Tracker) -> None:
        self.batch.trackers.add(key)
        if tracker.whole:
            self.open.pop(key, None)
        else:
            self.open.setdefault(key, tracker)


def _key(point: str, document: Spooled) -> Key:
    return Key(point, document.spool, "event" if isinstance(document, Event) else "telemetry")


def _says(document: Document) -> tuple[Slot, str]:
    """Where a retained document is held, and what it says in a word."""
    match document:
        case Birth():
            return "birth", document.commands
        case Status():
            return ("lost" if document.status == "lost" else "status"), document.status
        case Health():
            return "health", document.readiness
        case Selftest():
            return "selftest", document.result
        case _:
            raise TypeError(f"{type(document).__name__} is not retained")
