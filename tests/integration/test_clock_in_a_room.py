"""A whole room whose clock is set again and again: it goes on, and tells everything once and in order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from diemcau_sim.mosquitto import PrivateMosquitto
from observer import Observer
from simroom import living

pytestmark = pytest.mark.mosquitto

DAY_S = 86_400.0


async def test_a_room_whose_clock_is_set_goes_on_and_tells_everything_in_order(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    async with living(tmp_path, mosquitto.url) as room:
        true_s = room.clock.wall_s - room.clock.mono_s
        for jump_s in (DAY_S, -DAY_S, 3652 * DAY_S, -3652 * DAY_S, None):
            room.clock.wall_s = 5.0 if jump_s is None else true_s + room.clock.mono_s + jump_s
            room.world.set_fault("microphone_muted", True)
            took_s = await room.until_code("microphone", "microphone_muted", 10)
            room.world.set_fault("microphone_muted", False)
            took_s += await room.until_code("microphone", None, 12)
            assert took_s < 22
            assert room.app.broker.trouble is None
        await room.live(61)
        async with asyncio.timeout(10):
            while len(told(observer, room.point)) < 10:
                await room.live(0.25)
    events = [entry.document for entry in observer.heard("event", room.point)]
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(numbers) == list(range(1, len(numbers) + 1))
    assert [event["mono_ms"] for event in events] == sorted(event["mono_ms"] for event in events)
    assert told(observer, room.point) == [("ok", "degraded"), ("degraded", "ok")] * 5
    assert {event["clock"] for event in events} == {"synced", "unsynced"}


def told(observer: Observer, point: str) -> list[tuple[str, str]]:
    """The microphone's changes after the first look."""
    events = [entry.document for entry in observer.heard("event", point)]
    changes = [(e["from"], e["to"]) for e in events if e["kind"] == "state" and e["device"] == "microphone"]
    return [change for change in changes if change[0] != "unknown"]
