"""The panel's device logic on a clock that the test holds: button events, light patterns, wake-ups."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from diemcau_drivers import lights
from diemcau_drivers.contract import LIGHT_PATTERNS, Absent, BadRequest, Broken, DeviceError
from diemcau_drivers.panel import DEBOUNCE_S, Button, Panel, open_device

HOLD_S = 2.0


class FakePanel:
    def __init__(self) -> None:
        self.is_pressed = False
        self.shown: list[lights.Light] = []
        self.fails: DeviceError | None = None
        self.light_fails: DeviceError | None = None
        self.closed = False
        self.lit = threading.Event()
        self.tell: Callable[[bool], None] = lambda pressed: None

    def start(self, tell: Callable[[bool], None]) -> None:
        if self.fails is not None:
            raise self.fails
        self.tell = tell

    def pressed(self) -> bool:
        if self.fails is not None:
            raise self.fails
        return self.is_pressed

    def press(self, pressed: bool) -> None:
        self.is_pressed = pressed
        self.tell(pressed)

    def light(self, red: float, green: float, blue: float) -> None:
        if self.light_fails is not None:
            raise self.light_fails
        self.shown.append((red, green, blue))
        self.lit.set()

    def identity(self) -> Mapping[str, str]:
        return {"gpio": "17"}

    def close(self) -> None:
        self.closed = True


class Bench:
    """A panel whose thread is the test: ``after`` moves the clock and does all that falls due on the way."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.events: list[str] = []
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self.wakeups = 0
        self.backend = FakePanel()
        self.panel = Panel(self.backend, HOLD_S, self._tell, lambda: self.now_s)
        self.backend.start(self._contact)
        self.panel.step()

    def _contact(self, pressed: bool) -> None:
        self.panel._contact(pressed)  # what Panel.start hands to the backend
        self.panel.step()

    def _tell(self, event: str, data: Mapping[str, Any]) -> None:
        self.events.append(event)
        self.told.append((event, data))

    def after(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while (wait_s := self.panel.step()) is not None and self.now_s + wait_s <= end_s:
            self.now_s += wait_s
            self.wakeups += 1
        self.now_s = end_s
        self.panel.step()

    def read(self) -> Mapping[str, Any]:
        return self.panel.handle("probe", {})["readings"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_press_is_told_when_the_button_comes_up(bench: Bench) -> None:
    bench.backend.press(True)
    bench.after(0.5)
    assert bench.events == []
    bench.backend.press(False)
    bench.after(0.5)
    assert bench.events == ["press"]


def test_a_hold_is_told_while_it_is_down_and_then_its_release(bench: Bench) -> None:
    bench.backend.press(True)
    bench.after(HOLD_S - 0.1)
    assert bench.events == []
    bench.after(0.2)
    assert bench.events == ["hold"]
    assert bench.told[0][1]["button_held_s"] == pytest.approx(HOLD_S, abs=0.01)
    bench.after(10)
    bench.backend.press(False)
    bench.after(0.5)
    assert bench.events == ["hold", "release"]


def test_bounces_are_one_press(bench: Bench) -> None:
    for pressed in (True, False, True, False, True):
        bench.backend.press(pressed)
        bench.after(0.004)
    bench.after(0.3)
    for pressed in (False, True, False):
        bench.backend.press(pressed)
        bench.after(0.004)
    bench.after(0.3)
    assert bench.events == ["press"]


def test_a_spike_shorter_than_the_debounce_is_nothing(bench: Bench) -> None:
    bench.backend.press(True)
    bench.after(DEBOUNCE_S / 2)
    bench.backend.press(False)
    bench.after(5)
    assert bench.events == []
    assert bench.read()["button_held_s"] == 0.0


def test_a_button_that_stays_down_is_measured_for_as_long_as_it_does(bench: Bench) -> None:
    bench.backend.press(True)
    bench.after(12.0)
    assert bench.read()["button_held_s"] == pytest.approx(12.0)
    bench.backend.press(False)
    bench.after(1.0)
    assert bench.read()["button_held_s"] == 0.0


def test_an_edge_that_was_lost_is_found_by_the_probe(bench: Bench) -> None:
    bench.backend.is_pressed = True
    assert bench.read()["button_held_s"] == 0.0
    bench.after(1.0)
    assert bench.read()["button_held_s"] == pytest.approx(1.0)


class Presses(RuleBasedStateMachine):
    """Whatever a finger does, the events are those of one button."""

    def __init__(self) -> None:
        super().__init__()
        self.button = Button(HOLD_S)
        self.now_s = 0.0
        self.events: list[str] = []

    @rule(pressed=st.booleans())
    def move(self, pressed: bool) -> None:
        self.events += self.button.feed(pressed, self.now_s)

    @rule(seconds=st.floats(0.0, 5.0))
    def wait(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while (due_s := self.button.due_s()) is not None and due_s <= end_s:
            self.now_s = max(self.now_s, due_s)
            self.events += self.button.advance(self.now_s)
        self.now_s = end_s
        self.events += self.button.advance(self.now_s)

    @invariant()
    def holds_and_releases_alternate(self) -> None:
        turns = [event for event in self.events if event != "press"]
        assert turns == ["hold", "release"] * (len(turns) // 2) + ["hold"] * (len(turns) % 2)

    @invariant()
    def no_press_comes_within_a_hold(self) -> None:
        assert ("hold", "press") not in list(pairwise(self.events))

    @invariant()
    def a_deadline_is_always_ahead_once_the_time_has_been_told(self) -> None:
        self.events += self.button.advance(self.now_s)
        due_s = self.button.due_s()
        assert due_s is None or due_s > self.now_s


TestPresses = Presses.TestCase


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 3.0)), max_size=12))
def test_asking_late_tells_the_same_as_asking_in_time(moves: list[tuple[bool, float]]) -> None:
    """A thread that was held up must not turn a hold into a press, nor lose one."""
    late, punctual = Button(HOLD_S), Button(HOLD_S)
    told_late: list[str] = []
    told_punctually: list[str] = []
    now_s = 0.0
    for pressed, seconds in moves:
        told_late += late.feed(pressed, now_s)
        told_punctually += punctual.feed(pressed, now_s)
        end_s = now_s + seconds
        while (due_s := punctual.due_s()) is not None and due_s <= end_s:
            told_punctually += punctual.advance(due_s)
        now_s = end_s
    assert told_late + late.advance(now_s) == told_punctually + punctual.advance(now_s)


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
    bench.panel.handle("lights", {"pattern": "degraded"})
    bench.backend.shown.clear()
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


