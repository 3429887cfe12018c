"""A panel whose thread is the test: button and light in hand, on a clock that stands still."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from diemcau_drivers import lights
from diemcau_drivers.contract import DeviceError
from diemcau_drivers.panel import Panel

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
