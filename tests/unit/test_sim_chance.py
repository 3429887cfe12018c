"""The luck of the impaired line is its seed's and keeps its ratios; its truth counts as the RFCs have it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_sim.chance import Chance, Fate, GilbertElliott, Impairment
from diemcau_sim.ground_truth import Handed, PacketTruth, Truth
from udp_line import bursts, reordered

DRAWS = 20_000


def fates(what: Impairment, stream: str = "forward/0", count: int = DRAWS) -> list[Fate]:
    chance = Chance(what, stream)
    return [chance.next(100) for _ in range(count)]


ALL = Impairment(
    seed=5,
    loss_ratio=0.05,
    burst=GilbertElliott(p=0.02, r=0.4),
    delay_ms=8,
    jitter_ms=6,
    jitter="normal",
    keeps_order=False,
    reorder_ratio=0.05,
    reorder_past=2,
    duplicate_ratio=0.05,
)


def test_the_same_seed_decides_the_same_and_another_another() -> None:
    assert fates(ALL, count=500) == fates(ALL, count=500)
    assert fates(ALL, count=500) != fates(ALL, "backward/0", 500)
    assert fates(ALL, count=500) != fates(Impairment(seed=6, loss_ratio=0.05), count=500)


def test_one_setting_does_not_shift_the_luck_of_another() -> None:
    few, all_ = fates(Impairment(seed=5, loss_ratio=0.05)), fates(ALL)
    assert all(not fate.delays_ms for fate, alone in zip(all_, few, strict=True) if not alone.delays_ms)


@pytest.mark.parametrize("ratio", [0.005, 0.02, 0.1, 0.3])
def test_so_many_are_lost_doubled_and_held_back_as_asked(ratio: float) -> None:
    four_sigma = 4 * math.sqrt(ratio * (1 - ratio) / DRAWS)
    lost = sum(not fate.delays_ms for fate in fates(Impairment(loss_ratio=ratio)))
    doubled = sum(len(fate.delays_ms) == 2 for fate in fates(Impairment(duplicate_ratio=ratio)))
    held = sum(fate.held_past == 3 for fate in fates(Impairment(reorder_ratio=ratio, reorder_past=3)))
    assert [count / DRAWS for count in (lost, doubled, held)] == pytest.approx([ratio] * 3, abs=four_sigma)


@pytest.mark.parametrize(("p", "r"), [(0.01, 0.5), (0.02, 0.2), (0.005, 0.1)])
def test_bursts_are_as_long_and_as_many_as_gilbert_and_elliott_say(p: float, r: float) -> None:
    """Mean length 1/r, share p/(p + r); a geometric length has a deviation of sqrt(1 - r)/r."""
    lost = {
        place
        for place, fate in enumerate(fates(Impairment(burst=GilbertElliott(p=p, r=r))))
        if not fate.delays_ms
    }
    lengths = bursts(lost)
    assert statistics.mean(lengths) == pytest.approx(
        1 / r, abs=4 * math.sqrt(1 - r) / r / math.sqrt(len(lengths))
    )
    assert len(lost) / DRAWS == pytest.approx(p / (p + r), rel=0.3)


def test_a_bad_state_that_lets_half_pass_loses_half_of_what_it_meets() -> None:
    state = GilbertElliott(p=1, r=0, loss_bad=0.5)
    lost = sum(not fate.delays_ms for fate in fates(Impairment(burst=state)))
    assert lost / DRAWS == pytest.approx(0.5, abs=0.02)


def test_jitter_is_spread_as_its_distribution_says_and_never_goes_back_in_time() -> None:
    uniform = [fate.delays_ms[0] for fate in fates(Impairment(delay_ms=50, jitter_ms=30))]
    assert (min(uniform), max(uniform)) == pytest.approx((20, 80), abs=0.1)
    assert statistics.pstdev(uniform) == pytest.approx(30 / math.sqrt(3), rel=0.03)
    normal = [fate.delays_ms[0] for fate in fates(Impairment(delay_ms=100, jitter_ms=10, jitter="normal"))]
    assert statistics.mean(normal) == pytest.approx(100, abs=0.5)
    assert statistics.pstdev(normal) == pytest.approx(10, rel=0.03)
    assert min(fate.delays_ms[0] for fate in fates(Impairment(delay_ms=1, jitter_ms=9))) == 0


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("loss_ratio", lambda: Impairment(loss_ratio=1.1)),
        ("reorder_ratio", lambda: Impairment(reorder_ratio=-0.1)),
        ("duplicate_ratio", lambda: Impairment(duplicate_ratio=2)),
        ("delay_ms", lambda: Impairment(delay_ms=-1)),
        ("jitter_ms", lambda: Impairment(jitter_ms=math.nan)),
        ("reorder_past", lambda: Impairment(reorder_past=0)),
        ("r", lambda: GilbertElliott(p=0.1, r=7)),
    ],
)
def test_what_cannot_be_is_refused_by_name(name: str, make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: got .*, expected "):
        make()


@given(st.lists(st.integers(0, 12), max_size=40))
def test_the_truth_counts_as_the_rfcs_do_whatever_comes_back(numbers: list[int]) -> None:
    handed: dict[int, list[Handed]] = {}
    for rank, number in enumerate(numbers):
        handed.setdefault(number, []).append(Handed(rank, float(rank), float(number)))
    packets = tuple(PacketTruth(0, number, 1, tuple(handed.get(number, ()))) for number in range(13))
    truth = Truth(packets, 0, 0)
    lost = set(range(13)) - set(numbers)
    assert truth.lost == len(lost)
    assert truth.loss_bursts == bursts(lost)
    assert truth.reordered == reordered(numbers)
    assert truth.duplicates == len(numbers) - len(set(numbers))
    neighbours = sum({number, number + 1} <= set(numbers) for number in range(12))
    assert math.isnan(truth.jitter_ms) if neighbours == 0 else truth.jitter_ms == 1


def test_a_percentile_is_the_nearest_rank() -> None:
    packets = tuple(PacketTruth(0, one, 1, (Handed(one, 0, one),)) for one in (9, 1, 5, 3))
    truth = Truth((*packets, PacketTruth(0, 7, 1, ())), 0, 0)
    assert [truth.delay_ms(percent) for percent in (0, 25, 50, 75, 95, 100)] == [1, 1, 3, 5, 9, 9]
    assert math.isnan(Truth((), 0, 0).delay_ms(50))


def test_replies_after_a_wait_are_lost_to_who_waited() -> None:
    packets = (
        PacketTruth(0, 0, 1, (Handed(1, 500, 500),)),
        PacketTruth(0, 1, 1, (Handed(0, 9, 9), Handed(2, 600, 600))),
    )
    seen = Truth(packets, 0, 0).where(lambda handed: handed.after_ms < 400)
    assert (seen.lost, seen.duplicates, seen.reordered, seen.delays_ms[1]) == (1, 0, 0, 9)
