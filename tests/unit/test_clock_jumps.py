"""A clock that is set by a day, by ten years, to 1970: nothing crashes, nothing old runs, order is kept.

The parts on their own; tests/integration/test_clock_in_a_room.py sets the clock of a whole room.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from command_room import Room
from diemcau_agent.book import HealthBook
from diemcau_agent.health import Observation
from diemcau_agent.model import Event
from diemcau_agent.nonces import GRACE_S, Nonces
from diemcau_agent.stamp import DOUBT_S, Stamp
from fakeclock import FakeClock

DAY_S = 86_400.0
JUMPS_S = {
    "a day on": DAY_S,
    "a day back": -DAY_S,
    "ten years on": 3652 * DAY_S,
    "ten years back": -3652 * DAY_S,
    "to 1970": None,
}
jumps = pytest.mark.parametrize("jump_s", JUMPS_S.values(), ids=JUMPS_S.keys())


def jump(clock: FakeClock, jump_s: float | None) -> None:
    clock.wall_s = 5.0 if jump_s is None else clock.wall_s + jump_s


@pytest.fixture
async def room(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Room]:
    made = await Room.open(tmp_path, clock)
    yield made
    await made.close()


@jumps
def test_documents_keep_their_order_and_say_that_their_time_is_doubtful(
    clock: FakeClock, jump_s: float | None
) -> None:
    stamp = Stamp("xp-0417", "boot", 3, clock)
    before = stamp.fields(Event)
    clock.mono_s += 1
    jump(clock, jump_s)
    after = stamp.fields(Event)
    assert after["mono_ms"] > before["mono_ms"]
    assert (before["clock"], after["clock"]) == ("synced", "unsynced")
    clock.mono_s += DOUBT_S
    clock.wall_s += DOUBT_S
    assert stamp.synced  # held to a reference all the while: that is the time now


def test_a_clock_that_is_synced_for_the_first_time_is_believed_at_once(clock: FakeClock) -> None:
    clock.is_synced, now_s, clock.wall_s = False, clock.wall_s, 5.0
    stamp = Stamp("xp-0417", "boot", 3, clock)
    assert not stamp.synced
    clock.is_synced, clock.wall_s = True, now_s
    assert stamp.synced


def test_a_clock_that_is_held_is_not_doubted(clock: FakeClock) -> None:
    stamp = Stamp("xp-0417", "boot", 3, clock)
    for _ in range(100):
        clock.mono_s += 3600
        clock.wall_s += 3601  # a poor crystal
        assert stamp.synced


@jumps
async def test_no_command_of_yesterday_runs_whatever_the_clock_says_now(
    room: Room, jump_s: float | None
) -> None:
    """What was taped from the wire comes again once the clock stands where it was fresh."""
    clock = room.clock
    taped_s = 5.0 if jump_s is None else clock.wall() + jump_s
    assert room.stamp.synced
    jump(clock, jump_s)
    old: dict[str, Any] = {"iat": int(taped_s), "exp": int(taped_s) + 60}
    await room.send("ping", aud="group/all", id="taped-of-a-group", nonce=None, **old)
    await room.send("ping", id="taped-of-the-point", nonce="a-nonce-of-yesterday", **old)
    await room.replied()
    assert [reply.state for reply in room.answers] == ["refused", "refused"]
    assert {reply.code for reply in room.answers} == {"clock_unsynced", "bad_nonce"}


@jumps
async def test_an_id_runs_once_however_the_clock_moves_between(room: Room, jump_s: float | None) -> None:
    first = await room.order("identify", {"seconds": 1}, id="only-once")
    jump(room.clock, jump_s)
    await room.send("identify", {"seconds": 1}, id="only-once")
    await room.replied()
    assert room.identified == [1]
    assert (first.state, room.last.state) == ("done", "done")


@jumps
async def test_a_command_to_the_point_goes_on_by_its_nonce(room: Room, jump_s: float | None) -> None:
    """An operator's clock is right while ours is not: what is fresh must not be refused for that."""
    now_s = int(room.clock.wall())
    assert room.stamp.synced
    jump(room.clock, jump_s)
    reply = await room.order("ping", id="fresh-and-true", iat=now_s, exp=now_s + 60)
    assert reply.state == "done"


@jumps
def test_a_nonce_lives_by_the_clock_that_nobody_sets(clock: FakeClock, jump_s: float | None) -> None:
    nonces = Nonces(clock)
    first = nonces.current
    nonces.renew()
    jump(clock, jump_s)
    assert nonces.valid(first)
    clock.mono_s += GRACE_S + 1
    assert not nonces.valid(first)


@jumps
def test_since_when_a_device_is_as_it_is_follows_the_clock(clock: FakeClock, jump_s: float | None) -> None:
    book = HealthBook(("camera",), clock)
    good = Observation((), frozenset({"camera_absent"}))
    book.apply("camera", good)
    clock.mono_s += 100
    clock.wall_s += 100
    jump(clock, jump_s)
    book.apply("camera", good)
    camera = book.parts["camera"]
    assert camera.since_s == pytest.approx(clock.wall_s - 100)
    assert camera.checked_s == clock.wall_s
