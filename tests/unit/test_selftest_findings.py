"""What a run finds: a device's error is that device's step, and *not tested* is never *passed*."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from diemcau_agent.selftest.plan import BUDGET_S
from diemcau_agent.thresholds import Baseline
from diemcau_agent.worker import Crashed, Hung, Stuck
from diemcau_drivers.contract import Absent, BadRequest, Broken, Busy, DeviceError, Look, Unsupported
from fakeclock import FakeClock, settle
from healthy import GOOD, LOOP
from scripted_room import ScriptedRoom, outcome, step


@pytest.fixture
def room(clock: FakeClock) -> ScriptedRoom:
    return ScriptedRoom(clock)


async def test_each_step_tells_what_was_measured_and_expected(room: ScriptedRoom) -> None:
    report = await room.test()
    picture = step(report, "camera_picture")
    assert picture.measured == {"luma_mean": 0.45, "motion_db": -38.0, "sharpness": 400.0, "fps": 30.0}
    assert "sharpness at least 40" in picture.expected
    assert picture.remedy is None


async def test_a_baseline_is_what_is_expected(room: ScriptedRoom) -> None:
    room.baseline = Baseline(time="", readings={"camera": {"sharpness": 2000.0}})
    report = await room.test()
    picture = step(report, "camera_picture")
    assert outcome(report, "camera_picture") == ("failed", "frame_blurred", None)
    assert "sharpness at least 800" in picture.expected
    assert picture.measured["sharpness_ratio"] == 0.2


async def test_a_fault_is_one_failed_step_with_its_remedy_in_both_languages(room: ScriptedRoom) -> None:
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


async def test_a_picture_found_at_fault_is_looked_at_once_more(room: ScriptedRoom) -> None:
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
async def test_a_device_that_fails_is_its_own_failed_step(
    room: ScriptedRoom, error: DeviceError, code: str
) -> None:
    room.answers["camera", "probe"] = error
    report = await room.test("full")
    assert outcome(report, "camera_picture") == ("failed", code, None)
    assert step(report, "camera_picture").measured == {"detail": error.detail}
    assert outcome(report, "camera_controls") == ("not_tested", None, code)
    assert outcome(report, "camera_steady") == ("not_tested", None, code)
    assert report.findings["camera"] == (code,)
    assert {s.result for s in report.steps if s.device != "camera"} == {"passed"}
    assert report.duration_ms <= BUDGET_S["full"] * 1000


async def test_sound_that_hangs_is_both_devices_and_the_loop_is_not_tested(room: ScriptedRoom) -> None:
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
    room: ScriptedRoom, changes: dict[str, Any], code: str
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


async def test_an_absent_microphone_does_not_hide_the_speakers_volume(room: ScriptedRoom) -> None:
    room.looks["microphone"] = Look(error=Absent("unplugged"))
    room.readings("speaker", volume_percent=55)
    report = await room.test()
    assert outcome(report, "microphone_level") == ("failed", "microphone_absent", None)
    assert outcome(report, "speaker_volume") == ("passed", None, None)
    assert step(report, "speaker_volume").measured["volume_percent"] == 55
    assert outcome(report, "sound_loop") == ("not_tested", None, "microphone_absent")


async def test_a_silent_loop_with_a_microphone_that_hears_is_the_speakers(room: ScriptedRoom) -> None:
    room.answers["audio", "loop"] = {"found": False, "correlation": 0.02}
    report = await room.test()
    assert outcome(report, "sound_loop") == ("failed", "speaker_silent", None)
    assert report.findings["speaker"] == ("speaker_silent",)
    assert report.findings["microphone"] == ()


async def test_a_muted_speaker_is_not_also_silent(room: ScriptedRoom) -> None:
    room.readings("speaker", muted=True)
    room.answers["audio", "loop"] = {"found": False}
    report = await room.test("full")
    assert outcome(report, "speaker_volume") == ("failed", "speaker_muted", None)
    assert outcome(report, "sound_loop") == ("not_tested", None, "speaker_muted")
    assert report.findings["speaker"] == ("speaker_muted",)


async def test_what_the_loop_tells_of_the_microphone_is_the_microphones(room: ScriptedRoom) -> None:
    room.answers["audio", "loop"] = {**LOOP, "clipped_ratio": 0.05, "distortion_percent": 40.0}
    report = await room.test()
    assert outcome(report, "sound_loop") == ("failed", "microphone_clipping", None)
    assert report.findings["microphone"] == ("microphone_clipping",)
    assert report.findings["speaker"] == ()


async def test_a_device_that_another_program_holds_is_not_tested(room: ScriptedRoom) -> None:
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


async def test_a_camera_that_is_switched_off_is_in_nobodys_use(room: ScriptedRoom) -> None:
    room.looks["camera"] = Look(readings={"power": False}, passive=True)
    report = await room.test()
    assert outcome(report, "camera_picture") == ("not_tested", None, "switched_off")
    assert step(report, "camera_picture").measured == {}
    assert report.result == "partial"


async def test_a_screen_without_cec_is_not_known_and_the_room_passes(room: ScriptedRoom) -> None:
    room.readings("display", cec=False, power="unknown", active_input=None)
    report = await room.test()
    assert outcome(report, "display_connected") == ("passed", None, None)
    assert outcome(report, "display_power") == ("not_tested", "display_no_cec", "no_answer")
    assert step(report, "display_power").remedy is not None
    assert report.findings["display"] == ("display_no_cec",)
    assert report.result == "passed"


async def test_an_absent_screen_is_one_finding(room: ScriptedRoom) -> None:
    room.readings("display", connected=False, cec=False, power="unknown")
    report = await room.test()
    assert outcome(report, "display_connected") == ("failed", "display_absent", None)
    assert outcome(report, "display_power") == ("not_tested", None, "display_absent")


async def test_a_dead_light_stops_nothing(room: ScriptedRoom) -> None:
    room.answers["panel", "lights"] = Broken("no such pin")
    report = await room.test()
    assert outcome(report, "panel_lights") == ("failed", "panel_crashed", None)
    assert outcome(report, "panel_button") == ("passed", None, None)
    assert {s.result for s in report.steps if s.name != "panel_lights"} == {"passed"}


async def test_the_hosts_faults_stand_side_by_side(room: ScriptedRoom) -> None:
    room.answers["host", "probe"] = {**GOOD["host"], "clock_synced": False, "disk_free_percent": 1.0}
    report = await room.test()
    assert outcome(report, "host_disk") == ("failed", "disk_full", None)
    assert outcome(report, "host_clock") == ("failed", "clock_unsynced", None)
    assert outcome(report, "host_load") == ("passed", None, None)
    assert report.findings["host"] == ("disk_full", "clock_unsynced")


async def test_a_machine_without_a_thermometer_passes(room: ScriptedRoom) -> None:
    room.answers["host", "probe"] = {k: v for k, v in GOOD["host"].items() if k != "temperature_c"}
    report = await room.test()
    assert outcome(report, "host_power") == ("not_tested", None, "unsupported")
    assert "too_hot" not in report.covered["host"]
    assert report.result == "passed"


async def test_what_could_not_be_read_is_not_passed(room: ScriptedRoom) -> None:
    room.answers["line", "probe"] = {}
    room.looks["camera"] = Look(readings={"luma_mean": 0.4})
    report = await room.test()
    assert outcome(report, "line") == ("not_tested", None, "no_reading")
    assert outcome(report, "camera_picture") == ("not_tested", None, "no_reading")
    assert report.result == "partial"


@pytest.mark.parametrize("error", [Unsupported("has none"), BadRequest("no such verb")])
async def test_what_a_device_cannot_do_is_not_tested(room: ScriptedRoom, error: DeviceError) -> None:
    room.answers["camera", "state"] = error
    report = await room.test("full")
    assert outcome(report, "camera_controls") == ("not_tested", None, error.kind)
    assert report.result == ("passed" if error.kind == "unsupported" else "partial")
