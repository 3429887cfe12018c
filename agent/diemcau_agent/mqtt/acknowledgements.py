"""What was sent and waits for its acknowledgement, and how long the last ones took."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

from diemcau_agent.clock import Clock

from .errors import ConnectionLost


class _Sent(msgspec.Struct, frozen=True):
    at_s: float
    acked: asyncio.Future[None]


class Acknowledgements:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[int, _Sent] = {}
        self._rtts: deque[tuple[float, float]] = deque(maxlen=64)

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, mid: int) -> asyncio.Future[None]:
        """Ends with the acknowledgement of ``mid``, or raises ConnectionLost."""
        acked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[mid] = _Sent(self._clock.monotonic(), acked)
        return acked

    def published(self, mid: int, failure: str | None) -> None:
        """PUBACK, which says ``failure`` or nothing."""
        sent = self._settle(mid, failure)
        if sent is not None:
            now_s = self._clock.monotonic()
            self._rtts.append((now_s, (now_s - sent.at_s) * 1000))

    def subscribed(self, mid: int, failure: str | None) -> None:
        """SUBACK."""
        self._settle(mid, failure)

    def lost(self, reason: str) -> None:
        """Nothing is acknowledged any more."""
        for mid in list(self._waiting):
            self._settle(mid, reason)

    def overdue(self, limit_s: float) -> bool:
        oldest_s = min((sent.at_s for sent in self._waiting.values()), default=None)
        return oldest_s is not None and self._clock.monotonic() - oldest_s > limit_s

    def rtts_ms(self, window_s: float) -> list[float]:
        """Publish to PUBACK, of the last ``window_s`` seconds (64 at most)."""
        since = self._clock.monotonic() - window_s
        return [rtt_ms for at, rtt_ms in self._rtts if at >= since]

    def _settle(self, mid: int, failure: str | None) -> _Sent | None:
        sent = self._waiting.pop(mid, None)
        if sent is None or sent.acked.done():
            return None  # whoever sent it has gone away
        if failure is None:
            sent.acked.set_result(None)
        else:
            fail(sent.acked, ConnectionLost(failure))
        return sent


def fail(future: asyncio.Future[None], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # read once here: nobody may be waiting for it
