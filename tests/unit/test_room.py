"""The button and the self-test: whoever asks, health, report, event, light and screen all get to know."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from diemcau_agent.book import HealthBook
from diemcau_agent.broker import Broker
from diemcau_agent.config import check
from diemcau_agent.control import Refused
from diemcau_agent.indicator import Indicator
from diemcau_agent.model import Selftest, Step
from diemcau_agent.monitor import Monitor
from diemcau_agent.outbox import Outbox
from diemcau_agent.room import Room
from diemcau_agent.selftests import RESULT_SHOWN_S, Selftests
from diemcau_agent.stamp import Stamp
from diemcau_agent.telemetry import Window
from diemcau_agent.worker import Ask, Hung
from diemcau_drivers.contract import DEVICES
from fakeclock import FakeClock, settle
from scripted_room import ScriptedRoom
from steered_spool import Card, opened

SETTINGS = {
    "point": "xp-0417",
    "commands": "unsigned",
    "backends": "sim",
    "broker": {"urls": ["mqtt://127.0.0.1"]},
    "language": "en",
}


async def untended(process: str, look: object, *, unplugged: bool) -> None:
    """Nobody heals what fails here."""


class Bench:
    """A room of scripted devices on a real spool; what it publishes is kept in ``published``."""

    def __init__(self, clock: FakeClock, directory: Path, card: Card) -> None:
        self.clock = clock
        self.card = card
        self.devices = ScriptedRoom(clock)
        self.devices.answers["display", "set"] = {"message": ""}
        ask = cast("Ask", self.devices.ask)
        settings = check({**SETTINGS, "state_dir": str(directory)})
        stamp = Stamp("xp-0417", "boot", 3, clock)
        self.book = HealthBook(DEVICES, clock)
        self.outbox = Outbox(card.spool, stamp, clock, Window())
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.wire = SimpleNamespace(
            publish=self.publish,
            connection=None,
            trouble="not connected yet",
            url="mqtt://x",
            since_s=0.0,
            enrolled=True,
        )
        self.monitor = Monitor(
            settings, clock, self.book, ask, host=self.devices.host, line=self.devices.line,
            baseline=lambda: None, progress=lambda: None, judged=lambda part, readings: None,
            identified=lambda: None, heal=untended,
        )  # fmt: skip
        self.indicator = Indicator(ask, clock, "en", lights=True, screen=True)
        self.tasks: list[asyncio.Task[Any]] = []
        wire = cast("Broker", self.wire)
        self.selftests = Selftests(
            stamp, clock, card.spool, self.book, wire, self.outbox, self.monitor, self.devices.runner,
            self.indicator, self.spawn, lambda: self.room.changed(),
        )  # fmt: skip
        self.room = Room(
            settings, stamp, clock, card.spool, self.book, wire, self.outbox, self.monitor, self.selftests,
            self.indicator, ask, lambda: {"reflector": "stamp.example"},
        )  # fmt: skip

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        self.tasks.append(asyncio.create_task(work, name=name))
        return self.tasks[-1]

    async def publish(self, document: str, payload: bytes, *, retain: bool) -> bool:
        assert retain
        self.published.append((document, json.loads(payload)))
        return True

    async def live(self, seconds: float) -> None:
        await self.card.live(self.clock, seconds, 0.5)

    async def test(self) -> Selftest:
        task = self.spawn(self.selftests.test("quick", "command"), "test")
        while not task.done():
            await self.clock.advance(0.5)
        return await task

    @property
    def said(self) -> list[str]:
        return [
            args["message"] for process, do, args in self.devices.calls if (process, do) == ("display", "set")
        ]

    @property
    def events(self) -> list[str]:
        return [event.kind for event in self.outbox.recent]


@pytest.fixture
async def bench(clock: FakeClock, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(clock, tmp_path, await opened(tmp_path))
    for name, work in (
        ("button", made.room.run()), ("indicator", made.indicator.run()), ("events", made.outbox.run())
    ):  # fmt: skip
        made.spawn(work, name)
    await settle()
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    made.card.broken = False
    await made.card.spool.close()


def the_step(report: Selftest, name: str) -> Step:
    return next(step for step in report.steps if step.name == name)


async def test_a_press_runs_a_self_test_and_all_who_listen_get_to_know(bench: Bench) -> None:
    bench.room.panel("press", {})
    await bench.live(0.5)
    assert bench.indicator.pattern == "testing"
    assert bench.monitor.paused
    await bench.live(15)
    (published,) = (document for name, document in bench.published if name == "selftest")
    assert (published["result"], published["scope"], published["trigger"]) == ("passed", "quick", "button")
    assert "selftest" in bench.events
    assert not bench.monitor.paused
    assert bench.indicator.pattern != "testing"
    assert bench.said == ["Self-test is running", "Self-test passed"]
    await bench.live(RESULT_SHOWN_S)
    assert bench.said[-1] == ""


async def test_presses_during_a_test_do_not_queue_up(bench: Bench) -> None:
    bench.devices.took_s = 2.0
    for _ in range(5):
        bench.room.panel("press", {})
        await bench.live(0.5)
    await bench.live(60)
    assert bench.events.count("selftest") == 1


async def test_a_finding_enters_health_at_once_and_leaves_with_the_next_good_test(bench: Bench) -> None:
    good = bench.devices.answers["audio", "loop"]
    assert isinstance(good, Mapping)
    bench.devices.answers["audio", "loop"] = {**good, "found": False, "correlation": 0.1}
    assert (await bench.test()).result == "failed"
    assert bench.book.parts["speaker"].code == "speaker_silent"
    assert bench.book.readiness()[0] == "not_ready"
    bench.devices.answers["audio", "loop"] = good
    assert (await bench.test()).result == "passed"
    assert bench.book.parts["speaker"].code is None


async def test_a_hold_cancels_the_test_and_calls_no_help(bench: Bench) -> None:
    bench.devices.took_s = 2.0
    bench.room.panel("press", {})
    await bench.live(1)
    bench.room.panel("hold", {})
    await bench.live(2)
    assert bench.selftests.last is not None
    assert bench.selftests.last.result == "partial"
    assert not bench.indicator.help
    assert not bench.monitor.paused


async def test_a_hold_at_rest_calls_for_help_until_the_next_hold_or_press(bench: Bench) -> None:
    bench.room.press(3.0)
    await bench.live(0.5)
    assert (bench.indicator.help, bench.indicator.pattern) == (True, "help")
    bench.room.press(3.0)
    await bench.live(0.5)
    assert not bench.indicator.help
    bench.room.press(3.0)
    bench.room.press(0.0)
    await bench.live(15)
    assert not bench.indicator.help
    assert bench.events[:4] == ["help_called", "help_ended", "help_called", "help_ended"]


async def test_only_one_test_or_baseline_at_a_time(bench: Bench) -> None:
    first = bench.spawn(bench.selftests.test("quick", "page"), "first")
    await settle()
    with pytest.raises(Refused) as test:
        await bench.selftests.test("quick", "command")
    with pytest.raises(Refused) as baseline:
        await bench.room.baseline()
    assert (test.value.code, baseline.value.code) == ("busy", "busy")
    await bench.live(15)
    assert (await first).result == "passed"


async def test_a_hung_screen_delays_no_test_and_is_what_the_test_finds(bench: Bench) -> None:
    bench.devices.answers["display", "probe"] = Hung("no answer")
    bench.devices.answers["display", "set"] = None
    report = await bench.test()
    assert report.duration_ms < 10_000
    assert the_step(report, "display_connected").code == "display_hung"
    assert report.result == "failed"
    order = [do for process, do, _ in bench.devices.calls if process == "display"]
    assert order[0] == "probe"  # words before it would have cost the test its time


async def test_a_test_that_is_given_up_leaves_the_watch_running(bench: Bench) -> None:
    test = bench.spawn(bench.selftests.test("full", "command"), "test")
    await bench.live(1)
    assert bench.monitor.paused
    test.cancel()
    await bench.live(1)
    assert not bench.monitor.paused
    assert bench.indicator.pattern != "testing"
    assert (await bench.test()).result == "passed"


async def test_the_report_outlives_a_restart(bench: Bench, clock: FakeClock, tmp_path: Path) -> None:
    report = await bench.test()
    await bench.card.settle()
    after = Bench(clock, tmp_path, bench.card)
    await after.room.load()
    assert after.selftests.last == report


async def test_a_report_of_another_version_does_not_prevent_the_start(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.card.spool.put("selftest", '{"schema": "diemcau.selftest/0"}')
    await bench.room.load()
    assert bench.selftests.last is None
    assert "no last self-test report" in caplog.text


async def test_a_card_that_fails_costs_the_kept_report_only(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.card.broken = True
    assert (await bench.test()).result == "passed"
    await bench.live(1)
    assert [name for name, _ in bench.published] == ["selftest"]
    assert "report not kept" in caplog.text
    await bench.room.load()


async def test_a_baseline_is_recorded_and_outlives_a_restart(
    bench: Bench, clock: FakeClock, tmp_path: Path
) -> None:
    recording = bench.spawn(bench.room.baseline(), "baseline")
    while not recording.done():
        await bench.live(0.5)
    recorded = await recording
    assert recorded["readings"]["camera"]["sharpness"] == 400.0
    after = Bench(clock, tmp_path, bench.card)
    await after.room.load()
    assert after.room.baseline_now == bench.room.baseline_now


async def test_a_baseline_is_never_made_of_how_the_room_once_was(bench: Bench) -> None:
    looking = bench.spawn(bench.monitor.look("camera"), "look")
    await bench.live(1)
    await looking
    bench.devices.answers["camera", "probe"] = Hung("no answer")
    recording = bench.spawn(bench.room.baseline(), "baseline")
    while not recording.done():
        await bench.live(0.5)
    with pytest.raises(Refused, match="camera_hung"):
        await recording


async def test_who_watches_sees_the_status_now_and_on_each_change(bench: Bench) -> None:
    seen: list[Mapping[str, Any]] = []

    async def watch() -> None:
        async for status in bench.room.subscribe():
            seen.append(status)

    bench.spawn(watch(), "watch")
    await settle()
    assert (len(seen), seen[0]["connection"]["state"]) == (1, "connecting")
    bench.room.changed()
    bench.room.changed()
    await bench.live(1)
    assert len(seen) == 2
    await bench.live(30)
    assert len(seen) == 2
