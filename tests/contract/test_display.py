"""What every display promises, whatever is below."""

from __future__ import annotations

import pytest

from backends import arranged, rows
from diemcau_drivers.contract import DISPLAY_READINGS
from diemcau_drivers.display import Display
from rigs import Rig

every = pytest.mark.parametrize("rig", rows("display"), indirect=True, ids=lambda row: row.id)
with_hands = pytest.mark.parametrize("rig", arranged("display"), indirect=True, ids=lambda row: row.id)


@every
def test_it_says_what_it_is_and_what_it_can(rig: Rig) -> None:
    assert all(isinstance(value, str) and value for value in rig.backend.identity().values())
    assert set(rig.backend.capabilities()) <= {"power", "input", "brightness", "message", "card"}


@every
def test_what_it_tells_has_the_contracts_words(rig: Rig) -> None:
    assert isinstance(rig.backend.connected(), bool)
    assert rig.backend.power() in ("on", "standby", "unknown")
    assert rig.backend.active_input() in (True, False, None)
    size = rig.backend.size_px()
    assert size is None or all(isinstance(side, int) and side > 0 for side in size)


@every
def test_a_probe_tells_the_contracts_readings(rig: Rig) -> None:
    look = Display(rig.backend).handle("probe", {})
    assert look["error"] is None
    assert set(look["readings"]) <= set(DISPLAY_READINGS)
    assert look["readings"]["connected"] is rig.backend.connected()


@with_hands
def test_power_is_set_and_read_back(rig: Rig) -> None:
    display = Display(rig.backend)
    assert display.handle("set", {"power": False}) == {"power": False}
    assert display.handle("probe", {})["readings"]["power"] == "standby"
    assert display.handle("set", {"power": True}) == {"power": True}
    assert display.handle("probe", {})["readings"]["power"] == "on"


@with_hands
def test_another_input_is_noticed(rig: Rig) -> None:
    assert Display(rig.backend).handle("set", {"input": "2.0.0.0"}) == {"input": "2.0.0.0"}
    assert rig.backend.active_input() is False
    Display(rig.backend).handle("set", {"input": "kit"})
    assert rig.backend.active_input() is not False


@with_hands
def test_brightness_words_and_cards_are_read_back(rig: Rig) -> None:
    display = Display(rig.backend)
    assert display.handle("set", {"brightness_percent": 25}) == {"brightness_percent": 25.0}
    shown = display.handle("set", {"message": "Xin chào", "card": "bars"})
    assert shown == {"message": "Xin chào", "card": "bars"}
    assert rig.backend.show(message="", card=None) == {"message": "", "card": "bars"}
    assert rig.backend.show(message=None, card="off") == {"message": "", "card": "off"}


@with_hands
def test_who_does_not_answer_cec_is_unknown_never_off(rig: Rig) -> None:
    rig.silence(True)
    readings = Display(rig.backend).handle("probe", {})["readings"]
    assert (readings["power"], readings["cec"], readings["active_input"]) == ("unknown", False, None)
    assert Display(rig.backend).handle("set", {"power": False}) == {"power": "unknown"}
    rig.silence(False)
    assert rig.backend.power() == "on"


@with_hands
def test_an_unplugged_screen_is_not_connected_and_comes_back(rig: Rig) -> None:
    rig.unplug(True)
    assert Display(rig.backend).handle("probe", {})["readings"] == {"connected": False}
    rig.unplug(False)
    assert Display(rig.backend).handle("probe", {})["readings"]["connected"] is True
