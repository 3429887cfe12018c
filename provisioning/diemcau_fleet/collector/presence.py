"""Who is there, and what of what a point said still holds (docs/wire.md, Presence). Pure.

What is not known is shown as unknown: a broker that died with its Wills, or a bridge that is down, must not
leave a dead room shining green.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from diemcau_agent.model import Readiness

Presence = Literal["online", "offline", "lost", "unknown"]
Slot = Literal["birth", "status", "lost", "health", "selftest"]
"""What is kept of a point, the newest of each. A Will (``lost``) bears the time of its CONNECT, so it is
always older than the ``online`` that followed: it has a place of its own."""
SLOTS: tuple[Slot, ...] = get_args(Slot)

AHEAD_MS = 120_000
"""A document from further in the future says nothing about its age."""


class Held(msgspec.Struct, frozen=True):
    """A point's newest retained document of one kind, without its payload."""

    boot: str
    session: int
    mono_ms: int
    connection: str
    valid_s: int
    """0: until the next."""
    time_ms: int | None
    """When it was made, corrected; None where that is not known."""
    arrived_ms: int
    live: bool
    """It came as it was published, not as a copy that was kept for whoever asks."""
    says: str
    """``status``, ``readiness``, a self-test's ``result``, a birth's ``commands``."""
    nonce: str | None = None


def supersedes(new: Held, held: Held | None, new_spool: int = 0, held_spool: int = 0) -> bool:
    """Whether ``new`` is newer: by (session, mono_ms), not by when it came.

    ``session`` is kept beside the spool, so a new card begins it anew: within a boot the monotonic clock
    decides, and between boots the order of the spools that were seen in them, where both are known (not 0).
    """
    if held is None:
        return True
    if new.boot == held.boot:
        return (new.mono_ms, new.session) > (held.mono_ms, held.session)
    if new_spool and held_spool and new_spool != held_spool:
        return new_spool > held_spool
    return (new.session, new.mono_ms) > (held.session, held.mono_ms)


def age_ms(held: Held, now_ms: int) -> int | None:
    """How old it is, by its own time, else by when it came live; None where neither tells."""
    if held.time_ms is not None:
        age = now_ms - held.time_ms
        return max(0, age) if age >= -AHEAD_MS else None
    return max(0, now_ms - held.arrived_ms) if held.live else None


def holds(held: Held, now_ms: int) -> bool:
    """Whether it is known to be no older than its ``valid_s``."""
    if held.valid_s == 0:
        return True
    age = age_ms(held, now_ms)
    return age is not None and age <= held.valid_s * 1000


def presence(birth: Held | None, status: Held | None, lost: Held | None, now_ms: int) -> Presence:
    """``status``: the newest that is not a Will; ``lost``: the newest Will that was sent.

    A Will counts only for the connection of the newest birth: after a failover, or behind a bridge, an old
    broker's comes late. One that counts holds until the next birth: its time is its CONNECT's, not its own.
    """
    if birth is not None and lost is not None and lost.connection == birth.connection:
        return "lost"
    if status is None or not holds(status, now_ms):
        return "unknown"
    return "offline" if status.says == "offline" else "online"


def shown(health: Held | None, there: Presence, now_ms: int) -> Readiness:
    """The readiness to show of a room: of one that has left, or whose word is too old, it is not known."""
    if health is None or there in ("lost", "offline") or not holds(health, now_ms):
        return "unknown"
    return msgspec.convert(health.says, Readiness)
