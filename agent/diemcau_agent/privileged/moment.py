"""When something was, as far as a machine without a battery clock can tell."""

from __future__ import annotations

import time

from msgspec import Struct

from diemcau_agent.clock import boot_id, kernel_clock_synced


class Moment(Struct, frozen=True):
    """``mono_s``: since the boot ``boot`` (CLOCK_BOOTTIME). ``synced``: whether ``wall_s`` was true."""

    boot: str
    mono_s: float
    wall_s: float
    synced: bool


def now() -> Moment:
    mono_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return Moment(boot_id(), mono_s, time.time(), kernel_clock_synced())
