"""The time that the centre could not see this room: when it began, how long it lasted, and whose fault it was
(docs/wire.md, Presence: an event ``outage`` once the point is back).

Two kinds. While the agent runs, the line or the broker may be gone (:class:`Outages`). While it does not,
somebody ordered a restart, it died, or the room had no power (:func:`absence`); then its beginning is the
last sign of life that was kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from . import signs
from .clock import Clock, rfc3339
from .commands.context import Tell
from .commands.journal import Entry, Journal
from .database import DatabaseError
from .mqtt import silent
from .signs import AliveMark, Sign
from .spool import Spool
from .stamp import Stamp

log = logging.getLogger(__name__)

CENTRES = frozenset({"broker", "centre", "reflector_silent"})
"""Causes that lie at the centre; every other broken link is the line's."""
Cause = Literal["power", "command", "agent", "line", "broker"]


class Outages:
    """Told of each change between connected and not, and of each cause that the line finds meanwhile."""

    def __init__(self, clock: Clock, tell: Tell) -> None:
        self._clock = clock
        self._tell = tell
        self._began_s: float | None = None
        self._reason = ""
        self._code: str | None = None

    def changed(self, trouble: str | None) -> None:
        """``trouble``: why there is no connection; None where there is one."""
        now_s = self._clock.monotonic()
        if trouble is not None:
            if self._began_s is None:
                self._began_s = now_s
                self._reason, self._code = trouble, None
            return
        if self._began_s is None:
            return
        duration_s, self._began_s = now_s - self._began_s, None
        ended_s = self._clock.wall()
        self._tell(
            "outage",
            device="line",
            code=self._code,
            data={
                "cause": self._cause(),
                # Counted back from its end: the clock may have been set in between.
                "began": rfc3339(ended_s - duration_s),
                "ended": rfc3339(ended_s),
                "duration_s": round(duration_s, 3),
                "reason": self._reason,
            },
        )

    def found(self, cause: str | None) -> None:
        """The line's first broken link as of now. One at the centre gives way to one of the line."""
        if self._began_s is not None and cause is not None and self._code in (None, *CENTRES):
            self._code = cause

    def _cause(self) -> Cause:
        if self._code is not None:
            return "broker" if self._code in CENTRES else "line"
        return "line" if silent(self._reason) else "broker"


def absence(last: Sign | None, now: Sign, ordered: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The event's ``data`` for the time between a session's last sign of life and the next one's first.

    ``last``: None where nothing was kept: not even the mark in memory, which only a reboot takes away.
    ``ordered``: what a command of that session restarts, "agent" or "host". What cannot be known is null;
    ``began_boot`` and ``began_mono_ms`` let the reader correct a time of a clock that was not synced.
    """
    same_boot = last is not None and last.boot == now.boot
    if ("agent" if same_boot else "host") in ordered:
        cause: Cause = "command"
    else:
        cause = "agent" if same_boot else "power"
    data: dict[str, Any] = {"cause": cause, "began": None, "ended": now.time, "duration_s": None}
    if last is None:
        return data
    if same_boot:
        duration_s = (now.mono_ms - last.mono_ms) / 1000
        data |= {"began": rfc3339(_seconds(now.time) - duration_s), "duration_s": round(duration_s, 3)}
    else:
        data["began"] = last.time
        if last.clock == now.clock == "synced":
            data["duration_s"] = round(max(0.0, _seconds(now.time) - _seconds(last.time)), 3)
    return data | {
        "began_within_s": last.within_s,
        "began_clock": last.clock,
        "began_boot": last.boot,
        "began_mono_ms": last.mono_ms,
        "reason": "stopped in good order" if last.stopping else "no goodbye",
    }


async def tell_absence(spool: Spool, mark: AliveMark, stamp: Stamp, tell: Tell) -> None:
    """Since the session before: what it was of, and since when, as far as anything was kept."""
    kept: list[Sign | None] = [mark.read()]
    ordered: frozenset[str] = frozenset()
    try:
        kept += await signs.committed(spool)
        ordered = ordered_restarts(await Journal(spool).unfinished(), stamp.session - 1)
    except DatabaseError as error:
        log.error("the last session's end is not known from the spool: %s", error)
    now = signs.now(stamp)
    last = signs.newest(kept, now.session)
    if last is not None or now.session > 1:
        tell("outage", device="host", data=absence(last, now, ordered))
    mark.renew(stamp)


def ordered_restarts(unfinished: Iterable[Entry], session: int) -> frozenset[str]:
    """What the commands of ``session`` restart, "agent" or "host"; they are answered once we are online."""
    intents = [entry.intent for entry in unfinished if entry.intent is not None]
    return frozenset(str(intent.get("target")) for intent in intents if intent.get("session") == session)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
