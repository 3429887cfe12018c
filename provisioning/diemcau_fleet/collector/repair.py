"""Asking points for what is missing: ``resend`` commands, one at a time a point. Pure: no I/O, no clock.

A pass over a stream's gaps asks for each, :data:`SPAN` numbers at most a command, and waits for each answer.
What was sent is on its way while the answer comes, so after a pass the stream rests before what is still
missing is asked for again. What a point has not is lost, and so is what it has sent, or refused for good,
:data:`SENT_LIMIT` times. A point that is silent or busy is no reason to give up: the pauses grow, to 300 s,
and the gap stands.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Mapping

import msgspec

from diemcau_agent.broker import Backoff
from diemcau_agent.model import Claims, Reply

from .batch import Loss
from .gaps import Key, Range, Ranges, Tracker
from .reading import Resent

ANSWER_S = 60.0
"""How long a point may say nothing to a command."""
LIFETIME_S = 60
PACE_S = 1.0
"""Between two commands to one point."""
REST_S = 5.0
"""From a pass's last answer until what it asked for should have come."""
SPAN = 1000
JOIN = 20
"""So few documents between two gaps are sent twice rather than asked around."""
SENT_LIMIT = 20
"""A line that loses every other message loses one of a million so often."""
NEVER = frozenset({"bad_args", "not_permitted", "unknown_verb"})
"""Refusals that asking again later does not change."""
WAITING_LIMIT = 64
"""Commands without an answer, all points together."""


class Ask(msgspec.Struct, frozen=True):
    """``claims`` of a ``resend`` for ``range`` of ``key``."""

    key: Key
    range: Range
    claims: Claims


class _Course(msgspec.Struct):
    """How far the pass over one stream has come. ``sent[n]``: what was sent at least n + 1 times."""

    at: int = 0
    resting_until_s: float = 0.0
    sent: list[Ranges] = []


class _Point(msgspec.Struct):
    backoff: Backoff
    ask: Ask | None = None
    deadline_s: float = 0.0
    not_before_s: float = 0.0

    def failed(self, now_s: float) -> None:
        self.ask = None
        self.not_before_s = now_s + PACE_S + self.backoff.failed(refused=True)


