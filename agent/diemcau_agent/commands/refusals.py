"""Refusals are one counted event a minute, not one each: whoever floods a room fills no card."""

from __future__ import annotations

import asyncio
from collections import Counter

from diemcau_agent.clock import Clock

from .context import Tell

WINDOW_S = 60.0


class Refusals:
    """``kind`` of the event, whose ``counts`` are by code."""

    def __init__(self, clock: Clock, tell: Tell, kind: str = "command_refused") -> None:
        self._kind = kind
        self._clock = clock
        self._tell = tell
        self._counts: Counter[str] = Counter()
        self._closing: asyncio.Task[None] | None = None

    def count(self, code: str) -> bool:
        """The first of a minute begins it. Whether it is the first of its code: that one is worth a line of
        the log, which lies on the card too."""
        self._counts[code] += 1
        if self._closing is None:
            self._closing = asyncio.create_task(self._close_window(), name="count refusals")
        return self._counts[code] == 1

    async def aclose(self) -> None:
        """Tell what was counted so far."""
        task, self._closing = self._closing, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            self._flush()

    async def _close_window(self) -> None:
        await self._clock.sleep(WINDOW_S)
        self._closing = None
        self._flush()

    def _flush(self) -> None:
        counts = dict(self._counts)
        self._counts.clear()
        if counts:
            self._tell(self._kind, data={"window_s": int(WINDOW_S), "counts": counts})
