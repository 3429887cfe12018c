"""One task a device's process: probe, observe, act."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from diemcau_drivers.contract import DeviceError, Look

from . import coverage, judges
from .book import HealthBook
from .clock import Clock, wait
from .codes import CODES
from .config import Settings
from .health import Observation, at_once
from .liveness import TURN_S, Rounds
from .thresholds import DEFAULTS, Baseline, Thresholds
from .worker import Ask, Crashed, Hung, Stuck

log = logging.getLogger(__name__)

DEVICES_OF: dict[str, tuple[str, ...]] = {
    "camera": ("camera",),
    "audio": ("microphone", "speaker"),
    "display": ("display",),
    "panel": ("panel",),
}
CONFIRM_S = 1.0
"""A look that differs from what is judged is repeated this soon: two looks make a code, not two periods."""
FAILING_S = 4.0
"""While a device stays gone. Where it hangs or crashes each look costs a new process: then each time twice as
long, up to the rest between two looks. What is done about it is the healer's to say."""
LOOK_LIMIT_S = 180.0
"""No look takes longer: a turn at the device, two starts and two deadlines (:meth:`.worker.Worker.ask`)."""
HEALING_LIMIT_S = 4 * LOOK_LIMIT_S
GRACE_S = 10.0
AUDIO_SAMPLE_S = 2.0
"""LESSONS: silence is -60 dBFS for 2 s."""

Read = Callable[[], Awaitable[Mapping[str, Any]]]


