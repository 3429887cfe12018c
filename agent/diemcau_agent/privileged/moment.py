"""When something was, as far as a machine without a battery clock can tell."""

from __future__ import annotations

from msgspec import Struct

from diemcau_agent.clock import SystemClock, boot_id


class Moment(Struct, frozen=True):
    """``mono_s``: since the boot ``boot`` (CLOCK_BOOTTIME). ``synced``: whether ``wall_s`` was true."""

    boot: str
    mono_s: float
    wall_s: float
    synced: bool


def now() -> Moment:
    clock = SystemClock()
    return Moment(boot_id(), clock.monotonic(), clock.wall(), clock.synced())
