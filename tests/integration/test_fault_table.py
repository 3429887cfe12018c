"""The whole fault catalogue: each fault gives its own code within its bound, and goes away when it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from diemcau_agent.codes import CODES
from diemcau_sim.faults import FAULTS
from diemcau_sim.mosquitto import PrivateMosquitto
from observer import Observer
from simroom import SimRoom, living

pytestmark = pytest.mark.mosquitto

PERIOD_S = 10.0
HANG_DEADLINE_S = 2.0
PART = {"audio": "microphone"}
FOUND_BY_KEEPALIVE = {"broker", "centre", "clock"}
"""Nothing nearer to the room tells that nothing passes any more."""
HELD_IN_REAL_TIME = {"button_stuck": 10.0}
"""The panel's process measures with its own clock how long its button is held."""


@pytest.fixture
async def room(tmp_path: Path, mosquitto: PrivateMosquitto) -> AsyncIterator[SimRoom]:
    async with living(tmp_path, mosquitto.url) as living_room:
        yield living_room


def part_of(name: str) -> str:
    return PART.get(FAULTS[name].device, FAULTS[name].device)


def test_every_code_has_its_fault() -> None:
    assert set(CODES) == set(FAULTS)


@pytest.mark.parametrize("name", [name for name in FAULTS if CODES[name].bound != "selftest"])
async def test_a_fault_gives_its_own_code_within_its_bound_and_goes_when_it_does(
    room: SimRoom, name: str
) -> None:
    part = part_of(name)
    bound_s = CODES[name].bound_s(PERIOD_S)
    assert bound_s is not None
    await room.live(3.0)  # somewhere within a period, not at its beginning
    room.world.set_fault(name, True)
    await asyncio.sleep(HELD_IN_REAL_TIME.get(name, 0))
    real_s = HANG_DEADLINE_S if name.endswith("_hung") else 0.0
    if name in FOUND_BY_KEEPALIVE:
        real_s = await until_lost(room)
    took_s = real_s + await room.until_code(part, name, bound_s)
    assert took_s <= bound_s
    others = {p: h.codes for p, h in room.app.book.parts.items() if p != part and h.codes}
    assert others == ({"speaker": (name,)} if name.startswith("audio_") else {})
    reasons = room.app.book.readiness()[1]
    if name in FOUND_BY_KEEPALIVE:
        assert set(reasons) == {name, "broker"}  # the room is cut off, and why
    else:
        assert reasons in ((name,), ())  # display_no_cec alone is not in the way
    room.world.set_fault(name, False)
    if FAULTS[name].device == "line":
        await until_online(room)
    back_s = await room.until_code(part, None, bound_s)
    print(f"{name}: {took_s:.2f} s of {bound_s:g} s, gone after {back_s:.2f} s")


async def until_lost(room: SimRoom) -> float:
    """The seconds, by the real clock, until the keep-alive (5 s here, 20 s in a room) finds the line dead."""
    began = time.monotonic()
    room.app.line.trouble()  # the burst that the schedule would send meanwhile: the room's time stands still
    while room.app.broker.connection is not None:
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def until_online(room: SimRoom) -> None:
    while room.app.broker.trouble is not None:
        await room.live(0.25)


@pytest.mark.parametrize("name", [name for name in FAULTS if CODES[name].bound == "selftest"])
async def test_a_fault_that_only_sound_can_find_is_found_by_the_self_test(room: SimRoom, name: str) -> None:
    part = part_of(name)
    room.world.set_fault(name, True)
    await room.live(30)
    assert room.health(part).code is None  # nobody wants tones in an empty hall at night
    report = await room.selftest()
    assert report.result == "failed"
    assert [step.code for step in report.steps if step.code] == [name]
    assert room.health(part).code == name
    await room.live(30)
    assert room.health(part).code == name  # a probe that plays nothing cannot clear it
    room.world.set_fault(name, False)
    report = await room.selftest()
    assert report.result == "passed"
    assert room.health(part).code is None


@pytest.mark.parametrize("block", range(20))
async def test_a_healthy_room_gives_no_code_in_500_rounds(room: SimRoom, block: int) -> None:
    del block
    changes: list[str] = []
    room.app.book.listen(lambda part, before, after: changes.extend(after.codes))
    for _ in range(25):
        for process in ("camera", "audio", "display", "panel"):
            await room.app.monitor.look(process)
        await room.app.monitor.look_host()
        await room.app.monitor.look_line()
    assert changes == []
    assert room.app.book.readiness() == ("ready", ())


async def test_the_wire_tells_what_the_book_knows(room: SimRoom, observer: Observer) -> None:
    room.world.set_fault("frame_black", True)
    await room.until_code("camera", "frame_black", PERIOD_S)
    await room.live(1)
    heard = await observer.until(
        lambda h: h.name == "health" and h.point == room.point and h.document["reasons"] == ["frame_black"]
    )
    assert heard.document["readiness"] == "not_ready"
    assert heard.document["devices"]["camera"]["code"] == "frame_black"
    event = await observer.until(
        lambda h: h.name == "event" and h.point == room.point and h.document["code"] == "frame_black"
    )
    assert (event.document["from"], event.document["to"]) == ("ok", "failed")
