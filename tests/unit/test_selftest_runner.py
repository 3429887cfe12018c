"""The runner: a device's error is that device's step, and *not tested* is never *passed*."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from healthy import GOOD, LOOP

from diemcau_agent.model import Scope, Selftest, Step
from diemcau_agent.selftest.plan import BUDGET_S
from diemcau_agent.selftest.report import Progress, Report
from diemcau_agent.selftest.runner import AlreadyRunningError, Runner
from diemcau_agent.thresholds import Baseline
from diemcau_agent.worker import Crashed, Hung, Stuck
from diemcau_drivers.contract import DEVICES, Absent, BadRequest, Broken, Busy, DeviceError, Look, Unsupported
from fakeclock import FakeClock, settle

Answer = Mapping[str, Any] | DeviceError | None
"""None: never answers."""


class Room:
    """A scripted room: answers by (process, do); each call takes ``took_s`` on the fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.took_s = 0.5
        self.looks = {device: Look(readings=GOOD[device]) for device in DEVICES}
        self.answers: dict[tuple[str, str], Answer] = {
            ("audio", "loop"): LOOP,
            ("audio", "announce"): {"name": "chime", "seconds": 1.0},
            ("camera", "state"): {"power": True, "zoom": 1.0, "preset": None},
            ("panel", "lights"): {"pattern": "testing"},
            ("host", "probe"): GOOD["host"],
            ("line", "probe"): GOOD["line"],
        }
        self.expected: dict[str, bool] = dict.fromkeys(DEVICES, True)
        self.baseline: Baseline | None = None
        self.progress: list[Progress] = []
        self.runner = Runner(self.ask, self.host, self.line, clock, lambda: self.baseline, self.expected)

    def readings(self, device: str, **changes: Any) -> None:
        self.looks[device] = Look(readings={**GOOD[device], **changes})

    async def ask(
        self, process: str, do: str, args: Mapping[str, Any] | None = None, *, deadline_s: float | None = None
    ) -> Mapping[str, Any]:
        self.calls.append((process, do, dict(args or {})))
        if (process, do) in self.answers:
            answer = self.answers[process, do]
        elif process == "audio":
            answer = {device: self.looks[device].to_dict() for device in ("microphone", "speaker")}
        else:
            answer = self.looks[process].to_dict()
        if answer is None:
            await asyncio.Event().wait()
        assert answer is not None
        if isinstance(answer, Hung):
            assert deadline_s is not None
            await self.clock.sleep(deadline_s)
            raise answer
        await self.clock.sleep(self.took_s)
        if isinstance(answer, DeviceError):
            raise answer
        return answer

    async def host(self) -> Mapping[str, Any]:
        return await self.ask("host", "probe")

    async def line(self) -> Mapping[str, Any]:
        return await self.ask("line", "probe")

    async def test(self, scope: Scope = "quick", wait_s: float = 70.0) -> Report:
        task = asyncio.create_task(self.runner.run(scope, "button", self.progress.append))
        await self.clock.advance(wait_s)
        assert task.done(), "a run ends within its budget"
        return await task


@pytest.fixture
def room(clock: FakeClock) -> Room:
    return Room(clock)


def step(report: Report, name: str) -> Step:
    return next(step for step in report.steps if step.name == name)


def outcome(report: Report, name: str) -> tuple[str, str | None, str | None]:
    found = step(report, name)
    return found.result, found.code, found.reason


@pytest.mark.parametrize("scope", ["quick", "full"])
async def test_a_room_that_is_well_passes(room: Room, scope: Scope) -> None:
    report = await room.test(scope)
    assert {(s.name, s.result, s.code, s.reason) for s in report.steps} == {
        (s.name, "passed", None, None) for s in report.steps
    }
    assert report.result == "passed"
    assert report.findings == dict.fromkeys((*DEVICES, "host", "line"), ())
    assert report.duration_ms < BUDGET_S[scope] * 1000


async def test_each_step_tells_what_was_measured_and_expected(room: Room) -> None:
    report = await room.test()
    picture = step(report, "camera_picture")
    assert picture.measured == {"luma_mean": 0.45, "motion_db": -38.0, "sharpness": 400.0, "fps": 30.0}
    assert "sharpness at least 40" in picture.expected
    assert picture.remedy is None


