"""An update from step to step, each written down before it begins; so it is known where the power went, and
the kit ends with the new version or the one before, never with half of either."""

from __future__ import annotations

import logging
from typing import Literal, Protocol

import msgspec

from .look import Look, unwell
from .record import Pending, Record

WATCH_S = 180.0
"""In which a new version has to be READY and as well as the one before."""
STEADY_S = 30.0
"""So long it has to be so in one session: one that dies again and again is not well."""
LOOK_EVERY_S = 5.0
UNDO_TRIES = 5
UNDO_AGAIN_S = 30.0

log = logging.getLogger(__name__)


class StepFailed(Exception):
    """And why."""


class System(Protocol):
    """The kit's package system and its agent."""

    def look(self) -> Look | None:
        """None where the agent is not READY, or does not say."""
        ...

    def pack_before(self) -> None:
        """Make the package of what is installed now; on the card when this returns. Raises StepFailed."""
        ...

    def put(self, which: Literal["new", "before"]) -> None:
        """Install that package; the agent of it is started. Raises StepFailed."""
        ...

    def sleep(self, seconds: float) -> None: ...
    def monotonic(self) -> float: ...


def finish(record: Record, system: System, *, cut_short: bool) -> None:
    """What is pending, to its end. ``cut_short``: whoever began it is no more. Raises OSError."""
    pending = record.pending
    if pending is not None and cut_short:
        log.warning("update %s was cut short: %s", pending.id, pending.step)
        pending = _after_a_cut(pending, record)
    while pending is not None:
        record.step(pending)
        pending = _do(pending, record, system)
    record.new.unlink(missing_ok=True)


def _after_a_cut(pending: Pending, record: Record) -> Pending | None:
    """Before dpkg began it is given up; how far dpkg came nobody knows, so it is undone; what it has
    installed is looked at anew."""
    if pending.step == "verified":
        return _end(pending, record, "not_installed", "it was cut short before anything was changed")
    if pending.step == "installing":
        return msgspec.structs.replace(pending, step="undoing", reason="it was cut short while dpkg ran")
    return pending


def _do(pending: Pending, record: Record, system: System) -> Pending | None:
    """One step; what comes next, None at the end."""
    version = pending.release.version
    match pending.step:
        case "verified":
            try:
                system.pack_before()
            except StepFailed as error:
                return _end(pending, record, "not_installed", str(error))
            look = system.look()  # packing took its time: one may have begun since the daemon asked
            if look is not None and look.conference:
                return _end(pending, record, "not_installed", "a conference is on")
            return msgspec.structs.replace(pending, step="installing", look=look)
        case "installing":
            log.warning("installing %s in place of %s: command %s", version, pending.before, pending.id)
            try:
                system.put("new")
            except StepFailed as error:
                return msgspec.structs.replace(pending, step="undoing", reason=str(error))
            return msgspec.structs.replace(pending, step="watching")
        case "watching":
            why = watch(system, version, pending.look)
            if why is None:
                return _end(pending, record, "installed", "")
            return msgspec.structs.replace(pending, step="undoing", reason=why)
        case "undoing":
            return _undo(pending, record, system)


def _undo(pending: Pending, record: Record, system: System) -> Pending | None:
    log.error("back to %s: %s", pending.before, pending.reason)
    try:
        system.put("before")
    except StepFailed as error:
        if pending.tries + 1 < UNDO_TRIES:
            system.sleep(UNDO_AGAIN_S)
            return msgspec.structs.replace(pending, tries=pending.tries + 1)
        return _end(pending, record, "broken", f"{pending.reason}; and back: {error}")
    why = watch(system, pending.before, pending.look)
    reason = pending.reason if why is None else f"{pending.reason}; and {pending.before} is not well: {why}"
    return _end(pending, record, "rolled_back", reason)


def _end(
    pending: Pending,
    record: Record,
    state: Literal["installed", "rolled_back", "not_installed", "broken"],
    reason: str,
) -> None:
    record.end(pending, state, reason)
    log.warning("update %s: %s %s %s", pending.id, pending.release.version, state, reason)


def watch(system: System, version: str, before: Look | None) -> str | None:
    """Why ``version`` is not well within :data:`WATCH_S`; None once it has been for :data:`STEADY_S`."""
    deadline = system.monotonic() + WATCH_S
    session, since = None, 0.0
    while True:
        look, now_s = system.look(), system.monotonic()
        why = unwell(look, version, before)
        if why is not None or look is None:
            session = None
        elif look.session != session:
            session, since = look.session, now_s
        elif now_s - since >= STEADY_S:
            return None
        if now_s >= deadline:
            return why or "the agent was started again and again"
        system.sleep(LOOK_EVERY_S)
