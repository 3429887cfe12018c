"""A camera's own zoom, pan and tilt through its V4L2 controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from diemcau_drivers.contract import BadRequest

if TYPE_CHECKING:
    from .lens import View
    from .stream import Control

CAMERA_CLASS = 0x009A0900
PAN_ABSOLUTE, TILT_ABSOLUTE, ZOOM_ABSOLUTE = CAMERA_CLASS + 8, CAMERA_CLASS + 9, CAMERA_CLASS + 13
"""Control ids of linux/v4l2-controls.h."""


class Motors:
    """Zoom is there; pan and tilt may be."""

    def __init__(
        self, zoom: Control, pan: Control | None, tilt: Control | None, presets: Mapping[str, View]
    ) -> None:
        self._zoom, self._pan, self._tilt = zoom, pan, tilt
        self._presets = presets

    @classmethod
    def of(cls, controls: Mapping[int, Control], presets: Mapping[str, View]) -> Motors | None:
        """A camera's motors, of all its controls by id; None where it has no zoom that can be set."""
        zoom = controls.get(ZOOM_ABSOLUTE)
        if zoom is None or not zoom.is_writeable or zoom.maximum <= zoom.minimum:
            return None
        return cls(zoom, controls.get(PAN_ABSOLUTE), controls.get(TILT_ABSOLUTE), presets)

    def zoom(self) -> float:
        """The ratio, 1 = the widest view.

        The control counts focal length (UVC 1.5, 4.2.2.1.12), so the ratio is that to its minimum; a
        control that starts at 0 says nothing of ratios and is taken as even from 1 to 10.
        """
        low, high = self._zoom.minimum, self._zoom.maximum
        if low > 0:
            return round(self._zoom.value / low, 3)
        return round(1.0 + 9.0 * (self._zoom.value - low) / (high - low), 3)

    def set_zoom(self, ratio: float) -> None:
        low, high = self._zoom.minimum, self._zoom.maximum
        most = high / low if low > 0 else 10.0
        if ratio > most:
            raise BadRequest(f"zoom: got {ratio:g}, expected a number from 1 to {most:g} for this camera")
        self._zoom.value = _stepped(
            self._zoom, low * ratio if low > 0 else low + (ratio - 1.0) / 9.0 * (high - low)
        )

    def set_preset(self, name: str) -> None:
        view = self._presets.get(name)
        if view is None:
            raise BadRequest(f"preset: got {name!r}, expected one of {', '.join(self._presets) or 'none'}")
        self.set_zoom(view.zoom)
        for control, wanted in self._turned(view):
            control.value = wanted

    def preset(self) -> str | None:
        """The first preset whose zoom, pan and tilt the motors stand at."""
        for name, view in self._presets.items():
            near = abs(self.zoom() - view.zoom) <= 0.02 * view.zoom
            if near and all(control.value == wanted for control, wanted in self._turned(view)):
                return name
        return None

    def _turned(self, view: View) -> list[tuple[Control, int]]:
        """Where pan and tilt stand for a view: 0 to 1 across their range; up is a greater tilt (UVC)."""
        pairs = ((self._pan, view.cx), (self._tilt, 1.0 - view.cy))
        return [
            (control, _stepped(control, control.minimum + share * (control.maximum - control.minimum)))
            for control, share in pairs
            if control is not None
        ]


def _stepped(control: Control, value: float) -> int:
    """The nearest value that the control can take."""
    step = max(1, control.step)
    steps = round((value - control.minimum) / step)
    return min(control.maximum, max(control.minimum, control.minimum + steps * step))
