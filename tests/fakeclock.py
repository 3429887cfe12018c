"""A clock that stands still until a test moves it: nothing waits, and every order is the same each time."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class FakeClock:
    """Implements :class:`diemcau_agent.clock.Clock`.

    ``clock.wall_s``, ``clock.mono_s`` and ``clock.is_synced`` may be set outright: a clock may jump.
    """

    def __init__(
        self, wall_s: float = 1_795_332_600.0, mono_s: float = 1_000.0, *, synced: bool = True
    ) -> None:
        self.wall_s = wall_s
        self.mono_s = mono_s
        self.is_synced = synced
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def wall(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.mono_s

    def synced(self) -> bool:
        return self.is_synced

    @property
    def sleepers(self) -> int:
        """How many tasks sleep on this clock now."""
        return sum(not wake.done() for _, _, wake in self._sleepers)

    @property
    def next_wake_s(self) -> float | None:
        """When the next sleeper wakes, on the monotonic clock."""
        return self._sleepers[0][0] if self._sleepers else None

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.mono_s + seconds, next(self._order), wake))
        await wake

    async def advance(self, seconds: float) -> None:
        """Let time pass: sleepers wake in order, each at its own moment, and may sleep again on the way."""
        end = self.mono_s + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            moment, _, wake = heapq.heappop(self._sleepers)
            self._pass(max(0.0, moment - self.mono_s))
            if not wake.done():
                wake.set_result(None)
                await settle()
        self._pass(end - self.mono_s)

    def _pass(self, seconds: float) -> None:
        self.mono_s += seconds
        self.wall_s += seconds


async def settle(rounds: int = 20) -> None:
    """Let every task that can run come to its next wait."""
    for _ in range(rounds):
        await asyncio.sleep(0)
