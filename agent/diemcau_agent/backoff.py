"""When to try the broker again (docs/wire.md, Presence: Reconnect). Pure but for its chance."""

from __future__ import annotations

import random
from collections.abc import Callable

BACKOFF_CAP_LINE_S = 40.0
"""An attempt on a line that says nothing lasts 20 s more: together within the minute after its repair."""
BACKOFF_CAP_REFUSED_S = 300.0
STABLE_S = 60.0


class Backoff:
    """Exponential with full jitter from 1 s; reset only by 60 s of stable session.

    So a broker that accepts and then kicks is not hammered.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self.failures = 0
        """In a row; after a stable session none."""

    def failed(self, *, refused: bool) -> float:
        """Seconds to wait after one more failure."""
        cap_s = BACKOFF_CAP_REFUSED_S if refused else BACKOFF_CAP_LINE_S
        ceiling_s = min(cap_s, 2.0 ** min(self.failures, 16))
        self.failures += 1
        return self._uniform(0, ceiling_s)

    def lost(self, stable_s: float, spread_s: float, *, silent: bool = False) -> float:
        """Seconds to wait after a session that had lasted ``stable_s`` was lost.

        A broker that goes takes a country with it, which ``spread_s`` keeps from coming back at once. A line
        that fell ``silent`` has to be used within a minute of its repair, which nobody announces.
        """
        if stable_s < STABLE_S:
            return self.failed(refused=not silent)
        self.failures = 0
        return self._uniform(0, min(spread_s, BACKOFF_CAP_LINE_S) if silent else spread_s)

    def moved(self) -> float:
        """Seconds to wait after a session that was left for a better broker."""
        self.failures = 0
        return 0.0
