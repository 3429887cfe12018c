"""What every panel promises: each move of the button is told, each colour is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from backends import arranged, rows
from diemcau_drivers import lights
from diemcau_drivers.panel import open_device
from rigs import Ear, Rig, wait_until

every = pytest.mark.parametrize("rig", rows("panel"), indirect=True, ids=lambda row: row.id)
with_hands = pytest.mark.parametrize("rig", arranged("panel"), indirect=True, ids=lambda row: row.id)


class Told(Ear):
    """The device logic's listener."""

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        self(event)


class Moves(Ear):
    """The backend's listener."""

    def __call__(self, pressed: bool) -> None:
        super().__call__(pressed)


@every
def test_it_starts_shows_a_light_and_says_what_it_is(rig: Rig) -> None:
    rig.backend.start(Moves())
    assert isinstance(rig.backend.pressed(), bool)
    for colour in ((1.0, 0.0, 0.0), (0.0, 0.5, 1.0), (0.0, 0.0, 0.0)):
        rig.backend.light(*colour)
    assert all(isinstance(value, str) for value in rig.backend.identity().values())


@with_hands
def test_each_move_of_the_button_is_told(rig: Rig) -> None:
    moves = Moves()
    rig.backend.start(moves)
    assert rig.backend.pressed() is False
    rig.press(True)
    moves.wait_for([True])
    assert rig.backend.pressed() is True
    rig.press(False)
    moves.wait_for([True, False])
    assert rig.backend.pressed() is False


@with_hands
def test_each_colour_is_shown(rig: Rig) -> None:
    rig.backend.start(Moves())
    for colour in (lights.AMBER, lights.BLUE, lights.DARK):
        rig.backend.light(*colour)
        assert rig.light() == colour


@with_hands
def test_a_hold_and_a_press_come_through_the_device_logic(rig: Rig) -> None:
    told = Told()
    panel = open_device(rig.backend, {"hold_s": 0.15}, told.tell)
    rig.press(True)
    told.wait_for(["hold"])
    assert panel.handle("probe", {})["readings"]["button_held_s"] >= 0.15
    rig.press(False)
    told.wait_for(["hold", "release"])
    assert panel.handle("probe", {})["readings"]["button_held_s"] == 0.0
    panel.close()


@with_hands
def test_a_press_is_no_hold(rig: Rig) -> None:
    told = Told()
    panel = open_device(rig.backend, {"hold_s": 10.0}, told.tell)
    rig.press(True)
    # Until it has been down for as long as a bounce may last:
    wait_until(lambda: panel.handle("probe", {})["readings"]["button_held_s"] > 0.0)
    rig.press(False)
    told.wait_for(["press"])
    panel.close()


@with_hands
def test_a_pattern_lights_up(rig: Rig) -> None:
    panel = open_device(rig.backend, {}, lambda event, data: None)
    assert panel.handle("lights", {"pattern": "ready"}) == {"pattern": "ready"}
    wait_until(lambda: rig.light() == lights.GREEN)  # the light has a thread of its own
    assert panel.handle("probe", {})["readings"]["pattern"] == "ready"
    panel.close()
