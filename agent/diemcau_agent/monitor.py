"""One task a device's process: probe, observe, act."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from diemcau_drivers.contract import DeviceError, Look

from . import judges
from .book import HealthBook
from .clock import Clock, wait
from .codes import CODES
from .config import Settings
from .health import Observation
from .thresholds import DEFAULTS, Baseline, Thresholds
from .worker import Ask

log = logging.getLogger(__name__)

DEVICES_OF: dict[str, tuple[str, ...]] = {
    "camera": ("camera",),
    "audio": ("microphone", "speaker"),
    "display": ("display",),
    "panel": ("panel",),
}
CONFIRM_S = 1.0
"""A look that differs from what is judged is repeated this soon: two looks make a code, not two periods."""
RETRY_S = 0.2
"""After a kill: it was hung or died, and a new process may well be good."""
FAILING_S = 4.0
"""While a device stays gone, hung or crashed (its process's own backoff comes on top)."""
AUDIO_SAMPLE_S = 2.0
"""LESSONS: silence is -60 dBFS for 2 s."""

Read = Callable[[], Awaitable[Mapping[str, Any]]]


def interval_s(period_s: float) -> float:
    """Pause between looks such that a look and its confirmation fit into the promised period."""
    return max(period_s / 2, period_s - 10)


class Monitor:
    """Watches every expected device, the host and the line, and writes into the health book."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        book: HealthBook,
        ask: Ask,
        *,
        host: Read,
        line: Read,
        baseline: Callable[[], Baseline | None],
        progress: Callable[[], None],
        judged: Callable[[str, Mapping[str, Any]], None],
        identified: Callable[[], None],
        limits: Thresholds = DEFAULTS,
    ) -> None:
        """``host``, ``line``: flat readings, DeviceError on failure. ``baseline``: the room's own, or
        None. ``progress`` is called at each turn of the watch, ``judged`` with each part's readings,
        ``identified`` when a device tells who it is or what it can do for the first time or anew."""
        self.settings = settings
        self._clock = clock
        self._book = book
        self._ask = ask
        self._host = host
        self._line = line
        self._baseline = baseline
        self._progress = progress
        self._judged = judged
        self._identified = identified
        self._limits = limits
        self._wake = {process: asyncio.Event() for process in DEVICES_OF}
        self._present: dict[str, bool | None] = {}
        self.looks: dict[str, Look] = {}
        self.paused = False

    async def run(self) -> None:
        probe = self.settings.probe
        async with asyncio.TaskGroup() as group:
            for process, devices in DEVICES_OF.items():
                if any(device in self._book.parts for device in devices):
                    group.create_task(self._watch(process), name=f"watch {process}")
            group.create_task(self._every(probe.presence_s, self.look_presence), name="watch presence")
            group.create_task(self._every(probe.host_s, self.look_host, "host"), name="watch host")
            group.create_task(self._every(probe.line_s, self.look_line, "line"), name="watch line")

    def wake(self, process: str) -> None:
        """Look soon, whatever the period."""
        self._wake[process].set()

    async def look(self, process: str) -> None:
        """Probe the process's devices now and write down what they show."""
        probe = self.settings.probe
        args = {"seconds": AUDIO_SAMPLE_S} if process == "audio" else {}
        # Sound takes as long as it is listened to.
        deadline_s = probe.deadline_s + (AUDIO_SAMPLE_S if process == "audio" else 0)
        try:
            answer = await self._ask(process, "probe", args, deadline_s=deadline_s)
        except DeviceError as error:
            log.log(
                logging.INFO if judges.failure_code(process, error.kind) else logging.WARNING, "%s", error
            )
            for device in DEVICES_OF[process]:
                self._book.apply(device, failure(device, error))
            return
        for device in DEVICES_OF[process]:
            data = answer.get(device, {}) if process == "audio" else answer
            self.observe(device, Look.from_dict(data))

    def observe(self, device: str, look: Look) -> None:
        if look.error is not None:
            self._book.apply(device, failure(device, look.error))
            return
        known = self.looks.get(device)
        self.looks[device] = look
        if known is None or (known.identity, known.capabilities) != (look.identity, look.capabilities):
            self._identified()
        self._judged(device, look.readings)
        self._book.apply(device, seen(device, look, self._baseline(), self._limits))

    async def look_presence(self) -> None:
        """Gone or back, without opening anything."""
        try:
            answer = await self._ask("presence", "probe", {})
        except DeviceError as error:
            log.warning("presence: %s", error)
            return
        for process, devices in DEVICES_OF.items():
            for device in devices:
                now = answer.get(device)
                before, self._present[device] = self._present.get(device), now
                code = f"{device}_absent"
                if now is None:
                    continue  # cannot be told without opening it: the next look will
                codes = () if now else (code,)
                self._book.apply(device, Observation(codes, frozenset({code}), known=False, partial=True))
                if now and before is False:
                    self.wake(process)

    async def look_host(self) -> None:
        await self._look_part("host", self._host)

    async def look_line(self) -> None:
        await self._look_part("line", self._line)

    async def _look_part(self, part: str, read: Read) -> None:
        try:
            readings = await read()
        except DeviceError as error:
            log.warning("%s: %s", part, error)
            self._book.apply(part, failure(part, error))
            return
        self._judged(part, readings)
        self._book.apply(part, seen(part, Look(readings), self._baseline(), self._limits))

    async def _every(
        self, period_s: float, look: Callable[[], Awaitable[None]], part: str | None = None
    ) -> None:
        """A light look at a steady pace; a code that is not settled is confirmed sooner."""
        while True:
            await look()
            self._progress()
            unsettled = part is not None and self._book.parts[part].unsettled
            await self._clock.sleep(CONFIRM_S if unsettled else period_s * random.uniform(0.9, 1.0))

    async def _watch(self, process: str) -> None:
        probe = self.settings.probe
        rest_s = probe.presence_s if process == "panel" else interval_s(probe.period_s)
        failures = 0
        while True:
            wake = self._wake[process]
            wake.clear()
            if not self.paused and not self._gone(process):
                await self.look(process)
            healths = [self._book.parts[d] for d in DEVICES_OF[process] if d in self._book.parts]
            failing = any(CODES[code].bound == "gone" for health in healths for code in health.codes)
            failures = failures + 1 if failing else 0
            if failing and not self._gone(process):
                pause_s = RETRY_S if failures == 1 else FAILING_S
            elif any(health.unsettled for health in healths):
                pause_s = CONFIRM_S
            else:
                pause_s = rest_s * random.uniform(0.95, 1.0)
            await wait(self._clock, wake, pause_s)

    def _gone(self, process: str) -> bool:
        """Presence says that nothing of this process is there: no need to open anything."""
        devices = [device for device in DEVICES_OF[process] if device in self._book.parts]
        return all(self._present.get(device) is False for device in devices)


def seen(device: str, look: Look, baseline: Baseline | None, limits: Thresholds = DEFAULTS) -> Observation:
    """A good look, judged. A passive one says nothing of picture and sound, having no such readings."""
    readings = {**look.readings, **judges.ratios(device, look.readings, baseline)}
    return Observation(
        judges.judge(device, readings, baseline, limits),
        judges.covers(device, readings) | judges.gone(device),
        readings=readings,
        known=not look.passive and judges.known(device, readings),
        blind=look.passive and look.in_use_by is None,  # switched off by order: nobody can tell how it is
        in_use_by=look.in_use_by,
    )


def failure(device: str, error: DeviceError) -> Observation:
    """No look at all: gone, held by another program, hung, crashed, or stuck in the kernel."""
    code = judges.failure_code(device, error.kind)
    if code is None:
        blind = error.kind != "busy"
        return Observation((), frozenset(), known=False, blind=blind, in_use_by=error.in_use_by)
    return Observation((code,), judges.gone(device), known=False, stuck=error.kind == "stuck")
