"""(previous, observation, now) -> state, with N-of-M hysteresis. Pure.

A code that was seen once may be a passing shadow; it is raised when two of the last three looks
that could have seen it did, and cleared when two in a row did not. What needs no second look (a
device gone, a process that was killed or died, a self-test's finding) is raised and cleared at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .codes import CODES, state_of, worst
from .model import Readiness, Reading, State

RAISE_OF = 3
"""M: how many of the last looks count."""
RAISE_AT = 2
"""N: of these so many must have seen a code to raise it, and as many in a row not to clear it."""


class Observation(msgspec.Struct, frozen=True):
    """What one look at one device told.

    ``codes``: seen now. ``covers``: what this look could have seen; other codes stay as they
    were (a passive look says nothing of a frozen picture). ``known``: enough was read to call the
    device ok. ``decisive``: no second look is needed. ``stuck``: SIGKILL did not end its process.
    ``partial``: only the codes are news; readings and holder stay (presence opens nothing).
    ``blind``: nothing could be read though nobody holds it: what was known no longer is.
    """

    codes: tuple[str, ...]
    covers: frozenset[str]
    readings: Mapping[str, Reading] = msgspec.field(default_factory=dict[str, Reading])
    known: bool = True
    decisive: bool = False
    stuck: bool = False
    partial: bool = False
    blind: bool = False
    in_use_by: str | None = None


class DeviceHealth(msgspec.Struct, frozen=True):
    """The judged state of one device, the host or the line. ``since_s``, ``checked_s``: wall time."""

    state: State = "unknown"
    codes: tuple[str, ...] = ()
    since_s: float = 0.0
    checked_s: float | None = None
    readings: Mapping[str, Reading] = msgspec.field(default_factory=dict[str, Reading])
    in_use_by: str | None = None
    known: bool = False
    seen: Mapping[str, tuple[bool, ...]] = msgspec.field(default_factory=dict[str, tuple[bool, ...]])

    @property
    def code(self) -> str | None:
        """The worst."""
        return self.codes[0] if self.codes else None

    @property
    def unsettled(self) -> bool:
        """The last look differs from what is judged: a second one, soon, decides."""
        return any(looks[-1] != (code in self.codes) for code, looks in self.seen.items() if looks)


def at_once(code: str) -> bool:
    """Codes that one look proves: a device is gone, hung or crashed."""
    return CODES[code].bound == "gone"


def update(previous: DeviceHealth, observation: Observation, now_s: float) -> DeviceHealth:
    """The state after one more look. ``now_s``: wall time of the look."""
    seen = dict(previous.seen)
    active = set(previous.codes)
    for code in observation.covers:
        present = code in observation.codes
        if observation.decisive or at_once(code):
            seen[code] = (present,) * RAISE_OF
            raised = present
        else:
            looks = seen[code] = (*seen.get(code, ()), present)[-RAISE_OF:]
            if code in active:
                raised = any(looks[-RAISE_AT:]) or len(looks) < RAISE_AT
            else:
                raised = sum(looks) >= RAISE_AT
        if raised:
            active.add(code)
        else:
            active.discard(code)
    # A device that is gone or was killed has to show itself again before it is called ok.
    lost = any(at_once(code) for code in active)
    # Nor is one whose first look showed something that the second has yet to confirm.
    doubtful = any(looks[-1] and code not in active for code, looks in seen.items())
    good = observation.known and not doubtful
    known = not lost and not observation.blind and (previous.known or good)
    codes = worst(active)
    # What opens nothing does not see that a process is stuck, and does not end it.
    stuck = observation.stuck or (observation.partial and lost and previous.state == "stuck")
    state: State = "stuck" if stuck else state_of(codes) if codes or known else "unknown"
    changed = state != previous.state or codes[:1] != previous.codes[:1] or previous.checked_s is None
    looked = lost or known or not (observation.partial or observation.blind)
    return DeviceHealth(
        state=state,
        codes=codes,
        since_s=now_s if changed else previous.since_s,
        checked_s=now_s if looked else previous.checked_s,
        readings=previous.readings if observation.partial and not lost else observation.readings,
        in_use_by=previous.in_use_by if observation.partial and not lost else observation.in_use_by,
        known=known,
        seen=seen,
    )


def readiness(parts: Mapping[str, DeviceHealth]) -> tuple[Readiness, tuple[str, ...]]:
    """The point's readiness and the codes in the way of it, worst first (docs/wire.md, Health).

    ``parts``: every expected device, ``host`` and ``line``.
    """
    codes = {code for part in parts.values() for code in part.codes}
    reasons = worst(codes - {"display_no_cec"})
    states = [part.state for part in parts.values()]
    if any(state in ("failed", "stuck", "absent") for state in states):
        return "not_ready", reasons
    if any(part.checked_s is None for part in parts.values()):
        return "unknown", reasons
    if any(_in_the_way(part) for part in parts.values()):
        return "degraded", reasons
    return "ready", reasons


def _in_the_way(part: DeviceHealth) -> bool:
    if part.state == "unknown":
        return part.codes != ("display_no_cec",)
    return part.state == "degraded"