class Heal(Protocol):
    """:meth:`.healing.Healer.tend`."""

    async def __call__(
        self, process: str, look: Callable[[str], Awaitable[None]], *, unplugged: bool
    ) -> float | None: ...


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
        heal: Heal,
        limits: Callable[[], Thresholds] = lambda: DEFAULTS,
    ) -> None:
        """``host``, ``line``: flat readings, DeviceError on failure. ``baseline``: the room's own, or
        None. ``limits``: those in force now. ``progress`` is called every few seconds while every watch comes
        round in its time, ``judged`` with each part's readings, ``identified`` when a device tells who it is
        or what it can do for the first time or anew."""
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
        self._heal = heal
        self._limits = limits
        self._rounds = Rounds(clock)
        self._wake = {process: asyncio.Event() for process in DEVICES_OF}
        self._present: dict[str, bool | None] = {}
        self._troubles: dict[str, str] = {}
        self.looks: dict[str, Look] = {}
        self.paused = False

    async def run(self) -> None:
        probe = self.settings.probe
        async with asyncio.TaskGroup() as group:
            for process, devices in DEVICES_OF.items():
                if any(device in self._book.parts for device in devices):
                    group.create_task(self._watch(process), name=f"watch {process}")
            for name, period_s, look in (
                ("presence", probe.presence_s, self.look_presence),
                ("host", probe.host_s, self.look_host),
                ("line", probe.line_s, self.look_line),
            ):
                group.create_task(self._every(name, period_s, look), name=f"watch {name}")
            group.create_task(self._oversee(), name="watch the watches")

    def wake(self, process: str) -> None:
        """Look soon, whatever the period."""
        self._wake[process].set()

    async def ask(
        self,
        process: str,
        do: str,
        args: Mapping[str, Any] | None = None,
        *,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        """Have a device do something. A process that hangs or dies over it has been ended and is made anew by
        the next question: the health book is told here, for no look would find it any more."""
        try:
            return await self._ask(process, do, args, deadline_s=deadline_s)
        except (Hung, Crashed, Stuck) as error:
            self._failed(process, error)
            self.wake(process)
            raise

    async def look(self, process: str) -> None:
        """Probe the process's devices now and write down what they show."""
        probe = self.settings.probe
        args = {"seconds": AUDIO_SAMPLE_S} if process == "audio" else {}
        # Sound takes as long as it is listened to.
        deadline_s = probe.deadline_s + (AUDIO_SAMPLE_S if process == "audio" else 0)
        try:
            answer = await self._ask(process, "probe", args, deadline_s=deadline_s)
        except DeviceError as error:
            self._failed(process, error)
            return
        self._troubles.pop(process, None)
        for device in DEVICES_OF[process]:
            data = answer.get(device) if process == "audio" else answer
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
        self._book.apply(device, seen(device, look, self._baseline(), self._limits()))

    async def look_presence(self) -> None:
        """Gone or back, without opening anything."""
        try:
            answer = await self._ask("presence", "probe", {})
        except DeviceError as error:
            self._trouble("presence", logging.WARNING, error)
            return
        self._troubles.pop("presence", None)
        for process, devices in DEVICES_OF.items():
            for device in devices:
                now = answer.get(device)
                before, self._present[device] = self._present.get(device), now
                code = f"{device}_absent"
                if now is None or (now and before is not False):
                    continue  # whether it can be opened, or is there at all, is for the next look to tell
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
            self._trouble(part, logging.WARNING, error)
            self._book.apply(part, failure(part, error))
            return
        self._troubles.pop(part, None)
        self._judged(part, readings)
        self._book.apply(part, seen(part, Look(readings), self._baseline(), self._limits()))

    def _failed(self, process: str, error: DeviceError) -> None:
        known = judges.failure_code(process, error.kind)
        self._trouble(process, logging.INFO if known else logging.WARNING, error)
        for device in DEVICES_OF[process]:
            self._book.apply(device, failure(device, error))

    def _trouble(self, part: str, level: int, error: DeviceError) -> None:
        """Into the journal, once until it is another or was gone: a panel is asked every 5 s."""
        text = str(error)
        if self._troubles.get(part) != text:
            self._troubles[part] = text
            log.log(level, "%s: %s", part, text)

    async def _oversee(self) -> None:
        """Whether every watch comes round: one that is stuck for good must not hide behind the others."""
        while True:
            late = self._rounds.late
            if late:
                log.error("the watch over %s does not come round", ", ".join(late))
            else:
                self._progress()
            await self._clock.sleep(TURN_S)

    async def _every(self, name: str, period_s: float, look: Callable[[], Awaitable[None]]) -> None:
        """A light look at a steady pace; a code that is not settled is confirmed sooner."""
        while True:
            self._rounds.promise(name, LOOK_LIMIT_S)
            await look()
            part = self._book.parts.get(name)  # presence is none
            unsettled = part is not None and part.unsettled
            pause_s = CONFIRM_S if unsettled else period_s * random.uniform(0.9, 1.0)
            self._rounds.promise(name, pause_s + GRACE_S)
            await self._clock.sleep(pause_s)

    async def _watch(self, process: str) -> None:
        probe = self.settings.probe
        rest_s = probe.presence_s if process == "panel" else interval_s(probe.period_s)
        kills = 0
        while True:
            wake = self._wake[process]
            wake.clear()
            step_in_s = None
            if not self.paused:
                self._rounds.promise(process, LOOK_LIMIT_S)
                if not self._gone(process):
                    await self.look(process)
                self._rounds.promise(process, HEALING_LIMIT_S)
                step_in_s = await self._heal(process, self.look, unplugged=self._gone(process))
            healths = [self._book.parts[d] for d in DEVICES_OF[process] if d in self._book.parts]
            gone = [CODES[code] for health in healths for code in health.codes if at_once(code)]
            killed = any(code.state == "failed" for code in gone)
            kills = kills + 1 if killed else 0
            if gone and not self._gone(process):
                pause_s = min(rest_s, FAILING_S * 2.0 ** min(kills, 16)) if killed else FAILING_S
            elif any(health.unsettled for health in healths):
                pause_s = CONFIRM_S
            else:
                pause_s = rest_s * random.uniform(0.95, 1.0)
            pause_s = pause_s if step_in_s is None else min(pause_s, step_in_s)
            self._rounds.promise(process, pause_s + GRACE_S)
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
        coverage.covers(device, readings) | coverage.gone(device),
        readings=readings,
        known=not look.passive and coverage.known(device, readings),
        blind=look.passive and look.in_use_by is None,  # switched off by order: nobody can tell how it is
        in_use_by=look.in_use_by,
    )


def failure(device: str, error: DeviceError) -> Observation:
    """No look at all: gone, held by another program, hung, crashed, or stuck in the kernel."""
    code = judges.failure_code(device, error.kind)
    if code is None:
        blind = error.kind != "busy"
        return Observation((), frozenset(), known=False, blind=blind, in_use_by=error.in_use_by)
    return Observation((code,), coverage.gone(device), known=False, stuck=error.kind == "stuck")
