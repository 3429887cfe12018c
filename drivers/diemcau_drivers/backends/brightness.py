"""A screen's brightness: a panel's backlight in sysfs, or a monitor's own control by DDC/CI (ddcutil)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from diemcau_drivers.contract import Broken, Unsupported

from .videonodes import text

DDC_DEADLINE_S = 4.0
"""DDC/CI runs at 100 kHz with pauses of 50 ms a message (VESA DDC/CI 1.1, 4.4)."""
LUMINANCE = "10"
"""VCP code of MCCS 2.2a, hexadecimal."""
VCP = re.compile(r"^VCP 10 C (\d+) (\d+)", re.MULTILINE)

Run = Callable[[Sequence[str], float], "str | None"]


class Brightness:
    def __init__(self, sys: Path, run: Run, which: Callable[[str], str | None] = shutil.which) -> None:
        self._backlights = sys / "class/backlight"
        self._run = run
        self._ddcutil = which("ddcutil")

    @property
    def available(self) -> bool:
        return self._backlight() is not None or self._ddcutil is not None

    def percent(self) -> float | None:
        """0 to 100; None where it is not told."""
        backlight = self._backlight()
        if backlight is not None:
            most = _number(backlight / "max_brightness")
            now = _number(backlight / "brightness")
            return round(100.0 * now / most, 1) if most and now is not None else None
        told = self._ddc("getvcp", LUMINANCE, "--brief")
        found = VCP.search(told or "")
        return round(100.0 * int(found[1]) / int(found[2]), 1) if found and int(found[2]) else None

    def set(self, percent: float) -> None:
        backlight = self._backlight()
        if backlight is not None:
            most = _number(backlight / "max_brightness") or 0
            try:
                (backlight / "brightness").write_text(f"{round(most * percent / 100.0)}\n")
            except OSError as error:
                raise Broken(f"the backlight cannot be set: {error}") from error
        elif self._ddcutil is None:
            raise Unsupported("brightness: no backlight, and ddcutil is not installed")
        else:
            # Almost every monitor counts 0 to 100; what it makes of it is read back.
            if self._ddc("setvcp", LUMINANCE, str(round(percent))) is None:
                raise Broken("the monitor takes no brightness by DDC/CI")

    def _ddc(self, *command: str) -> str | None:
        return None if self._ddcutil is None else self._run((self._ddcutil, *command), DDC_DEADLINE_S)

    def _backlight(self) -> Path | None:
        try:
            return next(iter(sorted(self._backlights.iterdir())), None)
        except OSError:
            return None


def _number(path: Path) -> int | None:
    value = text(path)
    return int(value) if value is not None and value.isdecimal() else None
