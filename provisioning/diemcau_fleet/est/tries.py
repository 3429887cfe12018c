"""How often somebody may try: a bounded memory of what failed."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

REMEMBERED = 20_000


class Tries:
    """At most ``limit`` of a key in ``window_s`` of ``now`` (a monotonic clock's seconds). What is remembered
    is bounded: of more than :data:`REMEMBERED` keys the one that was longest quiet is forgotten."""

    def __init__(self, limit: int, window_s: float, now: Callable[[], float]) -> None:
        self._limit = limit
        self._window_s = window_s
        self._now = now
        self._counted: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def wait_s(self, key: Hashable) -> float:
        """How long until the next try; 0: now."""
        counted = self._counted.get(key)
        if counted is None or len(counted) < self._limit:
            return 0.0
        return max(0.0, counted[0] + self._window_s - self._now())

    def count(self, key: Hashable) -> None:
        self._counted.setdefault(key, deque(maxlen=self._limit)).append(self._now())
        self._counted.move_to_end(key)
        if len(self._counted) > REMEMBERED:
            self._counted.popitem(last=False)
