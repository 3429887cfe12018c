"""The conferences that this room takes part in (docs/conference.md), kept on the card over restarts.

A greater revision takes the place of the one before, also where it leaves this room out. Whose key was
revoked plans nothing any more: his conferences are as none, and so is how far he counted their revisions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from .clock import rfc3339
from .explain import explain
from .model import Conference
from .thresholds import DEFAULTS, Thresholds

MAX_BYTES = 128 * 1024
"""Two lists of a thousand groups, in base64."""
MAX_CONTAINERS = 16
"""A conference has five; how deep a decoder may go differs between Pythons."""
LASTING_MAX_S = 48 * 3600
LIMIT = 64
FORGET_S = 24 * 3600.0
"""A conference is forgotten so long after it ended, its revision later."""
REVISIONS = 1024

_NAMES = frozenset(Thresholds.__struct_fields__)

log = logging.getLogger(__name__)


class ConferenceError(ValueError):
    """A conference that is not taken, and every reason. ``code``: ``too_large``, ``malformed``, ``bad_args``,
    ``not_permitted``, ``old_revision``, ``too_many``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def read(text: bytes) -> Conference:
    """A conference of its JSON, signature aside. Raises ConferenceError with every field that is wrong."""
    if len(text) > MAX_BYTES:
        raise ConferenceError("too_large", f"got {len(text)} bytes, expected at most {MAX_BYTES}")
    if text.count(b"[") + text.count(b"{") > MAX_CONTAINERS:
        raise ConferenceError("malformed", f"got more than {MAX_CONTAINERS} objects and lists")
    try:
        data = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConferenceError("malformed", f"not JSON: {error}") from None
    return check(data)


def check(data: Any) -> Conference:
    """A conference of plain data. Raises ConferenceError (``bad_args``) with every field that is wrong."""
    try:
        conference = msgspec.convert(data, Conference)
    except msgspec.ValidationError as error:
        reasons = explain(Conference, data, "" if isinstance(data, dict) else "conference")
        raise ConferenceError("bad_args", "; ".join(reasons) or f"conference: {error}") from None
    if reasons := _across(conference):
        raise ConferenceError("bad_args", "; ".join(reasons))
    return conference


def _across(conference: Conference) -> list[str]:
    """What no single field can tell."""
    errors: list[str] = []
    start, end = conference.start, conference.end
    if not start < end <= start + LASTING_MAX_S:
        errors.append(f"end: got {end}, expected after start {start}, by {LASTING_MAX_S} s at most")
    for name, limit in conference.thresholds.items():
        if name not in _NAMES:
            errors.append(f"thresholds.{name[:64]}: unknown, expected one of {', '.join(sorted(_NAMES))}")
        elif not math.isfinite(limit):
            errors.append(f"thresholds.{name}: got {limit}, expected a finite number")
    return errors


class _Kept(msgspec.Struct, frozen=True):
    conferences: tuple[Conference, ...]
    revisions: dict[str, int]


class Conferences:
    """``groups()``: those of this point. ``revoked(iss)``: that key is never obeyed again. Times are wall
    time, in seconds; None where the clock is not known to be right: then nothing is forgotten."""

    def __init__(
        self, path: Path, groups: Callable[[], tuple[str, ...]], revoked: Callable[[str], bool]
    ) -> None:
        self.path = path
        self._groups = groups
        self._revoked = revoked
        self._known: dict[str, Conference] = {}
        self._revisions: dict[str, int] = {}
        """Of those that are no longer known, the newest last."""

    def load(self) -> None:
        """What was kept. A damaged file is as none: the broker has it still."""
        try:
            kept = msgspec.json.decode(self.path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
            log.error("%s: not used: %s", self.path, error)
            return
        # Another version's bounds may have been others.
        self._known = {one.id: one for one in kept.conferences[:LIMIT] if not _across(one)}
        self._revisions = kept.revisions

    def kept(self) -> bytes:
        """What :meth:`load` reads."""
        return msgspec.json.encode(_Kept(tuple(self._known.values()), self._revisions))

    def take(self, conference: Conference, now_s: float | None) -> bool:
        """Adopt it; False where it is known, or says nothing to this room. Raises ConferenceError."""
        known = self._known.get(conference.id)
        if known is not None and self._revoked(known.iss):
            known = None
        revision = self._revisions.get(conference.id, 0) if known is None else known.revision
        if conference.revision <= revision:
            if known is None or conference == known:
                return False
            raise ConferenceError(
                "old_revision", f"revision: got {conference.revision}, expected more than {revision}"
            )
        mine = self._mine(conference)
        if known is None and (not mine or _over(conference, now_s)):
            return False
        self._forget(now_s)
        if mine and conference.id not in self._known and len(self._known) >= LIMIT:
            raise ConferenceError("too_many", f"got {conference.id}, but {LIMIT} are planned here")
        self._known.pop(conference.id, None)
        if mine:
            self._known[conference.id] = conference
            self._revisions.pop(conference.id, None)
        else:
            self._remember(conference)
        return True

    def on(self, now_s: float) -> Conference | None:
        """The one that is on, from ``before_s`` on until ``after_s``."""
        return next((one for one in self._planned() if _begins_s(one) <= now_s < _ends_s(one)), None)

    def frozen(self, now_s: float) -> bool:
        """Whether the room is to be left alone."""
        return any(
            one.freeze is not None and _begins_s(one) <= now_s < _ends_s(one) for one in self._planned()
        )

    def summary(self, now_s: float) -> dict[str, Any] | None:
        """The one that is on, else the next, for people: ``id``, ``start``, ``end`` (RFC 3339), ``on``,
        ``frozen``, ``listen_only``."""
        one = next((one for one in self._planned() if now_s < _ends_s(one)), None)
        if one is None:
            return None
        return {
            "id": one.id,
            "start": rfc3339(one.start),
            "end": rfc3339(one.end),
            "on": _begins_s(one) <= now_s,
            "frozen": self.frozen(now_s),
            "listen_only": not set(self._groups()).isdisjoint(one.listen_only),
        }

    def limits(self, now_s: float, usual: Thresholds = DEFAULTS) -> Thresholds:
        """The bounds of what is good, now."""
        on = self.on(now_s)
        if on is None or not on.thresholds:
            return usual
        return msgspec.structs.replace(usual, **on.thresholds)

    def _planned(self) -> list[Conference]:
        """By their start."""
        planned = [
            one
            for one in self._known.values()
            if one.state == "planned" and self._mine(one) and not self._revoked(one.iss)
        ]
        return sorted(planned, key=lambda one: (_begins_s(one), one.id))

    def _mine(self, conference: Conference) -> bool:
        return not set(self._groups()).isdisjoint(conference.groups)

    def _forget(self, now_s: float | None) -> None:
        for one in [*self._known.values()]:
            if self._revoked(one.iss):
                del self._known[one.id]
            elif now_s is not None and now_s >= _ends_s(one) + FORGET_S:
                del self._known[one.id]
                self._remember(one)

    def _remember(self, conference: Conference) -> None:
        self._revisions.pop(conference.id, None)
        self._revisions[conference.id] = conference.revision
        while len(self._revisions) > REVISIONS:
            del self._revisions[next(iter(self._revisions))]


def _begins_s(conference: Conference) -> int:
    return conference.start - (0 if conference.freeze is None else conference.freeze.before_s)


def _ends_s(conference: Conference) -> int:
    return conference.end + (0 if conference.freeze is None else conference.freeze.after_s)


def _over(conference: Conference, now_s: float | None) -> bool:
    return now_s is not None and now_s >= _ends_s(conference)
