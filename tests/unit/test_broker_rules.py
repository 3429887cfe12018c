"""Backoff and nonces (docs/wire.md, Presence)."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.backoff import Backoff
from diemcau_agent.nonces import Nonces
from fakeclock import FakeClock


def widest(low: float, high: float) -> float:
    return high


def test_backoff_doubles_to_its_cap_by_cause() -> None:
    line, refusing = Backoff(widest), Backoff(widest)
    assert [line.failed(refused=False) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 40, 40]
    assert [refusing.failed(refused=True) for _ in range(10)][-2:] == [256, 300]


def test_only_a_stable_minute_resets_it_so_connect_then_kick_is_not_hammered() -> None:
    backoff = Backoff(widest)
    assert [backoff.lost(5, 120, silent=False) for _ in range(10)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert backoff.lost(61, 120, silent=False) == 120
    assert backoff.failed(refused=False) == 1


def test_a_line_that_fell_silent_is_tried_again_within_the_minute_after_its_repair() -> None:
    backoff = Backoff(widest)
    assert backoff.lost(3600, 120, silent=True) == 40
    assert backoff.lost(3600, 0.5, silent=True) == 0.5
    assert max(backoff.lost(5, 120, silent=True) for _ in range(20)) == 40


@given(st.integers(1, 200))
def test_an_hour_of_being_kicked_at_once_is_a_handful_of_connections(seed: int) -> None:
    backoff = Backoff(Random(seed).uniform)
    passed_s, connections = 0.0, 0
    while passed_s < 3600:
        passed_s += backoff.lost(0.1, 120, silent=False)
        connections += 1
    assert connections <= 60  # the ceilings alone make 20; chance halves them


@given(st.lists(st.booleans(), max_size=40))
def test_a_wait_is_never_negative_nor_over_its_cap(refusals: list[bool]) -> None:
    backoff = Backoff()
    for refused in refusals:
        assert 0 <= backoff.failed(refused=refused) <= (300 if refused else 40)


def test_a_nonce_is_good_until_60_s_after_its_successor(clock: FakeClock) -> None:
    nonces = Nonces(clock)
    first = nonces.current
    assert len(first) == 32
    second = nonces.renew()
    clock.mono_s += 60
    assert nonces.valid(first)
    assert nonces.valid(second)
    clock.mono_s += 0.1
    assert not nonces.valid(first)
    assert nonces.valid(second)
    assert not nonces.valid(None)
    assert not nonces.valid("")
    assert not nonces.valid("đ")


def test_the_one_before_the_last_is_no_longer_good(clock: FakeClock) -> None:
    nonces = Nonces(clock)
    first = nonces.current
    nonces.renew()
    nonces.renew()
    assert not nonces.valid(first)
