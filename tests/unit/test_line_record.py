"""The record of the line: against a slow definition of each metric, over any trains."""

from __future__ import annotations

import json
import math
import time
from array import array
from fractions import Fraction
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.line import emodel
from diemcau_agent.line.record import Record, Spread, Train, record, spread
from diemcau_agent.telemetry import aggregate

NAN = math.nan
COUNTS = st.integers(0, 5)
DSCPS = st.none() | st.integers(0, 63)


def train(*rtts_ms: float, **fields: Any) -> Train:
    fields = {"at_s": 0.0, "interval_ms": 20.0} | fields
    return Train(rtts_ms=array("d", rtts_ms), **fields)


@st.composite
def trains_of_any_kind(draw: st.DrawFn, lowest_ms: float = 0.0) -> Train:
    delays_ms = st.floats(lowest_ms, 2000.0)
    rtts_ms = draw(st.lists(st.just(NAN) | delays_ms, max_size=30))

    def one_way() -> array[float] | None:
        if not draw(st.booleans()):
            return None
        return array("d", [NAN if math.isnan(rtt) else draw(delays_ms) for rtt in rtts_ms])

    return train(
        *rtts_ms,
        at_s=draw(st.integers(0, 400)) / 2,
        interval_ms=float(draw(st.sampled_from([0, 1, 20, 200, 1000, 7000, 90_000]))),
        duplicates=draw(COUNTS),
        reordered=draw(COUNTS),
        strange=draw(COUNTS),
        clock_steps=draw(COUNTS),
        forward_ms=one_way(),
        backward_ms=one_way(),
        lost_forward=draw(st.none() | COUNTS),
        dscp=draw(st.integers(0, 63)),
        reflector_dscp=draw(DSCPS),
        returned_dscp=draw(DSCPS),
        error=draw(st.none() | st.sampled_from(["Network is unreachable", "Operation not permitted"])),
    )


TRAINS = st.lists(trains_of_any_kind(), min_size=1, max_size=6)


def alike(got: Spread | None, samples: list[float]) -> bool:
    """Against numpy: its inverted_cdf is the nearest rank."""
    if not samples:
        return got is None
    assert got is not None
    p50, p95, p99 = np.percentile(samples, [50, 95, 99], method="inverted_cdf")
    assert (got.min, got.max) == (min(samples), max(samples))
    assert (got.p50, got.p95, got.p99) == (p50, p95, p99)
    return got.mean == pytest.approx(float(np.mean(samples)), rel=1e-9, abs=1e-9)


def received(delays_ms: array[float] | None) -> list[float]:
    return [] if delays_ms is None else [delay for delay in delays_ms if not math.isnan(delay)]


def ipdv(rtts_ms: array[float]) -> list[float]:
    steps = np.abs(np.diff(np.array(rtts_ms)))
    return [float(step) for step in steps if not math.isnan(step)]


@given(TRAINS)
def test_loss_and_its_bursts_are_those_of_every_train_by_itself(trains: list[Train]) -> None:
    got = record(trains)
    lost = [[math.isnan(rtt) for rtt in one.rtts_ms] for one in trains]
    assert got.sent == sum(map(len, lost))
    assert got.lost == sum(map(sum, lost))
    assert got.received == got.sent - got.lost
    assert got.loss_percent == pytest.approx(100 * got.lost / got.sent if got.sent else 0.0)
    runs = [len(list(run)) for one in lost for was_lost, run in groupby(one) if was_lost]
    assert got.loss_bursts == tuple(runs)
    assert sum(got.loss_bursts) == got.lost


@given(TRAINS)
def test_every_spread_is_that_of_all_its_samples(trains: list[Train]) -> None:
    got = record(trains)
    rtts = [rtt for one in trains for rtt in received(one.rtts_ms)]
    assert alike(got.rtt_ms, rtts)
    assert alike(got.pdv_ms, [rtt - min(rtts) for rtt in rtts])
    assert alike(got.jitter_ms, [step for one in trains for step in ipdv(one.rtts_ms)])
    assert alike(got.forward_ms, [delay for one in trains for delay in received(one.forward_ms)])
    assert alike(got.backward_ms, [delay for one in trains for delay in received(one.backward_ms)])


@given(TRAINS)
def test_rfc_3550s_jitter_is_the_weighted_sum_of_all_differences(trains: list[Train]) -> None:
    steps = [step for one in trains for step in ipdv(one.rtts_ms)]
    got = record(trains).jitter_rfc3550_ms
    if not steps:
        assert got is None
        return
    weights = [(15 / 16) ** age for age in range(len(steps) - 1, -1, -1)]
    wanted = weights[0] * steps[0] + sum(
        w * step / 16 for w, step in zip(weights[1:], steps[1:], strict=True)
    )
    assert got == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@given(TRAINS)
