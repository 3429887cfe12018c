"""What people and pages on this machine see of the room and can ask of it (see :mod:`.control`), and what its
button does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
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
from .health import at_once
from .indicator import Indicator
from .line.history import MINUTES, History
from .model import Scope, Trigger
from .monitor import DEVICES_OF, Monitor
from .outbox import Outbox
from .selftests import Selftests
from .spool import Spool
from .stamp import Stamp
from .thresholds import REFERENCE_DBFS, Baseline
from .worker import Ask

log = logging.getLogger(__name__)

COALESCE_S = 0.2


class Room:
    """Implements :class:`.control.ControlRoom`."""

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
        selftests: Selftests,
        indicator: Indicator,
        ask: Ask,
        line: Callable[[], Mapping[str, Any]],
        conference: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> None:
        """``line()``: as :meth:`.line.line.Line.now`.
        ``conference()``: as :meth:`.conference.Conferences.summary`."""
        self.settings = settings
        self._stamp = stamp
        self._clock = clock
        self._spool = spool
        self._book = book
        self._broker = broker
        self._outbox = outbox
        self._monitor = monitor
        self._selftests = selftests
        self._indicator = indicator
        self._ask = ask
        self._line = line
        self._conference = conference
        self._history = History()
        outbox.measured.append(self._history.add)
        self._watchers: set[asyncio.Event] = set()
        self._press = asyncio.Event()
        self.baseline_now: Baseline | None = None

    async def load(self) -> None:
        """What outlived the last run: the last report and the room's baseline. What cannot be read (a
        report of another version's, say) is told, and does without."""
        await self._selftests.load()
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
        elif event == "press" and self._selftests.running is None:
            self._press.set()

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
                "running": self._selftests.running,
                "last": None if self._selftests.last is None else msgspec.to_builtins(self._selftests.last),
            },
            "conference": self._conference(),
            "events": [msgspec.to_builtins(event) for event in self._outbox.recent],
            "language": self.settings.language,
        }

    async def selftest(
        self, scope: Scope, trigger: Trigger, progress: Callable[[Mapping[str, Any]], None]
    ) -> Mapping[str, Any]:
        return msgspec.to_builtins(await self._selftests.test(scope, trigger, progress))

    def cancel(self) -> bool:
        return self._selftests.cancel()

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
        if self._selftests.running is not None:
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

    async def _pressed(self) -> None:
        if self._indicator.help:
            self._indicator.help = False
            self._outbox.tell("help_ended", device="panel")
            self._indicator.refresh()
        try:
            await self._selftests.test("quick", "button")
        except Refused as error:
            log.info("button: %s", error)

    def _held(self) -> None:
        """A hold cancels a test; where none runs, someone in the room calls for help."""
        if self._selftests.cancel():
            return
        self._indicator.help = not self._indicator.help
        self._outbox.tell("help_called" if self._indicator.help else "help_ended", device="panel")
        self._indicator.refresh()
        self.changed()
