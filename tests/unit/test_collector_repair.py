"""Asking points for what is missing: paced, answered, and given up only for a reason."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diemcau_agent.commands.claims import check_times, fitted
from diemcau_agent.model import Claims, Reply, encode
from diemcau_fleet.collector.batch import Loss
from diemcau_fleet.collector.gaps import SETTLE_S, Key, Range, Tracker
from diemcau_fleet.collector.repair import (
    ANSWER_S,
    PACE_S,
    REST_S,
    SENT_LIMIT,
    SPAN,
    WAITING_LIMIT,
    Ask,
    Repair,
)
from point_documents import OTHER_SPOOL, SPOOL, WALL_S, document

KEY = Key("xp-0417", SPOOL, "telemetry")


class Bench:
    """The repair of some streams, on a clock that a test moves."""

    def __init__(self, *trackers: tuple[Key, Tracker], nonce: str | None = "n1") -> None:
        self.now_s = 0.0
        self.open = dict(trackers)
        self.nonce = nonce
        self.newest = SPOOL
        self.repair = Repair(
            "collector",
            nonce_of=lambda point: self.nonce,
            current_spool=lambda point: self.newest,
            uniform=lambda low, high: high,
        )
        self.losses: list[Loss] = []
        self.due()
        self.now_s += SETTLE_S

    def due(self, after_s: float = 0.0) -> list[Ask]:
        self.now_s += after_s
        steps = self.repair.due(self.open, self.now_s, WALL_S + self.now_s)
        self.lose([step for step in steps if isinstance(step, Loss)])
        return [step for step in steps if isinstance(step, Ask)]

    def answer(self, ask: Ask, state: str = "done", **fields: Any) -> list[Range]:
        if state == "done":
            fields = {"result": {"sent": 0, "missing": [], "next": None, **fields}}
        body = document("reply", id=ask.claims.id, state=state, **fields)
        losses = self.repair.answer(ask.key.point, msgspec.convert(body, Reply), self.now_s)
        self.lose(losses)
        return [loss.range for loss in losses]

    def lose(self, losses: list[Loss]) -> None:
        for loss in losses:
            closed = self.open[loss.key].close(*loss.range)
            self.losses += (Loss(loss.key, gap, loss.reason) for gap in closed)
        self.forget_whole()

    def forget_whole(self) -> None:
        self.open = {key: tracker for key, tracker in self.open.items() if not tracker.whole}


def with_gaps(*ranges: tuple[int, int], top: int) -> Tracker:
    tracker = Tracker(1)
    for seq in range(1, top + 1):
        if not any(first <= seq <= last for first, last in ranges):
            tracker.take(seq)
    return tracker


def fill(tracker: Tracker, span: Range) -> None:
    for seq in range(span.first, span.last + 1):
        tracker.take(seq)


def test_a_command_is_what_a_kit_accepts() -> None:
    bench = Bench((KEY, with_gaps((3, 5), top=9)))
    (ask,) = bench.due()
    claims = fitted(Claims, msgspec.json.decode(encode(ask.claims)))
    check_times(claims, WALL_S + bench.now_s, synced=True)
    assert (claims.aud, claims.verb, claims.iss, claims.nonce) == (
        "point/xp-0417",
        "resend",
        "collector",
        "n1",
    )
    assert claims.args == {"spool": SPOOL, "stream": "telemetry", "from": 3, "to": 5}


def test_a_gap_is_not_asked_for_before_it_has_settled() -> None:
    bench = Bench()
    bench.open[KEY] = with_gaps((3, 5), top=9)
    assert bench.due() == []
    assert bench.due(after_s=SETTLE_S - 0.1) == []
    assert len(bench.due(after_s=0.2)) == 1


def test_a_point_has_one_command_at_a_time_and_others_have_theirs() -> None:
    other = Key("xp-0418", SPOOL, "telemetry")
    events = Key("xp-0417", SPOOL, "event")
    bench = Bench(*((key, with_gaps((3, 5), top=9)) for key in (KEY, events, other)))
    first, second = bench.due()
    assert [first.key, second.key] == [KEY, other]
    assert bench.due(after_s=1.0) == []
    fill(bench.open[KEY], first.range)
    bench.answer(first)
    bench.forget_whole()
    assert bench.due() == []
    (third,) = bench.due(after_s=PACE_S)
    assert third.key == events


def test_no_more_commands_than_the_limit_wait_for_an_answer() -> None:
    keys = [Key(f"xp-{number:04}", SPOOL, "event") for number in range(WAITING_LIMIT + 10)]
    bench = Bench(*((key, with_gaps((1, 1), top=2)) for key in keys))
    assert len(bench.due()) == WAITING_LIMIT == bench.repair.waiting
    assert bench.due(after_s=1.0) == []
    bench.due(after_s=ANSWER_S)  # none answered
    assert {ask.key for ask in bench.due(after_s=0.1)}.isdisjoint(keys[:WAITING_LIMIT])


def test_a_point_without_a_nonce_is_asked_when_it_has_one() -> None:
    bench = Bench((KEY, with_gaps((3, 5), top=9)), nonce=None)
    assert bench.due() == []
    bench.nonce = "n2"
    (ask,) = bench.due()
    assert ask.claims.nonce == "n2"


def test_a_long_gap_is_asked_for_piece_by_piece_and_near_ones_together() -> None:
    bench = Bench((KEY, with_gaps((1, 2500), (2510, 2520), (3000, 3000), top=3001)))
    asked: list[Range] = []
    while (asks := bench.due(after_s=PACE_S)) and len(asked) < 10:
        asked.append(asks[0].range)
        bench.answer(asks[0])
    assert asked == [(1, SPAN), (SPAN + 1, 2 * SPAN), (2 * SPAN + 1, 2520), (3000, 3000)]


def test_an_answer_that_goes_on_is_followed_from_where_it_says() -> None:
    bench = Bench((KEY, with_gaps((1, 900), top=901)))
    (ask,) = bench.due()
    bench.answer(ask, next=301)
    (ask,) = bench.due(after_s=PACE_S)
    assert ask.range == (301, 900)


@pytest.mark.parametrize("next_", [0, 1, -5, 901, 10**20])
def test_an_answer_that_goes_on_nowhere_ends_the_piece(next_: int) -> None:
    bench = Bench((KEY, with_gaps((1, 900), top=901)))
    (ask,) = bench.due()
    bench.answer(ask, next=next_)
    assert bench.due(after_s=PACE_S) == []  # the pass is over, and rests


def test_what_the_point_has_not_is_lost_and_what_was_not_asked_for_is_not() -> None:
    bench = Bench((KEY, with_gaps((3, 9), (50, 60), top=61)))
    (ask,) = bench.due()
    assert bench.answer(ask, missing=[[1, 4], [9, 55], [7, 6], [70, 10**30]]) == [(3, 4), (9, 9)]
    assert {loss.reason for loss in bench.losses} == {"missing at the point"}
    assert list(bench.open[KEY].gaps()) == [(5, 8), (50, 60)]


def test_what_was_sent_and_did_not_come_is_asked_for_again_and_then_given_up() -> None:
    bench = Bench((KEY, with_gaps((3, 5), top=9)))
    asked = 0
    for _ in range(10 * SENT_LIMIT):
        for ask in bench.due(after_s=REST_S / 4):
            asked += 1
            bench.answer(ask)
    assert asked == SENT_LIMIT
    assert [loss.range for loss in bench.losses] == [(3, 5)]
    assert not bench.open


def test_silence_and_refusals_are_answered_by_growing_pauses_never_by_giving_up() -> None:
    bench = Bench((KEY, with_gaps((3, 5), top=9)))
    at: list[float] = []
    for step in range(8_000):
        for ask in bench.due(after_s=0.5):
            at.append(bench.now_s)
            if step % 2:
                bench.answer(ask, "refused", code="busy")
    pauses = [after - before for before, after in pairwise(at)]
    assert pauses[0] <= ANSWER_S + PACE_S + 2
    assert max(pauses) <= ANSWER_S + PACE_S + 301
    assert pauses[-1] >= 300
    assert not bench.losses


def test_a_point_that_refuses_for_good_is_asked_no_more_in_the_end_and_the_loss_is_told() -> None:
    bench = Bench((KEY, with_gaps((3, 5), top=9)))
    asked = 0
    for _ in range(30_000):
        for ask in bench.due(after_s=0.5):
            asked += 1
            bench.answer(ask, "refused", code="unknown_verb")
    assert asked == SENT_LIMIT
    assert bench.losses == [Loss(KEY, Range(3, 5), f"asked for {SENT_LIMIT} times, did not come")]


def test_a_command_that_runs_is_waited_for() -> None:
    bench = Bench((KEY, with_gaps((3, 5), top=9)))
    (ask,) = bench.due()
    for state in ("accepted", "running", "running"):
        assert bench.due(after_s=ANSWER_S - 1) == []
        bench.answer(ask, state)
    assert bench.due(after_s=ANSWER_S - 1) == []
    assert bench.answer(ask, missing=[[3, 5]]) == [(3, 5)]


def test_an_answer_too_late_or_to_somebody_else_says_nothing() -> None:
    bench = Bench((KEY, with_gaps((3, 5), top=9)))
    (ask,) = bench.due()
    stranger = msgspec.convert(document("reply", result={"missing": [[3, 5]]}), Reply)
    assert bench.repair.answer("xp-0417", stranger, bench.now_s) == []
    bench.due(after_s=ANSWER_S)
    assert bench.answer(ask, missing=[[3, 5]]) == []


@pytest.mark.parametrize("result", [None, [], {"missing": 5}, {"missing": [[1]]}, {"next": "x"}])
def test_a_result_that_cannot_be_understood_is_a_failure(result: Any) -> None:
    bench = Bench((KEY, with_gaps((3, 5), top=9)))
    (ask,) = bench.due()
    body = document("reply", id=ask.claims.id, result=result)
    assert bench.repair.answer("xp-0417", msgspec.convert(body, Reply), bench.now_s) == []
    assert bench.due() == []
    assert len(bench.due(after_s=10)) == 1


def test_a_spool_that_is_gone_is_given_up_when_the_point_does_not_know_it() -> None:
    bench = Bench((KEY, with_gaps((3, 5), top=9)))
    (ask,) = bench.due()
    assert bench.answer(ask, "refused", code="bad_args") == []  # it is the newest: the point is wrong
    bench.newest = OTHER_SPOOL
    (ask,) = bench.due(after_s=10)
    assert bench.answer(ask, "refused", code="bad_args") == [(3, 5)]
    assert bench.losses[-1].reason == "the spool is gone"


@settings(max_examples=60, deadline=None)
@given(
    top=st.integers(2, 3000),
    came=st.sets(st.integers(1, 3000), max_size=30),
    kept_from=st.integers(1, 3000),
    page=st.integers(1, 700),
    seed=st.integers(0, 2**32),
    loss_percent=st.sampled_from([0, 50, 100]),
)
def test_in_the_end_every_number_has_come_or_is_lost_for_a_reason(
    top: int, came: set[int], kept_from: int, page: int, seed: int, loss_percent: int
) -> None:
    """Against a point that keeps a part, answers page by page, and a line that loses."""
    page = max(page, top // 20)  # so that its passes fit into the time there is
    chance = random.Random(seed)
    tracker = Tracker(1)
    for seq in {*(number for number in came if number < top), top}:
        tracker.take(seq)
    bench = Bench((KEY, tracker))
    bench.forget_whole()
    for _ in range(4000):
        if not bench.open:
            break
        for ask in bench.due(after_s=1.0):
            first, last = ask.range
            end = min(last, first + page - 1)
            for seq in range(max(first, kept_from), end + 1):
                if chance.randrange(100) >= loss_percent:
                    tracker.take(seq)
            missing = [[first, min(end, kept_from - 1)]] if first < kept_from else []
            bench.answer(ask, missing=missing, next=None if end == last else end + 1)
            bench.forget_whole()
    assert not bench.open
    assert not list(tracker.gaps())
    lost = {number for loss in bench.losses for number in range(loss.range.first, loss.range.last + 1)}
    assert not lost & came
    if loss_percent < 100:
        assert all(loss.reason == "missing at the point" for loss in bench.losses)
        assert set(range(kept_from, top)) <= {
            number for span in tracker.have for number in range(span.first, span.last + 1)
        }
