"""A failing device is restarted step by step, each step an event (``healing``): the ladder's hands.

What a look finds decides (:mod:`.ladder`); a process that hangs or dies has been ended by :mod:`.worker`
before, whoever asked it. One step at a time a process, in the watch over it, so that nobody looks meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol

from diemcau_drivers.contract import PROCESS_OF, DeviceError

from .book import HealthBook
from .clock import Clock
from .commands.context import Tell
from .health import DeviceHealth, at_once
from .ladder import Ladder, Step, Trouble, trouble
from .usb import NotPossible

log = logging.getLogger(__name__)

LOOKS = 3
"""After a step; a code of picture or sound goes only when two looks in a row do not see it."""
LOOK_AGAIN_S = 1.0

Outcome = Literal["healed", "failed", "impossible"]
Look = Callable[[str], Awaitable[None]]
"""Probe a process's devices now, and write into the health book what they show."""


class Hands(Protocol):
    """:class:`.worker.Workers`. Bounded; raise DeviceError."""

    async def reopen(self, process: str) -> None: ...
    async def restart(self, process: str) -> int: ...


class Healer:
    """``rebind(identity)``: as :meth:`.usb.Usb.rebind`. ``identity(device)``: as it last told who it is."""

    def __init__(
        self,
        clock: Clock,
        book: HealthBook,
        hands: Hands,
        rebind: Callable[[Mapping[str, str]], Awaitable[str]],
        identity: Callable[[str], Mapping[str, str]],
        tell: Tell,
        frozen: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._book = book
        self._hands = hands
        self._rebind = rebind
        self._identity = identity
        self._tell = tell
        self._frozen = frozen
        self._ladders: dict[str, Ladder] = {}

    async def tend(self, process: str, look: Look, *, unplugged: bool = False) -> float | None:
        """After a look: take the step that is due, if any. Seconds until the next one is; None: none will be.

        ``unplugged``: nothing of the process is there at all. No step brings back what is not plugged in.
        """
        ladder = self._seen(process, unplugged=unplugged)
        # Each step that is not possible gives way to the next at once; a ladder has three.
        while (found := self._trouble(process)) is not None and not unplugged:
            conference = self._frozen()
            step = ladder.due(found, self._clock.monotonic(), conference=conference)
            if step is None:
                break
            outcome, detail = await self._take(process, found, step, look)
            ladder = self._after(process, found, step, outcome, detail)
            if outcome != "impossible":
                break
        found = None if unplugged else self._trouble(process)
        pause_s = ladder.due_s - self._clock.monotonic()
        if found is None or pause_s <= 0:  # what is frozen now is asked again at the next look
            return None
        return pause_s

    def _healths(self, process: str) -> dict[str, DeviceHealth]:
        parts = self._book.parts
        return {
            device: parts[device] for device, of in PROCESS_OF.items() if of == process and device in parts
        }

    def _trouble(self, process: str) -> Trouble | None:
        return trouble(self._healths(process))

    def _seen(self, process: str, *, unplugged: bool) -> Ladder:
        ladder = self._ladders.get(process, Ladder())
        known = not unplugged and all(health.known for health in self._healths(process).values())
        ladder = ladder.seen(self._trouble(process), self._clock.monotonic(), known=known)
        self._ladders[process] = ladder
        return ladder

    def _after(self, process: str, found: Trouble, step: Step, outcome: Outcome, detail: str) -> Ladder:
        before = self._ladders[process]
        ladder = before.after(step, self._clock.monotonic(), possible=outcome != "impossible")
        self._ladders[process] = ladder
        log.warning("%s: %s of %s: %s %s", found.device, step, found.code, outcome, detail)
        data = {"step": step, "outcome": outcome, "attempt": before.taken + 1}
        if detail:
            data["detail"] = detail
        self._tell("healing", device=found.device, code=found.code, data=data)
        return self._seen(process, unplugged=False)

    async def _take(self, process: str, found: Trouble, step: Step, look: Look) -> tuple[Outcome, str]:
        detail = ""
        try:
            if step == "reopen":
                await self._hands.reopen(process)
            else:
                if step == "rebind":
                    detail = f"port {await self._rebind(self._identity(found.device))}"
                await self._hands.restart(process)
        except NotPossible as error:
            return "impossible", str(error)
        except DeviceError as error:
            detail = str(error)  # the look says what that means
        for again in range(LOOKS):
            if again:
                await self._clock.sleep(LOOK_AGAIN_S)
            await look(process)
            still = self._trouble(process)
            if still is None or still.device != found.device:
                return "healed", detail
            if at_once(still.code):
                break
        return "failed", detail
