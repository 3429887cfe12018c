"""The runner: side by side, within its budget, cut short where it is told to, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from diemcau_agent.model import Scope, Selftest
from diemcau_agent.selftest.plan import BUDGET_S
from diemcau_agent.selftest.runner import AlreadyRunningError, Runner
from diemcau_drivers.contract import DEVICES
from fakeclock import FakeClock, settle
from healthy import GOOD
from scripted_room import ScriptedRoom, outcome


@pytest.fixture
def room(clock: FakeClock) -> ScriptedRoom:
    return ScriptedRoom(clock)


@pytest.mark.parametrize("scope", ["quick", "full"])
async def test_a_room_that_is_well_passes(room: ScriptedRoom, scope: Scope) -> None:
    report = await room.test(scope)
    assert {(s.name, s.result, s.code, s.reason) for s in report.steps} == {
        (s.name, "passed", None, None) for s in report.steps
    }
    assert report.result == "passed"
    assert report.findings == dict.fromkeys((*DEVICES, "host", "line"), ())
    assert report.duration_ms < BUDGET_S[scope] * 1000


async def test_processes_are_asked_side_by_side(room: ScriptedRoom) -> None:
    room.took_s = 4.0
    report = await room.test()
    assert report.duration_ms == 8000  # two calls of one process, not the sum of all
    assert report.result == "passed"


async def test_a_call_that_never_ends_is_cut_at_the_budget(room: ScriptedRoom) -> None:
    room.answers["camera", "probe"] = None
    report = await room.test()
    assert report.duration_ms == round(BUDGET_S["quick"] * 1000)
    assert outcome(report, "camera_picture") == ("not_tested", None, "out_of_time")
    assert outcome(report, "sound_loop") == ("passed", None, None)
    assert report.result == "partial"
    assert "camera" not in report.findings


async def test_cancelled_it_reports_what_it_has(room: ScriptedRoom) -> None:
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


async def test_a_runner_that_is_stopped_leaves_no_task_and_can_run_again(room: ScriptedRoom) -> None:
    room.answers["camera", "probe"] = None
    task = asyncio.create_task(room.runner.run("quick", "button"))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("self-test")] == []
    del room.answers["camera", "probe"]
    assert (await room.test()).result == "passed"


async def test_one_self_test_at_a_time(room: ScriptedRoom) -> None:
    first = asyncio.create_task(room.runner.run("quick", "button"))
    await settle()
    with pytest.raises(AlreadyRunningError):
        await room.runner.run("quick", "command")
    await room.clock.advance(10)
    assert (await first).result == "passed"


async def test_a_defect_of_our_own_is_no_finding(room: ScriptedRoom) -> None:
    async def broken() -> Mapping[str, Any]:
        raise ZeroDivisionError

    runner = Runner(room.ask, broken, room.line, room.clock, lambda: None, room.expected)
    task = asyncio.create_task(runner.run("quick", "button"))
    await room.clock.advance(10)
    with pytest.raises(ExceptionGroup) as told:
        await task
    assert told.group_contains(ZeroDivisionError)


async def test_progress_tells_each_step_begin_and_end(room: ScriptedRoom) -> None:
    report = await room.test()
    names = [s.name for s in report.steps]
    assert sorted(p.name for p in room.progress if p.state == "running") == sorted(names)
    ended = [p for p in room.progress if p.state != "running"]
    assert sorted(p.name for p in ended) == sorted(names)
    assert [p.done for p in ended] == list(range(1, len(names) + 1))
    assert {p.total for p in room.progress} == {len(names)}
    assert {p.run for p in room.progress} == {report.run}


async def test_the_report_makes_the_wires_document(room: ScriptedRoom) -> None:
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
