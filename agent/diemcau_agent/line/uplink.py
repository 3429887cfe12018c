"""One uplink, measured: short bursts, and a longer train where a burst does not agree with what stands.

A burst of ten tells delay and jitter well, and loss badly: one packet of ten is ten per cent. So what a
burst makes doubtful a train of a hundred decides, on its own packets alone. While a conference is on, the
bursts of the last 20 s are as many, and no such train is sent.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import msgspec

from diemcau_agent import judges
from diemcau_agent.clock import Clock

from .readings import of_record
from .record import Record, Train, record
from .train import Limits

BURST = 10
INTERVAL_MS = 20.0
"""The short spacing of voice: bursts of loss and reordering need it (RFC 3432, section 4)."""
SIZE_BYTES = 52
"""Of UDP payload: a bare packet and the TLV that asks how its DSCP arrived."""
ENOUGH = 100
POOL_S = 20.0
KEEP_S = 60.0
DOUBT_S = 60.0
DOUBT_MAX_S = 900.0
"""One lost packet in ten is a weak sign; where a train has shown that it meant nothing, the next weak sign
must wait, longer each time: a line that loses a little is not to be loaded for that."""


class Measure(Protocol):
    """Sends a train to the reflector, by ``uplink`` where one is named, and waits for what comes back.

    Raises OSError where it cannot begin (no such name, no such interface).
    """

    async def __call__(
        self,
        *,
        count: int,
        interval_ms: float,
        size_bytes: int = SIZE_BYTES,
        dscp: int | None = None,
        uplink: str | None = None,
        limits: Limits | None = None,
    ) -> Train: ...


class Uplink:
    """``name``: the interface it is bound to; None where the kernel's own route is taken."""

    def __init__(self, name: str | None, measure: Measure, clock: Clock) -> None:
        self.name = name
        self._measure = measure
        self._clock = clock
        self._doubts = 0
        self._weak_after_s = 0.0
        self.trains: deque[Train] = deque()
        """Of the last minute."""
        self.settled: Record | None = None
        """What stands."""

    async def burst(self) -> Train:
        """Measure; raises OSError as :class:`Measure`. What stands is new after it, where that is sure."""
        train = await self._send(BURST)
        pooled = [train for train in self._window(POOL_S) if len(train.rtts_ms) == BURST]
        if sum(len(one.rtts_ms) for one in pooled) >= ENOUGH:
            self.settled = record(pooled)
            return train
        seen = record([train])
        before = None if self.settled is None else verdict(self.settled)
        if verdict(seen) == (before or ()):
            self.settled = seen
        elif self.settled is None or self._strong(seen) or self._clock.monotonic() >= self._weak_after_s:
            await self._decide(seen)
        return train

    async def _decide(self, seen: Record) -> None:
        if not seen.received:
            # A second burst without any answer says it as well as a hundred packets would, and sooner.
            again = record([await self._send(BURST)])
            if not again.received:
                self.settled = again
                return
        await self.confirm()

    async def confirm(self) -> Record:
        """A hundred packets, and what they say stands."""
        before = self.settled
        now = record([await self._send(ENOUGH)])
        if before is not None and verdict(now) == verdict(before):
            pause_s = min(DOUBT_MAX_S, DOUBT_S * 2.0**self._doubts)
            self._doubts += 1
            self._weak_after_s = self._clock.monotonic() + pause_s
        else:
            self._doubts, self._weak_after_s = 0, 0.0
        self.settled = now
        return now

    def record_of(self, seconds: float) -> Record | None:
        """Of the last so many seconds, 60 at most; None where nothing was sent in them."""
        trains = self._window(seconds)
        return record(trains) if trains else None

    async def _send(self, count: int) -> Train:
        began_s = self._clock.monotonic()
        train = await self._measure(count=count, interval_ms=INTERVAL_MS, uplink=self.name)
        train = msgspec.structs.replace(train, at_s=began_s)  # by the agent's own clock
        self.trains.append(train)
        since_s = self._clock.monotonic() - KEEP_S
        while self.trains and self.trains[0].at_s < since_s:
            self.trains.popleft()
        return train

    def _window(self, seconds: float) -> list[Train]:
        since_s = self._clock.monotonic() - seconds
        return [train for train in self.trains if train.at_s > since_s]

    def _strong(self, seen: Record) -> bool:
        """Whether the burst says more than that one packet was lost, or that none was."""
        assert self.settled is not None
        loss = {"uplink_loss"}
        return seen.lost > 1 or set(verdict(seen)) - loss != set(verdict(self.settled)) - loss


def verdict(record: Record) -> tuple[str, ...]:
    """The codes that the record alone gives."""
    return judges.judge("line", of_record(record))