async def test_a_baseline_is_what_is_expected(room: Room) -> None:
    room.baseline = Baseline(time="", readings={"camera": {"sharpness": 2000.0}})
    report = await room.test()
    picture = step(report, "camera_picture")
    assert outcome(report, "camera_picture") == ("failed", "frame_blurred", None)
    assert "sharpness at least 800" in picture.expected
    assert picture.measured["sharpness_ratio"] == 0.2


async def test_a_fault_is_one_failed_step_with_its_remedy_in_both_languages(room: Room) -> None:
    room.readings("camera", dark_ratio=1.0, luma_mean=0.0, sharpness=0.0)
    report = await room.test()
    assert [s.name for s in report.steps if s.result != "passed"] == ["camera_picture"]
    assert outcome(report, "camera_picture") == ("failed", "frame_black", None)
    remedy = step(report, "camera_picture").remedy
    assert remedy is not None
    assert remedy.en.startswith("Take off the lens cap")
    assert remedy.vi.startswith("Tháo nắp ống kính")
    assert report.result == "failed"
    assert report.findings["camera"] == ("frame_black",)
    assert "frame_black" in report.covered["camera"]


async def test_a_picture_found_at_fault_is_looked_at_once_more(room: Room) -> None:
    bad, good = Look(readings={**GOOD["camera"], "motion_db": -120.0}), room.looks["camera"]
    room.looks["camera"] = bad
    task = asyncio.create_task(room.runner.run("quick", "command"))
    await settle()
    room.looks["camera"] = good  # from the second look on
    await room.clock.advance(10)
    assert outcome(await task, "camera_picture") == ("passed", None, None)
    assert [process for process, _, _ in room.calls].count("camera") == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Absent("unplugged"), "camera_absent"),
        (Hung("no answer"), "camera_hung"),
        (Crashed("SIGSEGV"), "camera_crashed"),
        (Stuck("in the kernel"), "camera_hung"),
        (Broken("the library failed"), "camera_crashed"),
    ],
)
async def test_a_device_that_fails_is_its_own_failed_step(room: Room, error: DeviceError, code: str) -> None:
    room.answers["camera", "probe"] = error
    report = await room.test("full")
    assert outcome(report, "camera_picture") == ("failed", code, None)
    assert step(report, "camera_picture").measured == {"detail": error.detail}
    assert outcome(report, "camera_controls") == ("not_tested", None, code)
    assert outcome(report, "camera_steady") == ("not_tested", None, code)
    assert report.findings["camera"] == (code,)
    assert {s.result for s in report.steps if s.device != "camera"} == {"passed"}
    assert report.duration_ms <= BUDGET_S["full"] * 1000


async def test_sound_that_hangs_is_both_devices_and_the_loop_is_not_tested(room: Room) -> None:
    room.answers["audio", "probe"] = Hung("no answer")
    report = await room.test()
    assert outcome(report, "microphone_level") == ("failed", "audio_hung", None)
    assert outcome(report, "speaker_volume") == ("failed", "audio_hung", None)
    assert outcome(report, "sound_loop") == ("not_tested", None, "audio_hung")
    assert report.findings["microphone"] == report.findings["speaker"] == ("audio_hung",)
    assert report.duration_ms <= 10_000


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"muted": True}, "microphone_muted"), ({"level_dbfs": -90.0}, "microphone_silent")],
)
async def test_a_microphone_at_fault_leaves_the_speaker_untested(
    room: Room, changes: dict[str, Any], code: str
) -> None:
    room.readings("microphone", **changes)
    room.answers["audio", "loop"] = {"found": False}
    report = await room.test()
    assert outcome(report, "microphone_level") == ("failed", code, None)
    assert outcome(report, "sound_loop") == ("not_tested", None, code)
    assert report.findings["microphone"] == (code,)
    assert report.findings["speaker"] == ()
    assert "speaker_silent" not in report.covered["speaker"]
    assert ("audio", "loop") not in [(process, do) for process, do, _ in room.calls]


async def test_an_absent_microphone_does_not_hide_the_speakers_volume(room: Room) -> None:
    room.looks["microphone"] = Look(error=Absent("unplugged"))
    room.readings("speaker", volume_percent=55)
    report = await room.test()
    assert outcome(report, "microphone_level") == ("failed", "microphone_absent", None)
    assert outcome(report, "speaker_volume") == ("passed", None, None)
    assert step(report, "speaker_volume").measured["volume_percent"] == 55
    assert outcome(report, "sound_loop") == ("not_tested", None, "microphone_absent")


