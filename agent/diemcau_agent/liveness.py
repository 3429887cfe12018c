"""Whether the agent is alive, as systemd is told: fed only while every part that matters gets on.

A process whose one loop turns while the others have stopped is the worst kind of dead: it looks well. So the
watchdog is fed only where each part has advanced since the last feeding, and a part says so from inside
its own work. What a part waits for outside the agent is no reason to starve it: a broker, a device or
a card may be gone for days, and restarting the agent would bring none of them back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from .clock import Clock
from .notify import Notifier

log = logging.getLogger(__name__)

WATCHDOG_S = 30.0
"""``WatchdogSec`` of the unit, where nobody tells."""
TURN_S = 3.0
"""Idle parts come round this often: three times between two feedings."""


class Progress:
    """Names that must each advance between two feedings of the watchdog."""

    def __init__(self, *names: str) -> None:
        self._advanced = dict.fromkeys(names, False)

    def advance(self, name: str) -> None:
        self._advanced[name] = True

    @property
    def missing(self) -> tuple[str, ...]:
        """Those that have not advanced since they were last taken."""
        return tuple(name for name, advanced in self._advanced.items() if not advanced)

    def take(self) -> bool:
        """Whether all have advanced since they were last taken."""
        if self.missing:
            return False
        self._advanced = dict.fromkeys(self._advanced, False)
        return True


class Rounds:
    """Loops that come round at their own pace, and the moment by which each has promised to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_s: dict[str, float] = {}

    def promise(self, name: str, within_s: float) -> None:
        """``name`` will promise again within ``within_s``, whatever it waits for."""
        self._due_s[name] = self._clock.monotonic() + within_s

    @property
    def late(self) -> tuple[str, ...]:
        now_s = self._clock.monotonic()
        return tuple(name for name, due_s in self._due_s.items() if now_s > due_s)


class Watchdog:
    """Feeds the service manager's watchdog three times in its period.

    ``asked``: parts that are asked whether they live, by their name in ``progress``; the others tell it
    themselves. ``fed()`` is called at each feeding: what was alive then is the last that is known of us.
    """

    def __init__(
        self,
        notifier: Notifier,
        clock: Clock,
        progress: Progress,
        asked: Mapping[str, Callable[[], bool]],
        fed: Callable[[], None] = lambda: None,
    ) -> None:
        self._notifier = notifier
        self._clock = clock
        self._progress = progress
        self._asked = asked
        self._fed = fed
        self.period_s = (notifier.watchdog_s or WATCHDOG_S) / 3

    async def run(self) -> None:
        starved: tuple[str, ...] = ()
        while True:
            await self._clock.sleep(self.period_s)
            for name, alive in self._asked.items():
                if alive():
                    self._progress.advance(name)
            missing = self._progress.missing
            if missing != starved and missing:
                log.error("the watchdog is not fed: no progress of %s", ", ".join(missing))
            starved = missing
            if self._progress.take():
                self._notifier.alive()
                self._fed()
