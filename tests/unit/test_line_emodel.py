"""The E-model against the values that were published for it (ITU-T G.107, G.113, and others' work)."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.line import emodel

DELAYS_MS = st.floats(0, 2000)
RATIOS = st.floats(0, 1)
BURST_RATIOS = st.floats(1, 100)


def test_with_every_default_r_is_93_2_and_mos_4_41() -> None:
    """G.107, clause 7.7."""
    r = emodel.r_factor(0, 0)
    assert round(r, 1) == 93.2
    assert round(emodel.mos(r), 2) == 4.41


def test_its_parts_add_up_to_that() -> None:
    """Ro = 94.77, Is = 1.41, Id = 0.15 at the defaults: what other full implementations find as well."""
    parts = (emodel.RO, emodel.simultaneous(0), emodel.delay(0))
    assert [round(part, 2) for part in parts] == [94.77, 1.41, 0.15]


@pytest.mark.parametrize(("r", "mos"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)])
def test_mos_at_the_bounds_of_the_categories_of_speech_quality(r: float, mos: float) -> None:
    """G.107, Annex B, Table B.1 (and G.109), which has 4.03 where its own formula gives 4.024."""
    assert emodel.mos(r) == pytest.approx(mos, abs=0.0065)


@pytest.mark.parametrize(
    ("one_way_ms", "idd"),
    [(0, 0), (100, 0), (150, 0), (200, 3), (250, 10), (300, 15), (400, 25), (500, 30), (600, 35), (800, 40)],
)
def test_delay_alone_costs_what_g_113_tabulated(one_way_ms: float, idd: float) -> None:
    """Idd of ITU-T G.113 (02/96), planning values in steps of 5, by which the curve was made."""
    assert emodel.pure_delay(one_way_ms) == pytest.approx(idd, abs=1.3)


@pytest.mark.parametrize("one_way_ms", range(0, 401, 10))
def test_delay_with_echo_follows_cole_and_rosenbluths_fit_of_g_107(one_way_ms: int) -> None:
    """Voice over IP performance monitoring, ACM SIGCOMM CCR 31(2), 2001: two lines, good up to 400 ms."""
    fit = 0.024 * one_way_ms + 0.11 * max(0.0, one_way_ms - 177.3)
    assert emodel.delay(one_way_ms) == pytest.approx(fit, abs=3.1 if one_way_ms > 300 else 1.1)


@pytest.mark.parametrize(
    ("loss_percent", "ie"),
    [(0, 0), (1, 5), (2, 7), (3, 10), (5, 15), (7, 20), (10, 25), (15, 35), (20, 45)],
)
def test_random_loss_costs_g_711_with_concealment_what_g_113_tabulated(
    loss_percent: float, ie: float
) -> None:
    """ITU-T G.113 (02/2001), Appendix I, planning values from listening tests, of which Bpl is the fit."""
    cost = emodel.r_factor(0, 0) - emodel.r_factor(0, loss_percent / 100)
    assert cost == pytest.approx(ie, abs=3)


def test_loss_in_bursts_costs_what_equation_7_29_says() -> None:
    cost = emodel.r_factor(0, 0) - emodel.r_factor(0, 0.02, 2.0)
    assert cost == pytest.approx(95 * 2 / (2 / 2 + 25.1))


@pytest.mark.parametrize(("p", "q"), [(0.02, 0.98), (0.01, 0.5), (0.005, 0.25), (0.05, 0.4)])
def test_the_burst_ratio_of_a_two_state_line_is_1_over_p_plus_q(p: float, q: float) -> None:
    """G.107, 7.5: what a Markov chain gives that goes from received to lost with p, and back with q."""
    chance, lost, bursts = random.Random(20261122), False, [0]
    packets = 400_000
    for _ in range(packets):
        lost = chance.random() < (1 - q if lost else p)
        if lost:
            bursts[-1] += 1
        elif bursts[-1]:
            bursts.append(0)
    bursts = [length for length in bursts if length]
    ratio = emodel.burst_ratio(bursts, sum(bursts) / packets)
    assert ratio == pytest.approx(1 / (p + q), rel=0.03)


def test_where_nothing_was_lost_the_burst_ratio_is_1() -> None:
    assert emodel.burst_ratio([], 0.0) == 1.0


@given(st.lists(st.integers(1, 1000), max_size=20), RATIOS)
def test_the_burst_ratio_is_never_below_1(bursts: list[int], loss_ratio: float) -> None:
    assert emodel.burst_ratio(bursts, loss_ratio) >= 1


@given(st.floats(20, 2000), st.floats(20, 2000), RATIOS, BURST_RATIOS)
def test_a_longer_way_is_never_better(
    a_ms: float, b_ms: float, loss_ratio: float, burst_ratio: float
) -> None:
    """From a packet's 20 ms on: below 8 ms echo is sidetone, and a little of it is welcome."""
    near, far = sorted((a_ms, b_ms))
    near_r, far_r = (emodel.r_factor(ms, loss_ratio, burst_ratio) for ms in (near, far))
    assert far_r <= near_r + 1e-9


@given(DELAYS_MS, RATIOS, RATIOS, BURST_RATIOS)
def test_more_loss_is_never_better(one_way_ms: float, a: float, b: float, burst_ratio: float) -> None:
    less, more = sorted((a, b))
    assert (
        emodel.r_factor(one_way_ms, more, burst_ratio)
        <= emodel.r_factor(one_way_ms, less, burst_ratio) + 1e-9
    )


@given(DELAYS_MS, RATIOS, BURST_RATIOS, BURST_RATIOS)
def test_the_same_loss_in_longer_bursts_is_never_better(
    one_way_ms: float, loss: float, a: float, b: float
) -> None:
    short, long = sorted((a, b))
    assert emodel.r_factor(one_way_ms, loss, long) <= emodel.r_factor(one_way_ms, loss, short) + 1e-9


@given(st.floats(-500, 200), st.floats(-500, 200))
def test_mos_lies_on_its_scale_and_rises_with_r(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 1.0 <= emodel.mos(low) <= emodel.mos(high) + 1e-12 <= 4.5 + 1e-12


@pytest.mark.parametrize(("r", "mos"), [(-0.001, 1.0), (-285.0, 1.0), (0, 1.0), (100, 4.5), (100.001, 4.5)])
def test_mos_at_the_ends_of_its_scale(r: float, mos: float) -> None:
    assert emodel.mos(r) == pytest.approx(mos)


@given(st.floats(-1e9, 1e9))
def test_any_round_trip_at_all_gives_a_rating(rtt_p95_ms: float) -> None:
    """A forged dwell can make a round trip negative: it is rated as no delay, and nothing crashes."""
    mouth_to_ear_ms = emodel.mouth_to_ear_ms(rtt_p95_ms)
    assert mouth_to_ear_ms == pytest.approx(23.75 + max(0.0, rtt_p95_ms) / 2)
    assert math.isfinite(emodel.r_factor(mouth_to_ear_ms, 0.5))