async def test_a_silent_loop_with_a_microphone_that_hears_is_the_speakers(room: Room) -> None:
    room.answers["audio", "loop"] = {"found": False, "correlation": 0.02}
    report = await room.test()
    assert outcome(report, "sound_loop") == ("failed", "speaker_silent", None)
    assert report.findings["speaker"] == ("speaker_silent",)
    assert report.findings["microphone"] == ()


async def test_a_muted_speaker_is_not_also_silent(room: Room) -> None:
    room.readings("speaker", muted=True)
    room.answers["audio", "loop"] = {"found": False}
    report = await room.test("full")
    assert outcome(report, "speaker_volume") == ("failed", "speaker_muted", None)
    assert outcome(report, "sound_loop") == ("not_tested", None, "speaker_muted")
    assert report.findings["speaker"] == ("speaker_muted",)


async def test_what_the_loop_tells_of_the_microphone_is_the_microphones(room: Room) -> None:
    room.answers["audio", "loop"] = {**LOOP, "clipped_ratio": 0.05, "distortion_percent": 40.0}
    report = await room.test()
    assert outcome(report, "sound_loop") == ("failed", "microphone_clipping", None)
    assert report.findings["microphone"] == ("microphone_clipping",)
    assert report.findings["speaker"] == ()


async def test_a_device_that_another_program_holds_is_not_tested(room: Room) -> None:
    room.looks["camera"] = Look(readings={"fps": 30.0}, passive=True, in_use_by="chromium")
    room.answers["audio", "loop"] = Busy("held", in_use_by="zoom")
    report = await room.test()
    assert outcome(report, "camera_picture") == ("not_tested", None, "in_use")
    assert step(report, "camera_picture").measured == {"fps": 30.0, "in_use_by": "chromium"}
    assert outcome(report, "sound_loop") == ("not_tested", None, "in_use")
    assert step(report, "sound_loop").measured == {"in_use_by": "zoom"}
    assert report.result == "partial"
    assert "camera" not in report.findings
    assert "speaker_silent" not in report.covered["speaker"]


async def test_a_screen_without_cec_is_not_known_and_the_room_passes(room: Room) -> None:
    room.readings("display", cec=False, power="unknown", active_input=None)
    report = await room.test()
    assert outcome(report, "display_connected") == ("passed", None, None)
    assert outcome(report, "display_power") == ("not_tested", "display_no_cec", "no_answer")
    assert step(report, "display_power").remedy is not None
    assert report.findings["display"] == ("display_no_cec",)
    assert report.result == "passed"


async def test_an_absent_screen_is_one_finding(room: Room) -> None:
    room.readings("display", connected=False, cec=False, power="unknown")
    report = await room.test()
    assert outcome(report, "display_connected") == ("failed", "display_absent", None)
    assert outcome(report, "display_power") == ("not_tested", None, "display_absent")


async def test_a_dead_light_stops_nothing(room: Room) -> None:
    room.answers["panel", "lights"] = Broken("no such pin")
    report = await room.test()
    assert outcome(report, "panel_lights") == ("failed", "panel_crashed", None)
    assert outcome(report, "panel_button") == ("passed", None, None)
    assert {s.result for s in report.steps if s.name != "panel_lights"} == {"passed"}


async def test_the_hosts_faults_stand_side_by_side(room: Room) -> None:
    room.answers["host", "probe"] = {**GOOD["host"], "clock_synced": False, "disk_free_percent": 1.0}
    report = await room.test()
    assert outcome(report, "host_disk") == ("failed", "disk_full", None)
    assert outcome(report, "host_clock") == ("failed", "clock_unsynced", None)
    assert outcome(report, "host_load") == ("passed", None, None)
    assert report.findings["host"] == ("disk_full", "clock_unsynced")


async def test_a_machine_without_a_thermometer_passes(room: Room) -> None:
    room.answers["host", "probe"] = {k: v for k, v in GOOD["host"].items() if k != "temperature_c"}
    report = await room.test()
    assert outcome(report, "host_power") == ("not_tested", None, "unsupported")
    assert "too_hot" not in report.covered["host"]
    assert report.result == "passed"


async def test_what_could_not_be_read_is_not_passed(room: Room) -> None:
    room.answers["line", "probe"] = {}
    room.looks["camera"] = Look(readings={"luma_mean": 0.4})
    report = await room.test()
    assert outcome(report, "line") == ("not_tested", None, "no_reading")
    assert outcome(report, "camera_picture") == ("not_tested", None, "no_reading")
    assert report.result == "partial"