def test_availability_is_the_share_of_minutes_that_lose_a_fifth_at_most(trains: list[Train]) -> None:
    begin_s = Fraction(trains[0].at_s)
    minutes: dict[int, list[bool]] = {}
    for one in trains:
        for number, rtt in enumerate(one.rtts_ms):
            at_s = Fraction(one.at_s) - begin_s + Fraction(one.interval_ms) * number / 1000
            minutes.setdefault(math.floor(at_s / 60), []).append(math.isnan(rtt))
    got = record(trains).availability_percent
    if not minutes:
        assert got is None
    else:
        available = [5 * sum(lost) <= len(lost) for lost in minutes.values()]
        assert got == pytest.approx(100 * sum(available) / len(available))


@given(TRAINS)
def test_counts_add_up_and_the_last_word_counts_where_there_is_one(trains: list[Train]) -> None:
    got = record(trains)
    for name in ("duplicates", "reordered", "strange", "clock_steps"):
        assert getattr(got, name) == sum(getattr(one, name) for one in trains)
    for name in ("reflector_dscp", "returned_dscp", "error"):
        told = [value for one in trains if (value := getattr(one, name)) is not None]
        assert getattr(got, name) == (told[-1] if told else None)
    assert got.dscp == trains[-1].dscp


@given(TRAINS)
def test_the_loss_on_the_way_there_is_known_only_where_every_train_knows_it(trains: list[Train]) -> None:
    known = [one.lost_forward for one in trains if one.lost_forward is not None]
    assert record(trains).lost_forward == (sum(known) if len(known) == len(trains) else None)


@given(TRAINS)
def test_r_and_mos_are_the_e_models_of_this_delay_and_loss(trains: list[Train]) -> None:
    got = record(trains)
    if got.rtt_ms is None or got.r_factor is None:
        assert (got.rtt_ms, got.r_factor, got.mos) == (None, None, None)
        return
    ratio = got.lost / got.sent
    bursts = got.loss_bursts
    burst_ratio = max(1.0, np.mean(bursts) * (1 - ratio)) if bursts else 1.0
    assert got.r_factor == pytest.approx(
        emodel.r_factor(23.75 + got.rtt_ms.p95 / 2, ratio, float(burst_ratio))
    )
    assert got.mos == emodel.mos(got.r_factor)


@given(trains_of_any_kind(), trains_of_any_kind())
def test_two_trains_make_no_burst_and_no_jitter_between_them(one: Train, other: Train) -> None:
    first, second, both = record([one]), record([other]), record([one, other])
    assert both.loss_bursts == first.loss_bursts + second.loss_bursts
    largest = [jitter.max for jitter in (first.jitter_ms, second.jitter_ms) if jitter is not None]
    assert (both.jitter_ms.max if both.jitter_ms else None) == (max(largest) if largest else None)


@given(st.lists(trains_of_any_kind(lowest_ms=-2000.0), min_size=1, max_size=4))
def test_any_trains_make_a_record_that_json_can_hold(trains: list[Train]) -> None:
    """A forged dwell or a stepped clock makes delays negative: measured as they are, never a crash."""

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    plain = msgspec.to_builtins(record(trains))
    assert json.loads(json.dumps(plain, allow_nan=False), parse_constant=no_constant) == json.loads(
        msgspec.json.encode(plain)
    )
    assert msgspec.convert(plain, Record) == record(trains)


def test_a_line_that_lost_three_of_ten_packets_in_two_bursts() -> None:
    got = record([train(10, 12, NAN, NAN, 11, 11, 19, NAN, 10, 14, duplicates=1, lost_forward=2, dscp=46)])
    assert (got.sent, got.received, got.lost, got.loss_percent) == (10, 7, 3, 30.0)
    assert got.loss_bursts == (2, 1)
    assert got.rtt_ms == Spread(min=10, mean=87 / 7, p50=11, p95=19, p99=19, max=19)
    assert got.pdv_ms == Spread(min=0, mean=87 / 7 - 10, p50=1, p95=9, p99=9, max=9)
    assert got.jitter_ms == Spread(min=0, mean=3.5, p50=2, p95=8, p99=8, max=8)  # 2, 0, 8, 4
    assert got.jitter_rfc3550_ms == ((2 - 2 / 16) + (8 - (2 - 2 / 16)) / 16) * 15 / 16 + 4 / 16
    assert (got.duplicates, got.lost_forward, got.dscp) == (1, 2, 46)
    assert (got.forward_ms, got.backward_ms, got.error) == (None, None, None)
    assert got.availability_percent == 0.0


