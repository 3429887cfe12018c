"""The panel's device logic on a clock that the test holds: button events, probes, the thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from diemcau_drivers import lights
from diemcau_drivers.contract import Absent, BadRequest, Broken
from diemcau_drivers.panel import DEBOUNCE_S, Button, open_device
from panel_bench import HOLD_S, Bench, FakePanel


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


def test_a_light_that_fails_is_told_by_the_probe_and_stops_no_button(bench: Bench) -> None:
    bench.backend.light_fails = Broken("no LED")
    with pytest.raises(Broken, match="no LED"):
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
