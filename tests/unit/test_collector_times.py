"""Times that a kit told before its clock was set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.clock import rfc3339
from diemcau_fleet.collector import times

MS = st.integers(0, 2**41)


def test_what_the_agent_writes_is_read_to_the_millisecond() -> None:
    assert times.parse(rfc3339(1_795_332_600.123)) == 1_795_332_600_123


def test_a_zone_is_heeded() -> None:
    assert times.parse("2026-11-22T14:30:00.000+07:00") == times.parse("2026-11-22T07:30:00.000Z")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-22T07:30:00", "2026-13-01T00:00:00Z", "1970"])
def test_what_is_no_time_with_its_zone_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"got|Invalid|month"):
        times.parse(text)


@given(true_ms=MS, mono_ms=MS, earlier_ms=MS, wrong_ms=MS)
def test_one_true_time_corrects_the_whole_boot(
    true_ms: int, mono_ms: int, earlier_ms: int, wrong_ms: int
) -> None:
    offset = times.offset_ms(true_ms, mono_ms)
    corrected = times.corrected_ms(wrong_ms, mono_ms - earlier_ms, synced=False, offset=offset)
    assert corrected == true_ms - earlier_ms


def test_a_true_time_stands_and_an_untrue_one_without_offset_is_unknown() -> None:
    assert times.corrected_ms(5000, 1, synced=True, offset=77) == 5000
    assert times.corrected_ms(5000, 1, synced=False, offset=None) is None
