"""The watch over the devices: what it asks, how often, and what it makes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from diemcau_agent.book import HealthBook
from diemcau_agent.codes import GONE_S
from diemcau_agent.config import Settings, check
from diemcau_agent.healing import Healer
from diemcau_agent.monitor import GRACE_S, LOOK_LIMIT_S, Monitor
from diemcau_agent.usb import NotPossible
from diemcau_agent.worker import Hung, Stuck
from diemcau_drivers.contract import Absent, Busy, DeviceError, Look
from fakeclock import FakeClock

GOOD: dict[str, dict[str, Any]] = {
    "camera": {"luma_mean": 0.4, "luma_std": 0.2, "dark_ratio": 0.0, "bright_ratio": 0.0, "sharpness": 900.0,
               "motion_db": -35.0},
    "microphone": {"level_dbfs": -42.0, "noise_floor_dbfs": -56.0, "clipped_ratio": 0.0, "hum_db": -30.0,
                   "muted": False},
    "speaker": {"muted": False, "volume_percent": 80.0},
    "display": {"connected": True, "power": "on", "active_input": True, "cec": True},
    "panel": {"button_held_s": 0.0},
    "host": {"memory_available_percent": 60.0, "disk_free_percent": 70.0, "disk_writable": True,
             "clock_synced": True},
    "line": {"carrier": True, "broker_connected": True},
}  # fmt: skip


class Devices:
    """Answers as the devices' processes would."""

    def __init__(self) -> None:
        self.readings = {part: dict(readings) for part, readings in GOOD.items()}
        self.errors: dict[str, DeviceError] = {}
        self.looks: dict[str, Look] = {}
        self.present: dict[str, bool | None] = dict.fromkeys(GOOD, True)
        self.asked: list[str] = []
        self.steps: list[str] = []

    async def ask(
        self,
        process: str,
        do: str,
        args: Mapping[str, Any] | None = None,
        *,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        assert do == "probe"
        self.asked.append(process)
        await asyncio.sleep(0)
        if process in self.errors:
            raise self.errors[process]
        if process == "presence":
            return dict(self.present)
        if process == "audio":
            return {device: self.look(device) for device in ("microphone", "speaker")}
        return self.look(process)

    def look(self, device: str) -> dict[str, Any]:
        if device in self.errors:
            return Look(error=self.errors[device]).to_dict()
        return self.looks.get(device, Look(self.readings[device])).to_dict()

    async def reopen(self, process: str) -> None:
        self.steps.append("reopen")

    async def restart(self, process: str) -> int:
        self.steps.append("respawn")
        return 1

    async def rebind(self, identity: Mapping[str, str]) -> str:
        raise NotPossible("no USB device")

    async def part(self, name: str) -> Mapping[str, Any]:
        if name in self.errors:
            raise self.errors[name]
        return self.readings[name]


class Watch:
    def __init__(self, clock: FakeClock, settings: Settings) -> None:
        self.clock = clock
        self.devices = Devices()
        self.book = HealthBook(("camera", "microphone", "speaker", "display", "panel"), clock)
        self.changes: list[tuple[float, str, str | None]] = []
        self.book.listen(self.changed)
        self.progress = 0
        self.healer = Healer(
            clock, self.book, self.devices, self.devices.rebind, lambda device: {},
            self.tell, lambda: False,
        )  # fmt: skip
        self.monitor = Monitor(
            settings,
            clock,
            self.book,
            self.devices.ask,
            host=lambda: self.devices.part("host"),
            line=lambda: self.devices.part("line"),
            baseline=lambda: None,
            progress=self.advance,
            judged=lambda part, readings: None,
            identified=lambda: None,
            heal=self.healer.tend,
        )

    def tell(self, kind: str, **what: Any) -> None:
        assert kind == "healing"

    def advance(self) -> None:
        self.progress += 1

    def changed(self, part: str, before: Any, after: Any) -> None:
        if before.code != after.code:
            self.changes.append((self.clock.mono_s, part, after.code))

    def state(self, part: str) -> tuple[str, str | None]:
        health = self.book.parts[part]
        return health.state, health.code


def settings(**probe: float) -> Settings:
    return check(
        {
            "point": "xp-0417",
            "commands": "unsigned",
            "backends": "sim",
            "broker": {"urls": ["mqtt://127.0.0.1"]},
            "probe": probe,
        }
    )


@pytest.fixture
async def watch(clock: FakeClock) -> AsyncIterator[Watch]:
    made = Watch(clock, settings(period_s=10, presence_s=2, host_s=5, line_s=5))
    task = asyncio.create_task(made.monitor.run(), name="monitor")
    await clock.advance(0.1)
    yield made
    task.cancel()
    await asyncio.wait([task])


async def test_a_good_room_is_known_at_once_and_stays_good(watch: Watch) -> None:
    assert watch.book.readiness() == ("ready", ())
    await watch.clock.advance(3600)
    assert watch.book.readiness() == ("ready", ())
    assert watch.changes == []


@pytest.mark.parametrize(
    ("part", "reading", "code", "bound_s"),
    [
        ("camera", {"motion_db": -120.0}, "frame_frozen", 10),
        ("microphone", {"muted": True}, "microphone_muted", 10),
        ("display", {"power": "standby"}, "display_standby", 10),
        ("panel", {"button_held_s": 11.0}, "button_stuck", 15),
        ("host", {"clock_synced": False}, "clock_unsynced", 60),
        ("line", {"carrier": False}, "cable", 60),
    ],
)
async def test_a_fault_shows_within_its_bound_and_goes_when_it_does(
    watch: Watch, part: str, reading: dict[str, Any], code: str, bound_s: float
) -> None:
    await watch.clock.advance(7)
    good = watch.devices.readings[part]
    watch.devices.readings[part] = {**good, **reading}
    await watch.clock.advance(bound_s)
    assert watch.state(part)[1] == code
    watch.devices.readings[part] = good
    await watch.clock.advance(bound_s)
    assert watch.state(part) == ("ok", None)


async def test_at_rest_a_fault_shows_within_its_five_minutes(clock: FakeClock) -> None:
    made = Watch(clock, settings())
    task = asyncio.create_task(made.monitor.run(), name="monitor")
    await clock.advance(1)
    made.devices.readings["camera"]["sharpness"] = 3.0
    await clock.advance(300)
    assert made.state("camera") == ("degraded", "frame_blurred")
    assert made.devices.asked.count("camera") <= 4  # each look costs the Pi a third of a second
    task.cancel()
    await asyncio.wait([task])


async def test_a_device_pulled_out_is_absent_in_15_s_without_opening_anything(clock: FakeClock) -> None:
    made = Watch(clock, settings())
    task = asyncio.create_task(made.monitor.run(), name="monitor")
    await clock.advance(1)
    made.devices.present["camera"] = False
    made.devices.errors["camera"] = Absent("unplugged")
    asked = made.devices.asked.count("camera")
    await clock.advance(GONE_S)
    assert made.state("camera") == ("absent", "camera_absent")
    await clock.advance(600)
    assert made.devices.asked.count("camera") == asked
    made.devices.present["camera"] = True
    del made.devices.errors["camera"]
    await clock.advance(GONE_S)
    assert made.state("camera") == ("ok", None)
    task.cancel()
    await asyncio.wait([task])


async def test_a_device_that_is_listed_and_cannot_be_opened_stays_absent(watch: Watch) -> None:
    """A driver that has lost its device keeps the nodes for as long as somebody has them open."""
    watch.devices.errors = {"camera": Absent("No such device")}
    watch.monitor.wake("camera")
    await watch.clock.advance(60)
    assert [change[1:] for change in watch.changes] == [("camera", "camera_absent")]
    watch.devices.errors.clear()
    await watch.clock.advance(10)
    assert watch.state("camera") == ("ok", None)


async def test_a_hang_is_told_at_once_and_tried_again_at_once(watch: Watch) -> None:
    watch.devices.errors["camera"] = Hung("no answer")
    await watch.clock.advance(GONE_S)
    assert watch.state("camera") == ("failed", "camera_hung")
    del watch.devices.errors["camera"]
    await watch.clock.advance(5)
    assert watch.state("camera") == ("ok", None)


async def test_a_hang_that_somebody_else_finds_is_told_and_looked_at_soon(watch: Watch) -> None:
    watch.devices.errors["camera"] = Hung("no answer by the deadline")
    with pytest.raises(Hung):
        await watch.monitor.ask("camera", "probe")
    assert watch.state("camera") == ("failed", "camera_hung")
    del watch.devices.errors["camera"]  # it was ended, and is made anew
    await watch.clock.advance(1)
    assert watch.state("camera") == ("ok", None)


async def test_what_a_device_answers_to_somebody_else_says_nothing_of_its_health(watch: Watch) -> None:
    await watch.clock.advance(30)
    watch.devices.errors["camera"] = Busy("a meeting has it", in_use_by="chromium")
    with pytest.raises(Busy):
        await watch.monitor.ask("camera", "probe")
    assert watch.state("camera") == ("ok", None)
    assert watch.book.parts["camera"].in_use_by is None


async def test_a_process_that_sigkill_does_not_end_is_stuck_without_a_flicker(watch: Watch) -> None:
    states: list[str] = []
    watch.book.listen(lambda part, before, after: states.append(after.state) if part == "camera" else None)
    watch.devices.errors["camera"] = Stuck("does not end")
    await watch.clock.advance(30)
    states.clear()
    await watch.clock.advance(60)
    assert set(states) == {"stuck"}


async def test_a_missing_microphone_does_not_hide_the_speaker(watch: Watch) -> None:
    watch.devices.errors["microphone"] = Absent("none")
    watch.devices.present["microphone"] = None
    await watch.clock.advance(15)
    assert watch.state("microphone")[1] == "microphone_absent"
    assert watch.state("speaker") == ("ok", None)


async def test_a_device_that_a_meeting_holds_keeps_its_state_and_names_the_holder(watch: Watch) -> None:
    watch.devices.errors["camera"] = Busy("open", in_use_by="chromium")
    await watch.clock.advance(15)
    assert watch.state("camera") == ("ok", None)
    assert watch.book.parts["camera"].in_use_by == "chromium"
    assert watch.book.readiness()[0] == "ready"


async def test_a_camera_that_is_switched_off_is_not_called_ok(watch: Watch) -> None:
    watch.devices.looks["camera"] = Look({"power": False}, passive=True)
    await watch.clock.advance(15)
    assert watch.state("camera") == ("unknown", None)
    assert watch.book.readiness()[0] == "degraded"


async def test_a_broken_look_at_the_host_or_presence_stops_nothing(watch: Watch) -> None:
    watch.devices.errors |= {"presence": Hung("no answer"), "host": Hung("no answer")}
    await watch.clock.advance(60)
    assert watch.state("host") == ("unknown", None)  # what cannot be read is never shown as good
    watch.devices.errors.clear()
    watch.devices.readings["host"]["disk_free_percent"] = 1.0
    await watch.clock.advance(60)
    assert watch.state("host") == ("failed", "disk_full")


async def test_what_is_wrong_is_in_the_journal_once_until_it_is_another_or_was_gone(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [record.message for record in caplog.records if record.name == "diemcau_agent.monitor"]

    caplog.set_level("INFO", "diemcau_agent.monitor")
    for trouble, lines in (("no answer", 1), ("no answer", 1), ("torn", 2), (None, 2), ("torn", 3)):
        watch.devices.errors = {} if trouble is None else {"display": Hung(trouble)}
        await watch.clock.advance(60)
        assert len(told()) == lines, told()


async def test_a_paused_watch_leaves_the_devices_to_the_self_test(watch: Watch) -> None:
    watch.monitor.paused = True
    await watch.clock.advance(1)
    asked = watch.devices.asked.count("camera")
    await watch.clock.advance(60)
    assert watch.devices.asked.count("camera") == asked


async def test_a_watch_that_hangs_is_no_progress_though_all_the_others_come_round(watch: Watch) -> None:
    await watch.clock.advance(60)
    before = watch.progress
    await watch.clock.advance(10)
    assert watch.progress >= before + 3

    async def never() -> Mapping[str, Any]:
        return await asyncio.get_running_loop().create_future()

    watch.monitor._host = never
    await watch.clock.advance(LOOK_LIMIT_S + GRACE_S)
    before = watch.progress
    await watch.clock.advance(60)
    assert watch.progress == before


async def test_a_device_that_stays_hung_does_not_cost_a_process_every_few_seconds(clock: FakeClock) -> None:
    made = Watch(clock, settings())
    made.devices.errors["camera"] = Hung("no answer")
    task = asyncio.create_task(made.monitor.run(), name="monitor")
    await clock.advance(3600)
    assert made.devices.asked.count("camera") <= 30
    assert made.devices.steps.count("respawn") <= 6
    task.cancel()
    await asyncio.wait([task])


async def test_what_is_unplugged_is_not_restarted(watch: Watch) -> None:
    watch.devices.present["camera"] = False
    watch.devices.errors["camera"] = Absent("unplugged")
    await watch.clock.advance(3600)
    assert watch.devices.steps == []


async def test_a_self_test_is_not_disturbed_by_a_step(watch: Watch) -> None:
    watch.monitor.paused = True
    watch.devices.errors["camera"] = Hung("no answer")
    await watch.clock.advance(60)
    assert watch.devices.steps == []
