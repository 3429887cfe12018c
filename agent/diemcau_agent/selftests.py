"""The room's self-tests: whoever asks for one (button, page, command), lights, screen, health, report and
event each get to know, on their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from .book import HealthBook
from .broker import Broker
from .clock import Clock
from .control import Refused
from .database import DatabaseError
from .health import Observation
from .indicator import Indicator
from .model import Scope, Selftest, Trigger, encode
from .monitor import DEVICES_OF, Monitor
from .outbox import Outbox
from .selftest.report import Progress, Report
from .selftest.runner import AlreadyRunningError, Runner
from .spool import Spool
from .stamp import Stamp

log = logging.getLogger(__name__)

RESULT_SHOWN_S = 15.0
WORDS = {"passed": "Self-test passed", "failed": "Self-test failed", "partial": "Self-test cut short"}


class Selftests:
    """``running``: what a status tells of the one that is going on; ``last``: the newest report."""

    def __init__(
        self,
        stamp: Stamp,
        clock: Clock,
        spool: Spool,
        book: HealthBook,
        broker: Broker,
        outbox: Outbox,
        monitor: Monitor,
        runner: Runner,
        indicator: Indicator,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[Any]],
        changed: Callable[[], None],
    ) -> None:
        """``spawn(coroutine, name)``: a task ending with us. ``changed()``: who watches wants to see it."""
        self._stamp = stamp
        self._clock = clock
        self._spool = spool
        self._book = book
        self._broker = broker
        self._outbox = outbox
        self._monitor = monitor
        self._runner = runner
        self._indicator = indicator
        self._spawn = spawn
        self._changed = changed
        self._fading: asyncio.Task[Any] | None = None
        self.running: dict[str, Any] | None = None
        self.last: Selftest | None = None

    async def load(self) -> None:
        """The last report. What cannot be read (another version's, say) is told, and does without."""
        try:
            stored = await self._spool.get("selftest")
            if stored is not None:
                self.last = msgspec.json.decode(stored, type=Selftest)
        except (DatabaseError, msgspec.DecodeError) as error:
            log.error("no last self-test report: %s", error)

    def cancel(self) -> bool:
        """Cut the one that is running short; False where there is none."""
        return self._runner.cancel()

    async def test(
        self, scope: Scope, trigger: Trigger, progress: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> Selftest:
        """Run it, and let health, retained report, event, lights and screen know. Raises Refused."""
        if self.running is not None:
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
            self._changed()

        self.running = running
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
            self.running = None
            self._monitor.paused = False
            self._indicator.testing = False
            self._indicator.say("")
            self._changed()
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
        self._changed()
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
