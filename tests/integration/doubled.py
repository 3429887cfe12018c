"""Backends over the doubles of their libraries, in a device's own process: picamera2's source, mock pins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from gpiozero.pins.mock import MockFactory, MockPWMPin

from diemcau_drivers.backends.gpio import GpioPanel
from diemcau_drivers.backends.picamera2 import Picamera2Camera
from fake_picamera2 import FakeCamera


def _frame(sequence: int) -> np.ndarray:
    return np.random.default_rng(sequence).integers(90, 160, (720, 1280, 3), dtype=np.uint8)


def _camera(options: Mapping[str, Any]) -> Picamera2Camera:
    FakeCamera(pytest.MonkeyPatch(), _frame)
    return Picamera2Camera(options)


def _panel(options: Mapping[str, Any]) -> GpioPanel:
    return GpioPanel(options, pin_factory=MockFactory(pin_class=MockPWMPin))


BACKENDS = {"camera": _camera, "panel": _panel}
