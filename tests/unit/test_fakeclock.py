"""The clock that every other test trusts."""

from __future__ import annotations

import asyncio

from fakeclock import FakeClock


async def test_sleepers_wake_in_order_each_at_its_own_moment(clock: FakeClock) -> None:
    seen: list[tuple[str, float]] = []
    start = clock.monotonic()

    async def every(name: str, seconds: float, times: int) -> None:
        for _ in range(times):
            await clock.sleep(seconds)
            seen.append((name, clock.monotonic() - start))

    async with asyncio.TaskGroup() as group:
        group.create_task(every("slow", 5.0, 1), name="slow")
        group.create_task(every("quick", 2.0, 3), name="quick")
        await clock.advance(4.0)
        assert seen == [("quick", 2.0), ("quick", 4.0)]
        await clock.advance(10.0)
    assert seen == [("quick", 2.0), ("quick", 4.0), ("slow", 5.0), ("quick", 6.0)]
    assert clock.monotonic() - start == 14.0
    assert clock.sleepers == 0


async def test_a_cancelled_sleeper_holds_nobody_up(clock: FakeClock) -> None:
    task = asyncio.create_task(clock.sleep(1.0), name="cancelled")
    await asyncio.sleep(0)
    task.cancel()
    await clock.advance(2.0)
    assert task.cancelled()
    assert clock.sleepers == 0


async def test_wall_time_may_jump_without_the_boot_clock(clock: FakeClock) -> None:
    before = clock.monotonic()
    clock.wall_s = 0.0
    await clock.advance(1.5)
    assert (clock.wall(), clock.monotonic() - before) == (1.5, 1.5)
