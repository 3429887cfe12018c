"""The kit's clock, as far as an enrolment may set it: forward only, and only while nothing else keeps it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from diemcau_agent.clock import kernel_clock_synced

_CAP_SYS_TIME = 25
"""include/uapi/linux/capability.h"""


class SettableClock(Protocol):
    def wall(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def synced(self) -> bool: ...

    def may_set(self) -> bool: ...

    def set(self, wall_s: float) -> None:
        """Raises OSError."""
        ...

    def wait(self, seconds: float) -> None: ...


class KernelClock:
    def wall(self) -> float:
        return time.time()

    def synced(self) -> bool:
        return kernel_clock_synced()

    def may_set(self) -> bool:
        """Whether this process has CAP_SYS_TIME (capabilities(7)). Asked before a token is spent."""
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "CapEff":
                return bool(int(value, 16) >> _CAP_SYS_TIME & 1)
        return False

    def set(self, wall_s: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, wall_s)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


def forward(clock: SettableClock, to_s: float) -> float | None:
    """Set ``clock`` to ``to_s`` where it is not synced and lies before; by how many seconds, None where it
    was left alone. Raises OSError."""
    behind_s = to_s - clock.wall()
    if clock.synced() or behind_s <= 0 or not clock.may_set():
        return None
    clock.set(to_s)
    return behind_s
