"""Backoff and nonces (docs/wire.md, Presence)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.broker import Backoff, Nonces
from fakeclock import FakeClock


def widest(low: float, high: float) -> float:
    return high


def test_backoff_doubles_to_its_cap_by_cause() -> None:
    line, refusing = Backoff(widest), Backoff(widest)
    assert [line.failed(refused=False) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [refusing.failed(refused=True) for _ in range(10)][-2:] == [256, 300]


def test_only_a_stable_minute_resets_it_so_connect_then_kick_is_not_hammered() -> None:
    backoff = Backoff(widest)
    assert [backoff.lost(5, 120) for _ in range(5)] == [1, 2, 4, 8, 16]
    assert backoff.lost(61, 120) == 120
    assert backoff.failed(refused=False) == 1


@given(st.lists(st.booleans(), max_size=40))
def test_a_wait_is_never_negative_nor_over_its_cap(refusals: list[bool]) -> None:
    backoff = Backoff()
    for refused in refusals:
        assert 0 <= backoff.failed(refused=refused) <= (300 if refused else 60)


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
