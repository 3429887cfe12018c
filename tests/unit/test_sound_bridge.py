"""The cushion between the speaker's and the microphone's clock: nothing lost, the delay stays the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diemcau_sim.soundbridge import BLOCK, CUSHION, REVIEW_BLOCKS, Cushion


def ramp(begin: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.arange(begin + 1, begin + 1 + count, dtype=np.float32)


def test_nothing_is_taken_before_the_cushion_is_full() -> None:
    cushion = Cushion()
    cushion.put(ramp(0, BLOCK + CUSHION - 1))
    assert not cushion.take().any()
    cushion.put(ramp(BLOCK + CUSHION - 1, 1))
    assert np.array_equal(cushion.take(), ramp(0, BLOCK))


@settings(deadline=None)
@given(st.lists(st.integers(0, 2 * CUSHION // 3), min_size=1, max_size=80))
def test_samples_come_out_in_order_and_once_whatever_the_rhythm(chunks: list[int]) -> None:
    cushion, put, heard = Cushion(), 0, np.zeros(0, np.float32)
    for count in chunks:
        cushion.put(ramp(put, count))
        put += count
        block = cushion.take()
        assert block.size == BLOCK
        if block.any():
            heard = np.concatenate((heard, block))
    assert np.array_equal(heard, ramp(0, heard.size))


def test_an_even_rhythm_keeps_the_delay_for_ever() -> None:
    cushion, put = Cushion(), 0
    firsts: list[float] = []
    for _ in range(10 * REVIEW_BLOCKS):
        cushion.put(ramp(put, BLOCK))
        put += BLOCK
        block = cushion.take()
        if block.any():
            firsts.append(put - float(block[0]))
    assert len(set(firsts)) == 1


def test_a_hiccup_delays_and_silence_makes_up_for_it() -> None:
    cushion = Cushion()
    cushion.put(np.zeros(BLOCK + 5 * CUSHION, np.float32))
    for _ in range(2 * REVIEW_BLOCKS):
        cushion.put(np.zeros(BLOCK, np.float32))
        cushion.take()
    cushion.put(ramp(0, BLOCK))
    waited = 0
    while not cushion.take().any():
        cushion.put(np.zeros(BLOCK, np.float32))
        waited += BLOCK
    assert waited <= CUSHION


def test_sound_is_never_dropped_to_make_up_for_a_hiccup() -> None:
    cushion, put, heard = Cushion(), 0, np.zeros(0, np.float32)
    cushion.put(ramp(put, 5 * CUSHION))
    put += 5 * CUSHION
    for _ in range(3 * REVIEW_BLOCKS):
        cushion.put(ramp(put, BLOCK))
        put += BLOCK
        heard = np.concatenate((heard, cushion.take()))
    assert np.array_equal(heard, ramp(0, heard.size))


def test_a_starved_side_is_silence_and_fills_up_again() -> None:
    cushion = Cushion()
    cushion.put(ramp(0, BLOCK + CUSHION))
    blocks = [cushion.take() for _ in range(CUSHION // BLOCK + 3)]
    assert not blocks[-1].any()
    cushion.put(ramp(BLOCK + CUSHION, BLOCK))
    assert not cushion.take().any(), "first the cushion"
