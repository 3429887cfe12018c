"""Button and light on the Pi's GPIO header through gpiozero, on lgpio.

The pin factory is named, never gpiozero's own choice: it would fall back to whatever library it finds.
Wiring: the button from its GPIO to ground (the Pi's own pull-up holds it high), the light an RGB LED with
common cathode. Raises Absent (no GPIO chip), Busy (another program has the line), Broken.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from diemcau_drivers.contract import Absent, Broken, Busy

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import PanelListener

PINS = {"button_gpio": 17, "red_gpio": 22, "green_gpio": 27, "blue_gpio": 23}
"""Options, with the BCM numbers that the configuration has by default."""


class Button(Protocol):
    """What is used of gpiozero.Button."""

    when_pressed: Callable[[], None] | None
    when_released: Callable[[], None] | None

    @property
    def is_pressed(self) -> bool: ...
    def close(self) -> None: ...


class Led(Protocol):
    """What is used of gpiozero.RGBLED."""

    value: tuple[float, float, float]

    def close(self) -> None: ...


class GpioPanel:
    """``pin_factory``: a gpiozero factory; None takes lgpio's when the panel starts."""

    def __init__(
        self, options: Mapping[str, Any], *, pin_factory: object | None = None, dev: Path = Path("/dev")
    ) -> None:
        self._pins = {name: int(options.get(name, default)) for name, default in PINS.items()}
        self._factory = pin_factory
        self._own_factory = pin_factory is None
        self._dev = dev
        self._work_dir = str(options.get("runtime_dir") or tempfile.gettempdir())
        self._button: Button | None = None
        self._led: Led | None = None

    def start(self, tell: PanelListener) -> None:
        with self._told():
            import gpiozero

            if self._factory is None:
                self._factory = self._lgpio_factory()
            pins = self._pins
            # bounce_time stays unset: the device logic debounces, on one clock with everything else.
            button = cast("Any", gpiozero.Button)(pins["button_gpio"], pin_factory=self._factory)
            self._button = cast("Button", button)
            led = cast("Any", gpiozero.RGBLED)(
                pins["red_gpio"], pins["green_gpio"], pins["blue_gpio"], pin_factory=self._factory
            )
            self._led = cast("Led", led)
            self._button.when_pressed = lambda: tell(True)
            self._button.when_released = lambda: tell(False)

    def pressed(self) -> bool:
        if self._button is None:
            raise Broken("the panel has not been started")
        with self._told():
            return self._button.is_pressed

    def light(self, red: float, green: float, blue: float) -> None:
        if self._led is None:
            raise Broken("the panel has not been started")
        with self._told():
            self._led.value = (red, green, blue)

    def identity(self) -> Mapping[str, str]:
        names = ("button", "red", "green", "blue")
        return {"gpio": ", ".join(f"{name} {self._pins[f'{name}_gpio']}" for name in names)}

    def close(self) -> None:
        button, self._button = self._button, None
        led, self._led = self._led, None
        with self._told():
            if button is not None:
                button.close()
            if led is not None:
                led.close()
            if self._own_factory and self._factory is not None:
                cast("Any", self._factory).close()
                self._factory = None

    def _lgpio_factory(self) -> object:
        if not any(self._dev.glob("gpiochip*")):
            raise Absent("no GPIO chip in this machine")
        try:
            # lgpio makes a FIFO in the working directory as it is imported, and a unit's is read-only.
            with chdir(self._work_dir):
                from gpiozero.pins.lgpio import LGPIOFactory
        except ImportError as error:
            raise Broken(f"gpiozero needs lgpio: {error}") from error
        return cast("Callable[[], object]", LGPIOFactory)()

    @contextmanager
    def _told(self) -> Generator[None]:
        """What the libraries' errors mean."""
        from gpiozero import GPIOZeroError

        try:
            yield
        except GPIOZeroError as error:
            raise Broken(f"the panel's GPIO failed: {type(error).__name__}: {error}") from error
        except OSError as error:
            raise Broken(f"the panel's GPIO cannot be opened: {error}") from error
        except _lgpio_error() as error:
            if "busy" in str(error).lower():  # LG_GPIO_BUSY: "'GPIO busy'"
                raise Busy("another program has one of the panel's GPIO lines") from error
            raise Broken(f"the panel's GPIO failed: {error}") from error


def _lgpio_error() -> type[Exception] | tuple[()]:
    """lgpio's one exception; nothing where lgpio has not been imported."""
    lgpio = sys.modules.get("lgpio")
    return () if lgpio is None else cast("type[Exception]", lgpio.error)
