"""The hands of the ladder: what each step does, what it tells, and when nothing may be touched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from diemcau_agent.book import HealthBook
from diemcau_agent.healing import Healer
from diemcau_agent.health import Observation
from diemcau_agent.usb import NotPossible
from diemcau_drivers.contract import Absent, DeviceError
from fakeclock import FakeClock


class Bench:
    """A room whose devices show ``codes``, and mend at the step that a test names."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.book = HealthBook(("camera", "microphone", "speaker", "display", "panel"), clock)
        self.codes: dict[str, tuple[str, ...]] = {}
        self.states: dict[str, dict[str, Any]] = {}
        self.conference = False
        self.rebindable = True
        self.mended_by: str | None = None
        self.refusing: DeviceError | None = None
        self.done: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.looks = 0
        self.healer = Healer(
            clock, self.book, self, self.rebind, lambda device: {"usb": "046d:0825:1-1.3"},
            self.tell, lambda: self.conference,
        )  # fmt: skip

    async def look(self, process: str) -> None:
        self.looks += 1
        for device in ("microphone", "speaker") if process == "audio" else (process,):
            codes = self.codes.get(device, ())
            covers = frozenset({*codes, "camera_hung", "camera_crashed", "frame_frozen", "microphone_absent"})
            more = self.states.get(device, {})
            self.book.apply(device, Observation(codes, covers, known=not codes, **more))

    async def reopen(self, process: str) -> None:
        self.step("reopen")

    async def restart(self, process: str) -> int:
        self.step("respawn")
        return 7

    async def rebind(self, identity: Mapping[str, str]) -> str:
        assert identity == {"usb": "046d:0825:1-1.3"}
        if not self.rebindable:
            raise NotPossible("this kit may not")
        self.step("rebind")
        return "1-1.3"

    def step(self, name: str) -> None:
        self.done.append(name)
        if name == self.mended_by:
            self.codes.clear()
            self.states.clear()
        if self.refusing is not None:
            raise self.refusing

    def tell(self, kind: str, **what: Any) -> None:
        assert kind == "healing"
        self.events.append(what)

    async def tend(self, process: str = "camera", *, unplugged: bool = False) -> float | None:
        await self.look(process)
        return await self.healer.tend(process, self.look, unplugged=unplugged)

    async def fail(self, *codes: str, device: str = "camera", **state: Any) -> None:
        """Shown twice, as a picture has to be."""
        self.codes[device] = codes
        self.states[device] = state
        await self.look("audio" if device in ("microphone", "speaker") else device)

    @property
    def told(self) -> list[tuple[str, str, int]]:
        return [(e["data"]["step"], e["data"]["outcome"], e["data"]["attempt"]) for e in self.events]


@pytest.fixture
def bench(clock: FakeClock) -> Bench:
    return Bench(clock)


async def test_a_good_device_is_left_alone(bench: Bench) -> None:
    assert await bench.tend() is None
    assert (bench.done, bench.events) == ([], [])


async def test_each_step_is_told_with_device_code_outcome_and_attempt(bench: Bench) -> None:
    await bench.fail("camera_hung")
    bench.mended_by = "rebind"
    assert await bench.tend() == 10
    assert await bench.tend() == 10  # not before
    bench.clock.mono_s += 10
    assert await bench.tend() is None
    assert bench.done == ["respawn", "rebind", "respawn"]  # what was open is gone with the driver
    assert bench.told == [("respawn", "failed", 1), ("rebind", "healed", 2)]
    assert {(e["device"], e["code"]) for e in bench.events} == {("camera", "camera_hung")}
    assert bench.events[1]["data"]["detail"] == "port 1-1.3"


async def test_a_stuck_process_is_freed_by_taking_its_driver_away(bench: Bench) -> None:
    await bench.fail("camera_hung", stuck=True)
    await bench.tend()
    assert bench.done == ["rebind", "respawn"]
    assert bench.told == [("rebind", "failed", 1)]


async def test_a_step_that_is_not_possible_says_so_and_the_next_is_taken_at_once(bench: Bench) -> None:
    await bench.fail("camera_hung")
    bench.rebindable = False
    await bench.tend()
    bench.clock.mono_s += 10
    assert await bench.tend() == 30
    bench.clock.mono_s += 30
    await bench.tend()
    assert bench.told == [
        ("respawn", "failed", 1),
        ("rebind", "impossible", 2),
        ("respawn", "failed", 2),
        ("respawn", "failed", 3),
    ]
    assert bench.events[1]["data"]["detail"] == "this kit may not"


async def test_a_stuck_process_that_nothing_can_free_is_told_once_and_waited_for(bench: Bench) -> None:
    await bench.fail("camera_hung", stuck=True)
    bench.rebindable = False
    for _ in range(5):
        assert await bench.tend() is None
        bench.clock.mono_s += 3600
    assert bench.told == [("rebind", "impossible", 1)]


async def test_a_frozen_picture_that_moves_again_is_told_healed_once_two_looks_say_so(bench: Bench) -> None:
    await bench.fail("frame_frozen")
    bench.mended_by = "reopen"
    await bench.look("camera")
    looking = bench.healer.tend("camera", bench.look)
    task = asyncio.create_task(looking)
    await bench.clock.advance(3)
    assert await task is None
    assert bench.told == [("reopen", "healed", 1)]


async def test_a_device_that_crashes_where_it_hung_is_not_healed(bench: Bench) -> None:
    await bench.fail("camera_hung")

    def crashes(name: str) -> None:
        bench.codes["camera"] = ("camera_crashed",)

    bench.step = crashes
    await bench.tend()
    assert bench.told == [("respawn", "failed", 1)]


async def test_a_step_that_the_device_refuses_is_a_step_that_failed(bench: Bench) -> None:
    await bench.fail("microphone_absent", device="microphone")
    bench.refusing = Absent("no such card")
    await bench.tend("audio")
    assert bench.told == [("reopen", "failed", 1)]
    assert bench.events[0]["data"]["detail"] == "no such card"


async def test_what_another_program_holds_is_never_taken_from_it(bench: Bench) -> None:
    await bench.fail("camera_hung", in_use_by="chromium")
    assert await bench.tend() is None
    assert bench.done == []


async def test_in_a_conference_a_half_that_works_is_kept_and_what_is_useless_is_restarted(
    bench: Bench,
) -> None:
    bench.conference = True
    await bench.fail("microphone_absent", device="microphone")
    assert await bench.tend("audio") is None
    assert bench.done == []
    await bench.fail("camera_hung")
    await bench.tend("camera")
    assert bench.done == ["respawn"]
    bench.conference = False
    await bench.tend("audio")
    assert bench.done == ["respawn", "reopen"]


async def test_what_is_not_plugged_in_is_not_restarted_and_not_called_well(bench: Bench) -> None:
    await bench.fail("camera_absent")
    assert await bench.tend(unplugged=True) is None
    assert bench.done == []
