"""When something happened, though the kit's clock was wrong. Pure.

A Pi has no battery clock: until its time is set its documents say ``unsynced``. They carry the boot and its
monotonic clock all the same, so one document of that boot with a true time tells what all of them should have
said. A boot that never had a true time stays uncorrected, and its documents say so.
"""

from __future__ import annotations

from datetime import datetime


def parse(text: str) -> int:
    """Milliseconds since the epoch of RFC 3339 ``text``. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"got {text!r}, expected RFC 3339 with its zone")
    return round(moment.timestamp() * 1000)


def offset_ms(time_ms: int, mono_ms: int) -> int:
    """From a boot's monotonic clock to wall time, by a document whose clock was synced."""
    return time_ms - mono_ms


def corrected_ms(time_ms: int, mono_ms: int, *, synced: bool, offset: int | None) -> int | None:
    """When it was, in milliseconds since the epoch; None where that is not known (yet).

    ``offset``: the boot's, where one is known. A time that was synced stands as it is.
    """
    if synced:
        return time_ms
    return None if offset is None else mono_ms + offset
