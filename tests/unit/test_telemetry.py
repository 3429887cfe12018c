"""Aggregates of a minute (docs/wire.md, telemetry)."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.telemetry import Window, aggregate

NUMBERS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=100)


@given(NUMBERS)
def test_an_aggregate_lies_within_its_samples(values: list[float]) -> None:
    series = aggregate(values)
    assert series.n == len(values)
    assert (series.min, series.max) == (min(values), max(values))
    assert series.min - 1e-6 <= series.mean <= series.max + 1e-6
    assert series.p95 in values
    assert sum(value <= series.p95 for value in values) >= 0.95 * len(values)


def test_p95_is_the_nearest_rank() -> None:
    assert aggregate([float(n) for n in range(1, 101)]).p95 == 95
    assert aggregate([float(n) for n in range(1, 21)]).p95 == 19
    assert aggregate([7.0]).p95 == 7


def test_only_finite_numbers_become_series_and_a_window_starts_empty_again() -> None:
    window = Window()
    window.add(
        "camera", {"luma_mean": 0.5, "power": "on", "muted": True, "level_dbfs": -math.inf, "none": None}
    )
    window.add("camera", {"luma_mean": 0.7})
    assert list(window.take()) == ["camera.luma_mean"]
    assert window.take() == {}
