"""Wall and monotonic time, injected everywhere so that tests run on a fake clock.

No decision hangs on wall time that monotonic time can make: a Pi has no battery clock and
starts in the past.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class Clock(Protocol):
    def wall(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since boot, unmoved by a clock jump."""
        ...

    def synced(self) -> bool:
        """Whether the kernel says that wall time is held to a reference."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        # CLOCK_BOOTTIME counts through suspend, as mono_ms on the wire does.
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def synced(self) -> bool:
        return kernel_clock_synced()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def wait(clock: Clock, event: asyncio.Event, timeout_s: float | None) -> bool:
    """Wait for ``event``, at most ``timeout_s`` of ``clock``'s time (None: for ever); whether it came."""
    if timeout_s is None or event.is_set():
        return await event.wait()
    sleeping = asyncio.create_task(clock.sleep(timeout_s), name="wait's end")
    waiting = asyncio.create_task(event.wait(), name="wait")
    try:
        await asyncio.wait({sleeping, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeping.cancel()
        waiting.cancel()
    return event.is_set()


class _Timex(ctypes.Structure):
    # struct timex of adjtimex(2); only ``status`` is read, the rest is room for the kernel to write.
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def kernel_clock_synced() -> bool:
    """adjtimex(2): neither TIME_ERROR nor STA_UNSYNC. False where it cannot be asked."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = _Timex()
        state = libc.adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return False
    return state >= 0 and state != _TIME_ERROR and not timex.status & _STA_UNSYNC


def rfc3339(wall_s: float) -> str:
    """RFC 3339, UTC, milliseconds: ``2026-11-22T07:30:00.000Z``."""
    moment = datetime.fromtimestamp(wall_s, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def boot_id() -> str:
    """The kernel's id of this boot; in a simulated room, which reboots without the machine, a file's."""
    return Path(os.environ.get("DIEMCAU_BOOT_ID_FILE", "/proc/sys/kernel/random/boot_id")).read_text().strip()
