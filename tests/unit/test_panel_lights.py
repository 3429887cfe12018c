"""The light's patterns: a rhythm each, few wake-ups, and never a spin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_drivers import lights
from diemcau_drivers.contract import LIGHT_PATTERNS
from panel_bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_there_is_a_pattern_for_each_name_and_no_more() -> None:
    assert set(lights.PATTERNS) == set(LIGHT_PATTERNS)


def rhythm(pattern: str) -> tuple[float, ...]:
    """Where the light changes, colour left out: what somebody who sees no colours can count."""
    return tuple(round(length_s, 3) for length_s, _ in lights.PATTERNS[pattern])


def test_every_blinking_pattern_has_a_rhythm_of_its_own() -> None:
    blinking = [name for name in LIGHT_PATTERNS if len(lights.PATTERNS[name]) > 1]
    assert len({rhythm(name) for name in blinking}) == len(blinking)
    solid = set(LIGHT_PATTERNS) - set(blinking)
    assert solid == {"off", "ready"}  # dark and lit: no colour is needed to tell them apart


@pytest.mark.parametrize("pattern", LIGHT_PATTERNS)
def test_wakeups_are_few(bench: Bench, pattern: str) -> None:
    bench.panel.handle("lights", {"pattern": pattern})
    bench.panel.step()
    bench.wakeups = 0
    bench.after(60.0)
    per_second = bench.wakeups / 60.0
    if pattern in ("off", "ready"):
        assert per_second == 0
    else:
        assert 0 < per_second <= (10 if pattern == "identify" else 4.1)


@given(st.sampled_from(LIGHT_PATTERNS), st.floats(0, 1e6))
def test_the_light_never_spins_and_is_always_a_colour(pattern: str, elapsed_s: float) -> None:
    wait_s = lights.next_change_s(pattern, elapsed_s)
    assert wait_s is None or 0.001 <= wait_s <= 2.4
    assert all(0.0 <= level <= 1.0 for level in lights.colour_at(pattern, elapsed_s))


def test_degraded_blinks_amber_slowly(bench: Bench) -> None:
    bench.backend.shown.clear()
    bench.panel.handle("lights", {"pattern": "degraded"})
    bench.after(3.9)
    assert bench.backend.shown == [lights.AMBER, lights.DARK, lights.AMBER, lights.DARK]


def test_the_same_pattern_again_keeps_its_rhythm(bench: Bench) -> None:
    bench.panel.handle("lights", {"pattern": "degraded"})
    bench.after(1.5)
    shown = len(bench.backend.shown)
    assert bench.panel.handle("lights", {"pattern": "degraded"}) == {"pattern": "degraded"}
    bench.panel.step()
    assert len(bench.backend.shown) == shown
    assert bench.read()["pattern"] == "degraded"