def test_where_nothing_came_back_there_is_loss_and_nothing_else() -> None:
    got = record([train(NAN, NAN, NAN, error="Network is unreachable")])
    assert (got.sent, got.lost, got.loss_percent, got.loss_bursts) == (3, 3, 100.0, (3,))
    assert got.availability_percent == 0.0
    assert (got.rtt_ms, got.pdv_ms, got.jitter_ms, got.jitter_rfc3550_ms) == (None, None, None, None)
    assert (got.r_factor, got.mos) == (None, None)
    assert got.error == "Network is unreachable"


def test_where_nothing_was_sent_nothing_is_lost_and_nothing_known() -> None:
    got = record([train(error="Network is unreachable")])
    assert (got.sent, got.lost, got.loss_percent, got.loss_bursts) == (0, 0, 0.0, ())
    assert (got.availability_percent, got.rtt_ms, got.mos) == (None, None, None)


def test_no_trains_at_all_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="trains: got none, expected at least one"):
        record([])


def test_a_minute_that_loses_just_a_fifth_is_still_available_one_more_is_not() -> None:
    """Y.1540: not available where the loss ratio is greater than c1 = 0.20."""
    fifth, more = train(NAN, 1, 1, 1, 1), train(NAN, NAN, 1, 1, 1, 1, 1, 1, 1, at_s=60.0)
    assert record([fifth]).availability_percent == 100.0
    assert record([fifth, more]).availability_percent == 50.0


def test_a_long_train_is_judged_minute_by_minute() -> None:
    """Three minutes at a packet a second, of which the second lost a third."""
    rtts = [NAN if 60 <= second < 80 else 30.0 for second in range(180)]
    whole = train(*rtts, interval_ms=1000.0, at_s=12_345.6)
    assert record([whole]).availability_percent == pytest.approx(200 / 3)


def test_minutes_are_counted_from_the_first_train_and_those_without_a_packet_are_not_judged() -> None:
    """An hour between two trains is no outage; nor does it matter which of them begins."""
    good, bad = train(1, 1, 1, 1, 1, at_s=7.0), train(NAN, 1, 1, at_s=7.0 + 3600)
    assert record([good, bad]).availability_percent == 50.0
    assert record([bad, good]).availability_percent == 50.0


def test_jitter_starts_at_its_first_difference_and_not_at_rfc_3550s_zero() -> None:
    assert record([train(10, 14, 10, 14)]).jitter_rfc3550_ms == 4.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_percentiles_are_samples_with_that_share_at_or_below_them_and_no_smaller_one_would_do(
    samples: list[float],
) -> None:
    got = spread(samples)
    assert got is not None
    for share, value in ((50, got.p50), (95, got.p95), (99, got.p99)):
        assert value in samples
        assert 100 * sum(sample <= value for sample in samples) >= share * len(samples)
        assert 100 * sum(sample < value for sample in samples) < share * len(samples)


@pytest.mark.parametrize("n", [1, 2, 19, 20, 21, 99, 100, 101, 140, 300, 5400, 54_000])
def test_p95_is_telemetrys_p95(n: int) -> None:
    samples = [float(rank) for rank in range(n)]
    got = spread(samples)
    assert got is not None
    assert got.p95 == aggregate(samples).p95


@pytest.mark.parametrize("packets", [10, 54_000])
def test_a_whole_conference_is_recorded_in_a_blink(packets: int) -> None:
    """54,000 packets, three hours of five a second, in trains of 10 or in one: 0.2 s of CPU at the most."""
    chance = np.random.default_rng(3)
    trains: list[Train] = []
    for number in range(54_000 // packets):
        rtts, forward, backward = chance.normal(30, 5, (3, packets)).clip(1)
        rtts[chance.random(packets) < 0.01] = NAN
        delays = [array("d", one.tobytes()) for one in (rtts, forward, backward)]
        trains.append(
            Train(
                at_s=number * 2.0,
                rtts_ms=delays[0],
                interval_ms=20.0,
                forward_ms=delays[1],
                backward_ms=delays[2],
            )
        )
    spent_s: list[float] = []
    for _ in range(3):
        begin_s = time.process_time()
        assert record(trains).sent == 54_000
        spent_s.append(time.process_time() - begin_s)
    assert min(spent_s) < 0.2
