"""The GPIO backend on gpiozero's own mock pins: everything above the pin is real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory, MockPin, MockPWMPin

from diemcau_drivers.backends.gpio import GpioPanel
from diemcau_drivers.contract import Absent, Broken

PINS = {"button_gpio": 5, "red_gpio": 6, "green_gpio": 13, "blue_gpio": 19}


class Moves(list[bool]):
    def __call__(self, pressed: bool) -> None:
        self.append(pressed)


@pytest.fixture
def factory() -> Iterator[Any]:
    factory = MockFactory(pin_class=MockPWMPin)
    yield factory
    factory.reset()


@pytest.fixture
def panel(factory: Any) -> Iterator[GpioPanel]:
    panel = GpioPanel(PINS, pin_factory=factory)
    yield panel
    panel.close()


def test_the_button_is_pulled_up_and_pressed_to_ground(panel: GpioPanel, factory: Any) -> None:
    moves = Moves()
    panel.start(moves)
    pin = factory.pin(5)
    assert pin.pull == "up"
    assert not panel.pressed()
    pin.drive_low()
    assert panel.pressed()
    pin.drive_high()
    assert not panel.pressed()
    assert moves == [True, False]


def test_bounces_come_through_for_the_device_logic_to_judge(panel: GpioPanel, factory: Any) -> None:
    moves = Moves()
    panel.start(moves)
    for _ in range(3):
        factory.pin(5).drive_low()
        factory.pin(5).drive_high()
    assert moves == [True, False] * 3


def test_the_light_is_three_pins(panel: GpioPanel, factory: Any) -> None:
    panel.start(lambda pressed: None)
    panel.light(1.0, 0.5, 0.0)
    assert [factory.pin(number).state for number in (6, 13, 19)] == [1.0, 0.5, 0.0]
    panel.light(0.0, 0.0, 0.0)
    assert [factory.pin(number).state for number in (6, 13, 19)] == [0.0, 0.0, 0.0]


def test_closed_means_dark_deaf_and_free_for_another(panel: GpioPanel, factory: Any) -> None:
    moves = Moves()
    panel.start(moves)
    panel.light(1.0, 1.0, 1.0)
    panel.close()
    factory.pin(5).drive_low()
    assert moves == []
    again = GpioPanel(PINS, pin_factory=factory)
    again.start(moves)
    again.close()


def test_before_the_start_nothing_works(panel: GpioPanel) -> None:
    with pytest.raises(Broken, match="not been started"):
        panel.pressed()
    with pytest.raises(Broken, match="not been started"):
        panel.light(1, 0, 0)


def test_identity_names_the_wiring() -> None:
    assert GpioPanel(PINS).identity() == {"gpio": "button 5, red 6, green 13, blue 19"}
    assert GpioPanel({}).identity() == {"gpio": "button 17, red 22, green 27, blue 23"}


def test_a_line_that_is_taken_is_told(factory: Any, panel: GpioPanel) -> None:
    panel.start(lambda pressed: None)
    second = GpioPanel(PINS, pin_factory=factory)
    with pytest.raises(Broken, match="GPIO failed"):
        second.start(lambda pressed: None)
    second.close()


def test_pins_that_cannot_dim_are_told() -> None:
    plain = MockFactory(pin_class=MockPin)
    panel = GpioPanel(PINS, pin_factory=plain)
    with pytest.raises(Broken, match="PinPWMUnsupported"):
        panel.start(lambda pressed: None)
    panel.close()
    plain.reset()


def test_a_machine_without_a_gpio_chip_has_no_panel(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="no GPIO chip"):
        GpioPanel({}, dev=tmp_path).start(lambda pressed: None)


def test_a_chip_that_is_no_pis_is_broken_and_never_another_pin_factory(tmp_path: Path) -> None:
    (tmp_path / "gpiochip0").touch()
    panel = GpioPanel({}, dev=tmp_path)
    with pytest.raises(Broken, match=r"(?i)gpio"):
        panel.start(lambda pressed: None)
    panel.close()
