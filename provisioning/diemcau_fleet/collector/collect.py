"""Collects what every point reports: exactly once, with every gap found, asked for, and repaired or told.

One thread: receive what has come, judge it (:mod:`.ledger`), commit it (:mod:`.store`), only then acknowledge
it; ask for what is missing (:mod:`.repair`). The broker keeps what comes meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Literal

import msgspec

from diemcau_agent import topics
from diemcau_agent.address import Address, Tls
from diemcau_agent.broker import Backoff
from diemcau_agent.clock import Clock
from diemcau_agent.model import Claims, encode
from diemcau_agent.mqtt import ConnectFailed, ConnectionLost, Message, Refused
from diemcau_fleet.session import Session

from .batch import Loss
from .ledger import Ledger
from .repair import Repair
from .store import Store

log = logging.getLogger(__name__)

EXPIRY_S = 24 * 3600
"""So long the broker keeps what comes while the collector is away."""
IDLE_S = 0.1
"""How long a quiet line is listened to before the stop and the gaps are looked at."""
REPAIR_PERIOD_S = 0.5
SPREAD_S = 1.0
"""A broker that comes back has its kits to take first."""


class Signer(msgspec.Struct, frozen=True):
    """``sign`` makes a command's payload of its claims; only points whose birth says ``kind`` take it."""

    kind: Literal["signed", "unsigned"]
    sign: Callable[[Claims], bytes]


UNSIGNED = Signer("unsigned", encode)
"""Plain JSON, which a kit believes in simulation only."""


class Collector:
    """``iss``: the id of its key, its MQTT client id too. Without a ``signer`` gaps are found and told, but
    nobody is asked. ``say`` gets a line of statistics every ``stats_s``."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        *,
        address: Address,
        tls: Tls,
        iss: str,
        signer: Signer | None,
        clock: Clock,
        say: Callable[[str], None],
        stats_s: float,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._address = address
        self._tls = tls
        self._iss = iss
        self._signer = signer
        self._clock = clock
        self._say = say
        self._stats_s = stats_s
        self._repair = Repair(iss, nonce_of=self._nonce_of, current_spool=ledger.spools.newest)
        self._repair_at_s = 0.0
        self._told_s = clock.monotonic()
        self._told_documents = 0
        self.trouble: str | None = "not connected yet"
        """Why there is no connection, None while there is one."""

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``. Raises DatabaseError: nothing that it could not write was acknowledged."""
        backoff = Backoff()
        while not stop.is_set():
            wait_s = self._attempt(stop, backoff)
            while wait_s > 0 and not stop.wait(min(wait_s, self._stats_s)):
                wait_s -= self._stats_s
                self._tell()

    def _attempt(self, stop: threading.Event, backoff: Backoff) -> float:
        """One connection, to its end; the seconds to wait before the next."""
        try:
            session = Session.open(
                self._address,
                client_id=self._iss,
                tls=self._tls,
                filters=filters(self._iss),
                expiry_s=EXPIRY_S,
            )
        except ConnectFailed as error:
            self.trouble = str(error)
            log.warning("broker: %s", error)
            return backoff.failed(refused=isinstance(error, Refused))
        started_s = self._clock.monotonic()
        self.trouble = None
        log.info("broker: connected")
        try:
            while not stop.is_set():
                self._turn(session)
            return 0.0
        except ConnectionLost as error:
            self.trouble = str(error)
            log.warning("broker: lost: %s", error)
            return backoff.lost(self._clock.monotonic() - started_s, SPREAD_S)
        finally:
            session.close()

    def _turn(self, session: Session) -> None:
        live = session.caught_up
        messages = session.receive(IDLE_S)
        for message in messages:
            self._take(message, live)
        asked = self._mend()
        self._store.write(self._ledger)
        session.acknowledge(messages)
        for topic, payload in asked:
            session.publish(topic, payload)
        self._tell()

    def _take(self, message: Message, live: bool) -> None:
        now_ms = int(self._clock.wall() * 1000)
        live = live and not message.retained
        reply = self._ledger.take(message.topic, message.payload, now_ms, live=live)
        if reply is not None:
            self._lose(self._repair.answer(reply.point, reply, self._clock.monotonic()))

    def _mend(self) -> list[tuple[str, bytes]]:
        """The commands to send now, (topic, payload) each."""
        now_s = self._clock.monotonic()
        if self._signer is None or now_s < self._repair_at_s:
            return []
        self._repair_at_s = now_s + REPAIR_PERIOD_S
        asked: list[tuple[str, bytes]] = []
        for step in self._repair.due(self._ledger.open, now_s, self._clock.wall()):
            if isinstance(step, Loss):
                self._lose([step])
            else:
                self._ledger.counts.asked += 1
                topic = topics.point(step.key.point, f"command/{step.claims.verb}")
                asked.append((topic, self._signer.sign(step.claims)))
        return asked

    def _lose(self, losses: list[Loss]) -> None:
        for loss in losses:
            self._ledger.lose(loss.key, *loss.range, loss.reason)

    def _nonce_of(self, point: str) -> str | None:
        """Of a point that may be there and takes commands as we give them."""
        birth, status = (self._ledger.held.get((point, "birth")), self._ledger.held.get((point, "status")))
        if self._signer is None or birth is None or status is None or birth.says != self._signer.kind:
            return None
        there = self._ledger.presence(point, int(self._clock.wall() * 1000))
        return None if there in ("lost", "offline") else status.nonce

    def _tell(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._told_s < self._stats_s:
            return
        counts = self._ledger.counts
        rate = (counts.documents - self._told_documents) / (now_s - self._told_s)
        self._told_s, self._told_documents = now_s, counts.documents
        self._say(f"{self.summary()}, {rate:.1f} documents/s")

    def summary(self) -> str:
        """One line; counts are since the start, gaps as they are now."""
        ledger, counts = self._ledger, self._ledger.counts
        gaps = [gap for tracker in ledger.open.values() for gap in tracker.gaps()]
        points = len({key.point for key in ledger.trackers} | {point for point, _ in ledger.held})
        asking = f"{counts.asked} resends asked" if self._signer else "no signer: nobody is asked"
        where = "connected" if self.trouble is None else f"not connected ({self.trouble})"
        return (
            f"{where}, {points} points, {counts.documents} documents ({counts.late} late), "
            f"{counts.duplicates} duplicates, "
            f"{len(gaps)} gaps of {sum(gap.documents for gap in gaps)} ({asking}), {counts.lost} lost, "
            f"{counts.rejected} rejected"
        )


def filters(iss: str) -> tuple[str, ...]:
    """What a collector subscribes to."""
    return tuple(
        topics.point("+", document) for document in (*topics.STREAMS, *topics.RETAINED, f"reply/{iss}")
    )
