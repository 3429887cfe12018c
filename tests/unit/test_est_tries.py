"""Who failed too often waits, and what is remembered of it is bounded."""

from __future__ import annotations

from diemcau_fleet.est.tries import REMEMBERED, Tries
from fakeclock import FakeClock


def test_after_the_limit_one_waits_until_the_oldest_failure_is_out_of_the_window(clock: FakeClock) -> None:
    tries = Tries(3, 60, clock.monotonic)
    for _ in range(3):
        assert tries.wait_s("xp-0417") == 0
        tries.count("xp-0417")
        clock.mono_s += 10
    assert tries.wait_s("xp-0417") == 30
    assert tries.wait_s("xp-0418") == 0
    clock.mono_s += 30
    assert tries.wait_s("xp-0417") == 0
    tries.count("xp-0417")
    assert tries.wait_s("xp-0417") == 10


def test_somebody_with_many_names_fills_no_memory_and_clears_no_name_of_his_own_last_ones(
    clock: FakeClock,
) -> None:
    tries = Tries(1, 60, clock.monotonic)
    for number in range(REMEMBERED + 10):
        tries.count(number)
    assert tries.wait_s(0) == 0
    assert tries.wait_s(10) == 60
    assert len(tries._counted) == REMEMBERED
