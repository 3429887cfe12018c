"""What people and pages on this machine see of the room and can ask of it (see :mod:`.control`).

Every way to a self-test (button, page, command) ends here, at the one runner; lights, screen, health,
report and event each listen on their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec

from diemcau_drivers.contract import DeviceError

from . import baseline as baselines
from .book import HealthBook, judged
from .broker import Broker
from .clock import Clock, rfc3339
from .config import Settings
from .control import Refused
from .database import DatabaseError
from .documents import birth, health
from .health import Observation, at_once
from .indicator import Indicator
from .line.history import MINUTES, History
from .model import Scope, Selftest, Trigger, encode
from .monitor import DEVICES_OF, Monitor
from .outbox import Outbox
from .selftest.report import Progress, Report
from .selftest.runner import AlreadyRunningError, Runner
from .spool import Spool
from .stamp import Stamp
from .thresholds import REFERENCE_DBFS, Baseline
from .worker import Ask

log = logging.getLogger(__name__)

COALESCE_S = 0.2
RESULT_SHOWN_S = 15.0
WORDS = {"passed": "Self-test passed", "failed": "Self-test failed", "partial": "Self-test cut short"}


class Room:
    """Implements :class:`.control.ControlRoom`, and runs the self-tests."""

    def __init__(
        self,
        settings: Settings,
        stamp: Stamp,
        clock: Clock,
        spool: Spool,
        book: HealthBook,
        broker: Broker,
        outbox: Outbox,
        monitor: Monitor,
        runner: Runner,
        indicator: Indicator,
        ask: Ask,
        line: Callable[[], Mapping[str, Any]],
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        conference: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> None:
        """``line()``: as :meth:`.line.line.Line.now`. ``spawn(coroutine, name)``: a task ending with us.
        ``conference()``: as :meth:`.conference.Conferences.summary`."""
        self.settings = settings
        self._stamp = stamp
        self._clock = clock
        self._spool = spool
        self._book = book
        self._broker = broker
        self._outbox = outbox
        self._monitor = monitor
        self._runner = runner
        self._indicator = indicator
        self._ask = ask
        self._line = line
        self._spawn = spawn
        self._conference = conference
        self._history = History()
        outbox.measured.append(self._history.add)
        self._watchers: set[asyncio.Event] = set()
        self._press = asyncio.Event()
        self._running: dict[str, Any] | None = None
        self._fading: asyncio.Task[None] | None = None
        self.last: Selftest | None = None
        self.baseline_now: Baseline | None = None

    async def load(self) -> None:
        """What outlived the last run: the last report and the room's baseline. What cannot be read (a
        report of another version's, say) is told, and does without."""
        try:
            stored = await self._spool.get("selftest")
            if stored is not None:
                self.last = msgspec.json.decode(stored, type=Selftest)
        except (DatabaseError, msgspec.DecodeError) as error:
            log.error("no last self-test report: %s", error)
        try:
            self.baseline_now = baselines.load(Path(self.settings.state_dir))
        except (baselines.BaselineError, OSError) as error:
            log.error("no baseline: %s", error)
            self._outbox.tell("baseline_unreadable", data={"detail": str(error)})

        try:
            self._history.restore(await self._spool.newest("telemetry", MINUTES))
        except DatabaseError as error:
            log.error("no history of the line: %s", error)

    async def run(self) -> None:
        """Serve the button."""
        while True:
            await self._press.wait()
            self._press.clear()
            await self._pressed()

    def panel(self, event: str, data: Mapping[str, Any]) -> None:
        """What the panel's process tells unasked. A press during a self-test asks for what is going on."""
        if event == "hold":
            self._held()
        elif event == "press" and self._running is None:
            self._press.set()

    @property
    def testing(self) -> bool:
        """A self-test is going on."""
        return self._running is not None

    # --- ControlRoom

    def status(self) -> Mapping[str, Any]:
        broker = self._broker
        online = broker.connection is not None and broker.trouble is None
        return {
            "birth": msgspec.to_builtins(birth(self.settings, self._stamp, self._monitor.looks)),
            "health": msgspec.to_builtins(health(self._stamp, self._book)),
            "connection": {
                "state": "online" if online else "connecting" if broker.enrolled else "enrolling",
                "broker": broker.url,
                "since": rfc3339(broker.since_s),
                "detail": broker.trouble,
            },
            "selftest": {
                "running": self._running,
                "last": None if self.last is None else msgspec.to_builtins(self.last),
            },
            "conference": self._conference(),
            "events": [msgspec.to_builtins(event) for event in self._outbox.recent],
            "language": self.settings.language,
        }

    async def selftest(
        self, scope: Scope, trigger: Trigger, progress: Callable[[Mapping[str, Any]], None]
    ) -> Mapping[str, Any]:
        return msgspec.to_builtins(await self.test(scope, trigger, progress))

    def cancel(self) -> bool:
        return self._runner.cancel()

    def press(self, hold_s: float) -> None:
        self.panel("hold" if hold_s >= self.settings.panel.hold_s else "press", {})

    async def subscribe(self) -> AsyncIterator[Mapping[str, Any]]:
        news = asyncio.Event()
        self._watchers.add(news)
        try:
            while True:
                news.clear()
                yield self.status()
                await news.wait()
                await self._clock.sleep(COALESCE_S)
        finally:
            self._watchers.discard(news)

    async def baseline(self) -> Mapping[str, Any]:
        """Look and listen now, and keep what is found as this room's normal."""
        if self._running is not None:
            raise Refused("busy", "a self-test is running")
        try:
            loop = None
            for process in ("camera", "audio"):
                if any(device in self._book.parts for device in DEVICES_OF[process]):
                    await self._monitor.look(process)
            # The monitor keeps the last good look of what is gone now: that is not how the room is today.
            gone = {
                part: health.codes
                for part, health in self._book.parts.items()
                if any(at_once(code) for code in health.codes)
            }
            if gone:
                raise baselines.BaselineRefusedError(gone)
            if {"microphone", "speaker"} <= set(self._book.devices):
                level = {"level_dbfs": REFERENCE_DBFS}
                loop = await self._ask("audio", "loop", level, deadline_s=self.settings.probe.deadline_s + 4)
            looks = {device: look.readings for device, look in self._monitor.looks.items()}
            found = baselines.derive(rfc3339(self._clock.wall()), looks, loop)
            await asyncio.to_thread(baselines.save, Path(self.settings.state_dir), found)
        except DeviceError as error:
            raise Refused("failed", f"the room cannot be measured: {error}") from error
        except baselines.BaselineRefusedError as error:
            raise Refused("failed", f"mend this first: {error}") from error
        except OSError as error:
            raise Refused("failed", f"not kept: {error}") from error
        self.baseline_now = found
        self._outbox.tell("baseline_recorded")
        return msgspec.to_builtins(found)

    def line(self) -> Mapping[str, Any]:
        return {
            "line": msgspec.to_builtins(judged(self._book.parts["line"])),
            **self._line(),
            "history": self._history.minutes(),
        }

    def changed(self) -> None:
        """Somebody who watches wants to see this."""
        for news in self._watchers:
            news.set()

    # --- The self-test

    async def test(
        self, scope: Scope, trigger: Trigger, progress: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> Selftest:
        """Run it, and let health, retained report, event, lights and screen know. Raises Refused."""
        if self._running is not None:
            raise Refused("busy", "a self-test is running")
        running: dict[str, Any] = {"run": "", "scope": scope, "trigger": trigger, "total": 0, "steps": []}

        def listen(step: Progress) -> None:
            entry = msgspec.to_builtins(step)
            running["run"], running["total"] = step.run, step.total
            steps: list[dict[str, Any]] = running["steps"]
            steps[:] = [known for known in steps if known["name"] != step.name]
            steps.append(entry)
            if step.device == "display" and step.state != "running":
                # Not before: on a dead screen that would hold its own test up.
                self._indicator.say("Self-test is running")
            progress(entry)
            self.changed()

        self._running = running
        self._monitor.paused = True
        self._indicator.testing = True
        if self._fading is not None:
            self._fading.cancel()
        self._indicator.say("")
        try:
            report = await self._runner.run(scope, trigger, listen)
        except AlreadyRunningError as error:
            raise Refused("busy", str(error)) from error
        finally:
            self._running = None
            self._monitor.paused = False
            self._indicator.testing = False
            self._indicator.say("")
            self.changed()
        return self._reported(report)

    def _reported(self, report: Report) -> Selftest:
        for device, codes in report.findings.items():
            covers = report.covered[device]
            self._book.apply(device, Observation(codes, covers, decisive=True, partial=True))
        document = Selftest(
            **self._stamp.fields(Selftest),
            run=report.run,
            scope=report.scope,
            trigger=report.trigger,
            result=report.result,
            duration_ms=report.duration_ms,
            steps=report.steps,
        )
        self.last = document
        self._indicator.say(WORDS[report.result])
        self._fading = self._spawn(self._fade(), "result fades")
        self.changed()
        self._outbox.tell(
            "selftest",
            data={
                "run": report.run,
                "scope": report.scope,
                "trigger": report.trigger,
                "result": report.result,
                "codes": [step.code for step in report.steps if step.code is not None],
            },
        )
        for process in DEVICES_OF:
            self._monitor.wake(process)
        payload = encode(document)
        self._spawn(self._keep(payload), "report kept")
        self._spawn(self._publish(payload), "report published")
        return document

    async def _keep(self, report: bytes) -> None:
        try:
            await self._spool.put("selftest", report.decode())
        except DatabaseError as error:
            log.error("self-test report not kept: %s", error)

    async def _publish(self, report: bytes) -> None:
        await self._broker.publish("selftest", report, retain=True)

    async def _fade(self) -> None:
        await self._clock.sleep(RESULT_SHOWN_S)
        self._indicator.say("")

    async def _pressed(self) -> None:
        if self._indicator.help:
            self._indicator.help = False
            self._outbox.tell("help_ended", device="panel")
            self._indicator.refresh()
        try:
            await self.test("quick", "button")
        except Refused as error:
            log.info("button: %s", error)

    def _held(self) -> None:
        """A hold cancels a test; where none runs, someone in the room calls for help."""
        if self._runner.cancel():
            return
        self._indicator.help = not self._indicator.help
        self._outbox.tell("help_called" if self._indicator.help else "help_ended", device="panel")
        self._indicator.refresh()
        self.changed()