class Repair:
    """``iss``: whose key signs. ``nonce_of(point)``: the newest, None of a point that cannot be asked now.
    ``current_spool(point)``: the newest that is known."""

    def __init__(
        self,
        iss: str,
        *,
        nonce_of: Callable[[str], str | None],
        current_spool: Callable[[str], str | None],
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._iss = iss
        self._nonce_of = nonce_of
        self._current_spool = current_spool
        self._uniform = uniform
        self._points: dict[str, _Point] = {}
        self._courses: dict[Key, _Course] = {}

    @property
    def waiting(self) -> int:
        """Commands without an answer."""
        return sum(point.ask is not None for point in self._points.values())

    def due(self, open_streams: Mapping[Key, Tracker], now_s: float, wall_s: float) -> list[Ask | Loss]:
        """The commands to send now, and what is given up. ``now_s``: monotonic."""
        self._forget(open_streams, now_s)
        steps: list[Ask | Loss] = []
        waiting = self.waiting
        for key, tracker in open_streams.items():
            if waiting >= WAITING_LIMIT:
                break
            point = self._points.setdefault(key.point, _Point(Backoff(self._uniform)))
            course = self._courses.setdefault(key, _Course())
            gaps = tracker.settled_gaps(now_s)
            if point.ask is not None or now_s < max(point.not_before_s, course.resting_until_s):
                continue
            nonce = self._nonce_of(key.point)
            if nonce is None:
                continue
            if course.at == 0 and (hopeless := list(_hopeless(course, tracker))):
                steps += (Loss(key, gap, f"asked for {SENT_LIMIT} times, did not come") for gap in hopeless)
                continue
            wanted = _wanted(gaps, course.at)
            if wanted is None:
                if course.at:
                    course.at = 0
                    course.resting_until_s = now_s + REST_S
                continue
            point.ask = Ask(key, wanted, self._claims(key, wanted, nonce, wall_s))
            point.deadline_s = now_s + ANSWER_S
            waiting += 1
            steps.append(point.ask)
        return steps

    def answer(self, point_id: str, reply: Reply, now_s: float) -> list[Loss]:
        """What an answer says is lost. One that nobody waits for says nothing."""
        point = self._points.get(point_id)
        if point is None or point.ask is None or point.ask.claims.id != reply.id:
            return []
        if reply.state in ("accepted", "running"):
            point.deadline_s = now_s + ANSWER_S
            return []
        ask, point.ask = point.ask, None
        if reply.state != "done":
            return self._not_done(point, ask, reply, now_s)
        try:
            result = msgspec.convert(reply.result, Resent)
        except msgspec.ValidationError:
            point.failed(now_s)
            return []
        point.backoff.failures = 0
        point.not_before_s = now_s + PACE_S
        first, last = ask.range
        course = self._courses.setdefault(ask.key, _Course())
        course.at = last + 1
        if result.next is not None and first < result.next <= last:
            course.at = result.next
        lost = Ranges(
            (max(first, begin), min(last, end))
            for begin, end in result.missing
            if max(first, begin) <= min(last, end)
        )
        for sent in lost.missing(first, course.at - 1):
            _count(course.sent, sent)
        return [Loss(ask.key, gap, "missing at the point") for gap in lost]

    def _not_done(self, point: _Point, ask: Ask, reply: Reply, now_s: float) -> list[Loss]:
        point.failed(now_s)
        replaced = ask.key.spool != self._current_spool(ask.key.point)
        if reply.code == "bad_args" and replaced:
            return [Loss(ask.key, ask.range, "the spool is gone")]
        if reply.code in NEVER:
            _count(self._courses.setdefault(ask.key, _Course()).sent, ask.range)
        return []

    def _forget(self, open_streams: Mapping[Key, Tracker], now_s: float) -> None:
        """Streams that are whole again, and answers that did not come."""
        for key in [key for key in self._courses if key not in open_streams]:
            del self._courses[key]
        for point in self._points.values():
            if point.ask is not None and now_s >= point.deadline_s:
                point.failed(now_s)

    def _claims(self, key: Key, wanted: Range, nonce: str, wall_s: float) -> Claims:
        return Claims(
            id=str(uuid.uuid4()),
            aud=f"point/{key.point}",
            verb="resend",
            iss=self._iss,
            iat=int(wall_s),
            exp=int(wall_s) + LIFETIME_S,
            args={"spool": key.spool, "stream": key.stream, "from": wanted.first, "to": wanted.last},
            nonce=nonce,
        )


def _wanted(gaps: Iterator[Range], at: int) -> Range | None:
    """The next range to ask for, from number ``at`` on; gaps that lie close together are one."""
    wanted: Range | None = None
    for first, last in gaps:
        if last < at:
            continue
        if wanted is None:
            wanted = Range(max(first, at), last)
        elif first - wanted.last <= JOIN:
            wanted = Range(wanted.first, last)
        else:
            break
        if wanted.documents >= SPAN:
            return Range(wanted.first, wanted.first + SPAN - 1)
    return wanted


def _count(sent: list[Ranges], once_more: Range) -> None:
    """Each number of ``once_more`` climbs one step."""
    while len(sent) < SENT_LIMIT:
        sent.append(Ranges())
    for lower, upper in zip(reversed(sent[:-1]), reversed(sent[1:]), strict=True):
        for known in list(lower.within(*once_more)):
            upper.add(*known)
    sent[0].add(*once_more)


def _hopeless(course: _Course, tracker: Tracker) -> Iterator[Range]:
    if len(course.sent) == SENT_LIMIT:
        for asked in course.sent[-1]:
            for missing in tracker.have.missing(*asked):
                yield from tracker.lost.missing(*missing)
