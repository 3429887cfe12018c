"""Which numbers of one stream have come, which never will, and which are missing. Pure.

``seq`` grows by one a document (docs/wire.md), so a number that is missing below one that is known is a loss
that can be proved, and asked for. Ranges include both ends; what has come is nearly always one of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

HISTORY = 10_000
"""Documents before the first one seen of a spool that are missed: a week of telemetry, one a minute."""
RANGES_LIMIT = 16_384
"""Ranges of a stream, more than a spool has documents in pieces: beyond, somebody makes numbers up."""
SETTLE_S = 5.0
"""A bridge may bring documents out of order: a gap is one only when it is at least so old."""


class Key(NamedTuple):
    """One numbered stream."""

    point: str
    spool: str
    stream: str


class Range(NamedTuple):
    first: int
    last: int

    @property
    def documents(self) -> int:
        return self.last - self.first + 1


class Ranges:
    """A set of whole numbers, kept as ranges that neither overlap nor touch, in order."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __iter__(self) -> Iterator[Range]:
        return map(Range, self._firsts, self._lasts)

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._firsts)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    @property
    def last(self) -> int:
        """The greatest number; 0 where there is none."""
        return self._lasts[-1] if self._lasts else 0

    def add(self, first: int, last: int) -> list[int]:
        """Join ``first`` to ``last``; where the ranges begin, or began, that came, grew or went with it."""
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        joined = self._firsts[low:high]
        if joined:
            first = min(first, joined[0])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]
        return [first, *joined]

    def end_of(self, first: int) -> int | None:
        """The last number of the range that begins at ``first``; None where none does."""
        at = bisect_left(self._firsts, first)
        return self._lasts[at] if at < len(self._firsts) and self._firsts[at] == first else None

    def within(self, first: int, last: int) -> Iterator[Range]:
        """What of ``first`` to ``last`` is in here."""
        for at in range(bisect_left(self._lasts, first), bisect_right(self._firsts, last)):
            yield Range(max(first, self._firsts[at]), min(last, self._lasts[at]))

    def missing(self, first: int, last: int) -> Iterator[Range]:
        """What of ``first`` to ``last`` is not in here."""
        for held in self.within(first, last):
            if first < held.first:
                yield Range(first, held.first - 1)
            first = held.last + 1
        if first <= last:
            yield Range(first, last)


class Tracker:
    """One stream's book. ``floor``: the first number that is missed where it has not come."""

    def __init__(
        self, floor: int, have: Iterable[tuple[int, int]] = (), lost: Iterable[tuple[int, int]] = ()
    ) -> None:
        self.floor = floor
        self.have = Ranges(have)
        self.lost = Ranges(lost)
        """Known not to come. What comes all the same is taken."""
        self.changed: set[int] = set()
        """Where ranges of ``have`` begin, or began, that were changed since this was last emptied."""
        self._settled = self._known = 0
        self._known_s: float | None = None

    def take(self, seq: int) -> bool:
        """Whether ``seq`` comes for the first time."""
        if seq in self.have:
            return False
        self.changed.update(self.have.add(seq, seq))
        return True

    def bears(self, seq: int) -> bool:
        """Whether ``seq`` can be taken without more than :data:`RANGES_LIMIT` ranges."""
        have = self.have
        return len(have) < RANGES_LIMIT or any(number in have for number in (seq - 1, seq, seq + 1))

    def close(self, first: int, last: int) -> list[Range]:
        """``first`` to ``last`` will not come; those of them that were missing until now."""
        closed = [gap for hole in self.have.missing(first, last) for gap in self.lost.missing(*hole)]
        for gap in closed:
            self.lost.add(*gap)
        return closed

    @property
    def top(self) -> int:
        """The greatest number that is known to exist."""
        return max(self.have.last, self.lost.last)

    @property
    def whole(self) -> bool:
        """Nothing is missing; quick where nothing ever was."""
        return (len(self.have) == 1 and self.have.end_of(self.floor) == self.top) or not any(self.gaps())

    def gaps(self, upto: int | None = None) -> Iterator[Range]:
        """What is missing from the floor to ``upto`` (by default, to the greatest that is known)."""
        for hole in self.have.missing(self.floor, self.top if upto is None else upto):
            yield from self.lost.missing(*hole)

    def settled_gaps(self, now_s: float) -> Iterator[Range]:
        """The gaps that are at least :data:`SETTLE_S` old, as far as calls of this can tell."""
        if self._known_s is None or now_s - self._known_s >= SETTLE_S:
            self._settled = 0 if self._known_s is None else self._known
            self._known, self._known_s = self.top, now_s
        return self.gaps(self._settled)