@pytest.mark.parametrize("error", [Unsupported("has none"), BadRequest("no such verb")])
async def test_what_a_device_cannot_do_is_not_tested(room: Room, error: DeviceError) -> None:
    room.answers["camera", "state"] = error
    report = await room.test("full")
    assert outcome(report, "camera_controls") == ("not_tested", None, error.kind)
    assert report.result == ("passed" if error.kind == "unsupported" else "partial")


async def test_processes_are_asked_side_by_side(room: Room) -> None:
    room.took_s = 4.0
    report = await room.test()
    assert report.duration_ms == 8000  # two calls of one process, not the sum of all
    assert report.result == "passed"


async def test_a_call_that_never_ends_is_cut_at_the_budget(room: Room) -> None:
    room.answers["camera", "probe"] = None
    report = await room.test()
    assert report.duration_ms == round(BUDGET_S["quick"] * 1000)
    assert outcome(report, "camera_picture") == ("not_tested", None, "out_of_time")
    assert outcome(report, "sound_loop") == ("passed", None, None)
    assert report.result == "partial"
    assert "camera" not in report.findings


async def test_cancelled_it_reports_what_it_has(room: Room) -> None:
    room.answers["host", "probe"] = {**GOOD["host"], "disk_free_percent": 1.0}
    task = asyncio.create_task(room.runner.run("full", "button", room.progress.append))
    await room.clock.advance(1.2)
    assert room.runner.running
    assert room.runner.cancel()
    await settle()
    report = await task
    assert report.result == "partial"
    assert outcome(report, "host_disk") == ("failed", "disk_full", None)
    assert outcome(report, "camera_picture") == ("passed", None, None)
    assert outcome(report, "camera_steady") == ("not_tested", None, "cancelled")
    assert len(report.steps) == room.progress[0].total
    assert room.runner.running is None
    assert not room.runner.cancel()


async def test_a_runner_that_is_stopped_leaves_no_task_and_can_run_again(room: Room) -> None:
    room.answers["camera", "probe"] = None
    task = asyncio.create_task(room.runner.run("quick", "button"))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("self-test")] == []
    del room.answers["camera", "probe"]
    assert (await room.test()).result == "passed"


async def test_one_self_test_at_a_time(room: Room) -> None:
    first = asyncio.create_task(room.runner.run("quick", "button"))
    await settle()
    with pytest.raises(AlreadyRunningError):
        await room.runner.run("quick", "command")
    await room.clock.advance(10)
    assert (await first).result == "passed"


async def test_a_defect_of_our_own_is_no_finding(room: Room) -> None:
    async def broken() -> Mapping[str, Any]:
        raise ZeroDivisionError

    runner = Runner(room.ask, broken, room.line, room.clock, lambda: None, room.expected)
    task = asyncio.create_task(runner.run("quick", "button"))
    await room.clock.advance(10)
    with pytest.raises(ExceptionGroup) as told:
        await task
    assert told.group_contains(ZeroDivisionError)


async def test_progress_tells_each_step_begin_and_end(room: Room) -> None:
    report = await room.test()
    names = [s.name for s in report.steps]
    assert sorted(p.name for p in room.progress if p.state == "running") == sorted(names)
    ended = [p for p in room.progress if p.state != "running"]
    assert sorted(p.name for p in ended) == sorted(names)
    assert [p.done for p in ended] == list(range(1, len(names) + 1))
    assert {p.total for p in room.progress} == {len(names)}
    assert {p.run for p in room.progress} == {report.run}


async def test_the_report_makes_the_wires_document(room: Room) -> None:
    room.readings("microphone", level_dbfs=-56.0)
    report = await room.test("full")
    told = msgspec.structs.asdict(report)
    common: dict[str, Any] = {
        "schema": "diemcau.selftest/1", "point": "xp-0417", "boot": "b", "session": 1, "connection": "c",
        "time": "2026-11-22T07:30:00.000Z", "clock": "synced", "mono_ms": 5,
    }  # fmt: skip
    document = Selftest(
        **common, **{name: told[name] for name in told if name not in ("findings", "covered")}
    )
    assert msgspec.json.decode(msgspec.json.encode(document), type=Selftest) == document
    assert report.findings["microphone"] == ("microphone_quiet",)
    assert report.findings["speaker"] == (), "a quiet microphone does not make the speaker quiet"
