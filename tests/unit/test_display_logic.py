"""The display's device logic: what is asked of the screen, and that the answer is what was read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from diemcau_drivers.contract import BadRequest, Broken, DeviceError, Unsupported
from diemcau_drivers.display import SETTLE_S, Display


class FakeScreen:
    """Takes ``slow_asks`` questions to do what it was told; may not answer at all."""

    def __init__(self) -> None:
        self.is_connected = True
        self.powered = "on"
        self.ours: bool | None = True
        self.slow_asks = 0
        self.deaf = False
        self.fails: DeviceError | None = None
        self.can: tuple[str, ...] = ("power", "input", "brightness", "message", "card")
        self.percent: float | None = 60.0
        self.asked = 0
        self._next_power: str | None = None

    def identity(self) -> Mapping[str, str]:
        return {"connector": "HDMI-A-1"}

    def capabilities(self) -> Sequence[str]:
        return self.can

    def connected(self) -> bool:
        if self.fails is not None:
            raise self.fails
        return self.is_connected

    def size_px(self) -> tuple[int, int] | None:
        return (1920, 1080) if self.is_connected else None

    def power(self) -> str:
        self.asked += 1
        if self._next_power is not None and self.slow_asks <= 0:
            self.powered, self._next_power = self._next_power, None
        self.slow_asks -= 1
        return self.powered

    def active_input(self) -> bool | None:
        self.asked += 1
        return self.ours

    def set_power(self, on: bool) -> None:
        if not self.deaf:
            self._next_power = "on" if on else "standby"

    def set_input(self, name: str) -> None:
        if not self.deaf:
            self.ours = name == "kit"

    def brightness_percent(self) -> float | None:
        return self.percent

    def set_brightness(self, percent: float) -> None:
        self.percent = None if self.percent is None else min(percent, 90.0)

    def show(self, *, message: str | None, card: str | None) -> Mapping[str, Any]:
        return {"message": message or "", "card": card or "off"}

    def close(self) -> None: ...


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def screen() -> FakeScreen:
    return FakeScreen()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def display(screen: FakeScreen, clock: Clock) -> Display:
    return Display(screen, monotonic=clock.monotonic, sleep=clock.sleep)


def test_a_look_says_all_that_the_screen_tells(display: Display) -> None:
    assert display.handle("probe", {})["readings"] == {
        "connected": True,
        "width_px": 1920,
        "height_px": 1080,
        "power": "on",
        "cec": True,
        "active_input": True,
    }


def test_a_screen_that_does_not_answer_is_unknown_and_asked_only_once(
    display: Display, screen: FakeScreen
) -> None:
    screen.powered = "unknown"
    readings = display.handle("probe", {})["readings"]
    assert (readings["power"], readings["cec"], readings["active_input"]) == ("unknown", False, None)
    assert screen.asked == 1


@pytest.mark.parametrize("why", ["passive", "unplugged"])
def test_a_passive_look_and_an_unplugged_screen_send_nothing(
    display: Display, screen: FakeScreen, why: str
) -> None:
    screen.is_connected = why == "passive"
    look = display.handle("probe", {"passive": why == "passive"})
    assert look["readings"]["connected"] is screen.is_connected
    assert look["passive"] is (why == "passive")
    assert "power" not in look["readings"]
    assert screen.asked == 0


def test_a_failing_probe_carries_the_error(display: Display, screen: FakeScreen) -> None:
    screen.fails = Broken("no")
    assert display.handle("probe", {})["error"]["kind"] == "broken"


def test_a_slow_screen_is_waited_for(display: Display, screen: FakeScreen, clock: Clock) -> None:
    screen.slow_asks = 3
    assert display.handle("set", {"power": False}) == {"power": False}
    assert 0 < clock.now_s < SETTLE_S


def test_a_screen_that_does_not_do_it_is_answered_as_it_is_and_in_time(
    display: Display, screen: FakeScreen, clock: Clock
) -> None:
    screen.deaf = True
    assert display.handle("set", {"power": False}) == {"power": True}
    assert clock.now_s <= SETTLE_S + 0.5
    screen.ours = False
    assert display.handle("set", {"input": "kit"}) == {"input": "other"}


def test_what_the_screen_does_not_tell_is_unknown_and_not_waited_for(
    display: Display, screen: FakeScreen, clock: Clock
) -> None:
    screen.deaf, screen.powered, screen.ours, screen.percent = True, "unknown", None, None
    asked = {"power": True, "input": "2.0.0.0", "brightness_percent": 10}
    assert display.handle("set", asked) == dict.fromkeys(asked, "unknown")
    assert clock.now_s == 0.0


def test_everything_is_read_back(display: Display) -> None:
    asked = {
        "power": True,
        "input": "2.0.0.0",
        "brightness_percent": 100,
        "message": "Xin chào",
        "card": "bars",
    }
    assert display.handle("set", asked) == asked | {"brightness_percent": 90.0}
    assert display.handle("set", {"card": "off"}) == {"card": "off"}


def test_what_this_screen_cannot_is_refused_before_anything_is_done(
    display: Display, screen: FakeScreen
) -> None:
    screen.can = ("power",)
    with pytest.raises(Unsupported, match="card"):
        display.handle("set", {"power": False, "card": "bars"})
    assert screen.asked == 0
    assert screen.power() == "on"


@pytest.mark.parametrize(
    ("do", "args", "field"),
    [
        ("explode", {}, "do"),
        ("set", {}, "set"),
        ("set", {"power": "on"}, "power"),
        ("set", {"input": "hdmi 2"}, "input"),
        ("set", {"input": "2.0.0.g"}, "input"),
        ("set", {"brightness_percent": 101}, "brightness_percent"),
        ("set", {"message": "x" * 301}, "message"),
        ("set", {"message": 7}, "message"),
        ("set", {"card": "smiley"}, "card"),
        ("set", {"volume": 7}, "volume"),
        ("probe", {"passive": 1}, "passive"),
    ],
)
def test_bad_requests_name_the_field(display: Display, do: str, args: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest, match=rf"^{field}: got .*, expected "):
        display.handle(do, args)