def test_a_light_that_fails_is_told_by_the_probe_and_stops_no_button(bench: Bench) -> None:
    bench.backend.light_fails = Broken("no LED")
    bench.panel.handle("lights", {"pattern": "ready"})
    bench.panel.step()
    assert bench.panel.handle("probe", {})["error"]["kind"] == "broken"
    bench.backend.press(True)
    bench.after(0.2)
    bench.backend.press(False)
    bench.after(0.2)
    assert bench.events == ["press"]
    bench.backend.light_fails = None
    bench.panel.handle("probe", {})
    bench.panel.step()
    assert bench.panel.handle("probe", {})["error"] is None
    assert bench.backend.shown[-1] == lights.GREEN


def test_a_panel_that_is_gone_is_told_by_the_probe(bench: Bench) -> None:
    bench.backend.fails = Absent("gone")
    assert bench.panel.handle("probe", {})["error"]["kind"] == "absent"


@pytest.mark.parametrize(
    ("do", "args", "field"),
    [
        ("sing", {}, "do"),
        ("lights", {"pattern": "rainbow"}, "pattern"),
        ("lights", {}, "pattern"),
        ("probe", {"x": 1}, "x"),
    ],
)
def test_bad_requests_name_the_field(bench: Bench, do: str, args: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest, match=rf"^{field}: got .*, expected "):
        bench.panel.handle(do, args)


def test_the_real_thread_tells_and_lights_and_ends() -> None:
    backend, told, heard = FakePanel(), list[str](), threading.Event()

    def tell(event: str, data: Mapping[str, Any]) -> None:
        told.append(event)
        heard.set()

    panel = open_device(backend, {"hold_s": 0.05}, tell)
    backend.lit.clear()
    panel.handle("lights", {"pattern": "ready"})
    assert backend.lit.wait(5)
    backend.press(True)
    assert heard.wait(5)
    assert told == ["hold"]
    heard.clear()
    backend.press(False)
    assert heard.wait(5)
    assert told == ["hold", "release"]
    panel.close()
    assert backend.closed
    assert not any(thread.name == "panel" for thread in threading.enumerate())


def test_a_button_that_was_down_before_we_listened_is_seen() -> None:
    backend, heard = FakePanel(), threading.Event()
    backend.is_pressed = True
    panel = open_device(backend, {"hold_s": 0.05}, lambda event, data: heard.set())
    assert heard.wait(5)
    panel.close()


def test_a_panel_that_cannot_start_is_closed_and_may_be_tried_again() -> None:
    backend = FakePanel()
    backend.fails = Absent("no chip")
    with pytest.raises(Absent):
        open_device(backend, {}, lambda event, data: None)
    assert backend.closed


def test_a_daemon_that_is_gone_ends_the_thread_quietly() -> None:
    backend, tried = FakePanel(), threading.Event()

    def tell(event: str, data: Mapping[str, Any]) -> None:
        tried.set()
        raise BrokenPipeError

    panel = open_device(backend, {"hold_s": 0.05}, tell)
    backend.press(True)
    assert tried.wait(5)
    panel.close()
