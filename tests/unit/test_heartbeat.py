"""Retained documents go out on change, and as a heartbeat."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import cast

from diemcau_agent.broker import Broker
from diemcau_agent.outbox import Heartbeat
from fakeclock import FakeClock, settle


class Air:
    """What a heartbeat publishes to."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.sent: list[tuple[float, str, bytes]] = []

    async def publish(self, document: str, payload: bytes, *, retain: bool) -> bool:
        assert retain
        self.sent.append((self.clock.mono_s, document, payload))
        return True


async def test_health_goes_out_on_change_once_for_changes_that_come_together_and_every_minute(
    clock: FakeClock,
) -> None:
    air = Air(clock)
    known: list[str] = []
    heart = Heartbeat("health", cast("Broker", air), clock, lambda: ",".join(known).encode(), 60)
    task = asyncio.create_task(heart.run(), name="heartbeat")
    await settle()
    for change in ("cable", "broker"):
        known.append(change)
        heart.changed()
        await clock.advance(0.04)
    await clock.advance(1)
    assert [payload for _, _, payload in air.sent] == [b"cable,broker"]
    await clock.advance(600)
    moments = [moment for moment, _, _ in air.sent]
    assert all(53.9 <= after - before <= 60 for before, after in pairwise(moments))
    assert len(moments) >= 10
    task.cancel()
    await asyncio.wait([task])


async def test_a_birth_goes_out_on_change_only(clock: FakeClock) -> None:
    air = Air(clock)
    heart = Heartbeat("birth", cast("Broker", air), clock, lambda: b"{}")
    task = asyncio.create_task(heart.run(), name="births")
    await clock.advance(3600)
    assert air.sent == []
    heart.changed()
    await clock.advance(1)
    assert len(air.sent) == 1
    task.cancel()
    await asyncio.wait([task])
