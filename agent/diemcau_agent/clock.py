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
BELIEVED_S = 32_000.0
"""kernel/time/ntp.c: the greatest error grows by 500 us a second, and beyond 16 s the clock is unsynced."""
SET_S = 2.0
"""A clock that moves by more between two touches was set: slewing makes 500 us a second, 2,048 s at most."""


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
    """adjtimex(2): neither TIME_ERROR nor STA_UNSYNC. Where it is refused (ProtectClock= of our units), what
    systemd-timesyncd has left; False where nobody says."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = _Timex()
        state = libc.adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return False
    if state < 0:
        return _timesyncd.synced(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
    return state != _TIME_ERROR and not timex.status & _STA_UNSYNC


class Timesyncd:
    """What adjtimex(2) would say of a clock that systemd-timesyncd holds, from the file that it touches each
    time it has set it. ``mark`` may be in no folder at all."""

    def __init__(self, mark: Path = Path("/run/systemd/timesync/synchronized")) -> None:
        self._mark = mark
        self._touched_s: float | None = None
        self._began_s = 0.0

    def synced(self, wall_s: float, mono_s: float) -> bool:
        """``mono_s``: of CLOCK_BOOTTIME. Not where the clock was set by another since, or the last time is as
        long ago as the kernel believes it."""
        try:
            touched_s = self._mark.stat().st_mtime
        except OSError:
            self._touched_s = None
            return False
        began_s = wall_s - mono_s
        if touched_s != self._touched_s:
            self._touched_s, self._began_s = touched_s, began_s
        return 0 <= wall_s - touched_s < BELIEVED_S and abs(began_s - self._began_s) < SET_S


_timesyncd = Timesyncd()


def rfc3339(wall_s: float) -> str:
    """RFC 3339, UTC, milliseconds: ``2026-11-22T07:30:00.000Z``."""
    moment = datetime.fromtimestamp(wall_s, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def boot_id() -> str:
    """The kernel's id of this boot; in a simulated room, which reboots without the machine, a file's."""
    return Path(os.environ.get("DIEMCAU_BOOT_ID_FILE", "/proc/sys/kernel/random/boot_id")).read_text().strip()
