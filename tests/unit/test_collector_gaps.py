"""What is missing of a stream, against a set of numbers as the model."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from diemcau_fleet.collector.gaps import SETTLE_S, Range, Ranges, Tracker

NUMBERS = st.integers(1, 60)


def numbers(ranges: object) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}  # pyright: ignore


class TrackerModel(RuleBasedStateMachine):
    """The model: the numbers that came, and those that were given up before they came, if ever."""

    @initialize(floor=st.integers(1, 20))
    def begin(self, floor: int) -> None:
        self.floor = floor
        self.tracker = Tracker(floor)
        self.have: set[int] = set()
        self.lost: set[int] = set()
        self.stored: dict[int, int] = {}
        """What a database would hold that writes only what ``changed`` names: first -> last."""

    @rule(seq=NUMBERS)
    def take(self, seq: int) -> None:
        assert self.tracker.take(seq) == (seq not in self.have)
        self.have.add(seq)

    @rule(first=NUMBERS, count=st.integers(1, 20))
    def close(self, first: int, count: int) -> None:
        range_ = set(range(first, first + count))
        closed = self.tracker.close(first, first + count - 1)
        assert numbers(closed) == range_ - self.have - self.lost
        self.lost |= range_ - self.have

    @rule()
    def write(self) -> None:
        for first in self.tracker.changed:
            last = self.tracker.have.end_of(first)
            if last is None:
                self.stored.pop(first, None)
            else:
                self.stored[first] = last
        self.tracker.changed.clear()
        assert numbers(self.stored.items()) == self.have
        assert len(self.stored) == len(self.tracker.have)

    @rule()
    def load(self) -> None:
        self.write()
        self.tracker = Tracker(self.floor, self.stored.items(), list(self.tracker.lost))

    @invariant()
    def what_is_missing_is_what_neither_came_nor_was_given_up(self) -> None:
        top = max(self.have | self.lost, default=0)
        missing = set(range(self.floor, top + 1)) - self.have - self.lost
        assert self.tracker.top == top
        assert numbers(self.tracker.gaps()) == missing
        assert self.tracker.whole == (not missing)
        assert numbers(self.tracker.gaps(upto=30)) == {number for number in missing if number <= 30} | (
            set(range(max(self.floor, top + 1), 31)) - self.have - self.lost
        )

    @invariant()
    def ranges_are_in_order_and_do_not_touch(self) -> None:
        for ranges in (self.tracker.have, self.tracker.lost):
            spans = list(ranges)
            assert all(before.last + 1 < after.first for before, after in pairwise(spans))


TestTrackerModel = TrackerModel.TestCase
TestTrackerModel.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 9))), NUMBERS, st.integers(0, 30))
def test_ranges_say_what_is_in_and_what_is_not(spans: list[tuple[int, int]], first: int, more: int) -> None:
    ranges = Ranges((begin, begin + length) for begin, length in spans)
    model = {number for begin, length in spans for number in range(begin, begin + length + 1)}
    asked = set(range(first, first + more + 1))
    assert numbers(ranges.within(first, first + more)) == asked & model
    assert numbers(ranges.missing(first, first + more)) == asked - model
    assert {number for number in asked if number in ranges} == asked & model
    assert ranges.last == max(model, default=0)


def test_a_stream_in_order_is_one_range_however_long() -> None:
    tracker = Tracker(1)
    for seq in range(1, 10_001):
        assert tracker.take(seq)
    assert list(tracker.have) == [Range(1, 10_000)]
    assert tracker.whole


def test_what_lies_before_the_floor_is_not_missed_but_taken() -> None:
    tracker = Tracker(100)
    tracker.take(100)
    assert tracker.whole
    assert tracker.take(50)
    assert tracker.whole


def test_what_was_given_up_and_comes_all_the_same_is_taken() -> None:
    tracker = Tracker(1)
    tracker.take(5)
    assert tracker.close(1, 4) == [(1, 4)]
    assert tracker.whole
    assert tracker.take(2)
    assert not tracker.take(2)


@pytest.mark.parametrize(("passed_s", "told"), [(SETTLE_S - 0.1, []), (SETTLE_S, [(1, 4)])])
def test_a_gap_is_told_when_it_has_settled(passed_s: float, told: list[Range]) -> None:
    tracker = Tracker(1)
    tracker.take(5)
    assert [*tracker.settled_gaps(100.0)] == []
    tracker.take(9)  # 6 to 8 are a newer gap
    assert [*tracker.settled_gaps(100.0 + passed_s)] == told
    assert next(tracker.settled_gaps(100.0 + passed_s + SETTLE_S)) == (1, 4)


def test_new_gaps_do_not_keep_an_old_one_from_being_told() -> None:
    tracker = Tracker(1)
    tracker.take(3)
    now_s = 0.0
    for seq in range(5, 50, 2):  # every other number is missing, one more each second
        tracker.take(seq)
        now_s += 1.0
        told = [*tracker.settled_gaps(now_s)]
        if now_s > SETTLE_S + 1:
            assert (1, 2) in told
