"""picamera2's own class as a double: its real source is imported, with what only a Pi has left out.

Every call is checked against the real signatures (``create_autospec``); behind them stands a camera that
delivers frames, obeys ScalerCrop some frames late, and can be missing, taken or silent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock, create_autospec

import numpy as np
import pytest
from PIL import Image

PI_ONLY = (
    "libcamera", "pykms", "prctl", "av", "piexif", "pidng", "pidng.camdefs", "pidng.core", "simplejpeg",
    "videodev2", "libarchive", "tqdm",
)  # fmt: skip
"""What picamera2 imports of native or apt-only libraries."""
SENSOR = {
    "Model": "imx708",
    "Id": "/base/soc/i2c0mux/i2c@1/imx708@1a",
    "Location": 2,
    "Rotation": 180,
    "Num": 0,
}
FULL = (0, 0, 4608, 2592)
CROP_DELAY = 4
"""Frames until a control shows."""


class StubModule(MagicMock):
    __path__: tuple[str, ...] = ()


def real_classes(monkeypatch: pytest.MonkeyPatch) -> tuple[type[Any], type[Any]]:
    """picamera2's Picamera2 and CompletedRequest, forgotten again at the test's end."""
    for name in [name for name in sys.modules if name.split(".")[0] == "picamera2"]:
        monkeypatch.delitem(sys.modules, name)
    for name in PI_ONLY:
        monkeypatch.setitem(sys.modules, name, StubModule(name=name))
    before = set(sys.modules)
    import picamera2

    for name in set(sys.modules) - before:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    return picamera2.Picamera2, picamera2.CompletedRequest


class FakeCamera:
    """``frame``: sequence -> RGB picture, shape (720, 1280, 3). Installed as the module ``picamera2``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, frame: Callable[[int], np.ndarray]) -> None:
        self.frame = frame
        self.cameras: list[dict[str, Any]] = [SENSOR]
        self.two_streams = True
        self.acquire_error: Exception | None = None
        self.start_error: Exception | None = None
        self.silent = False
        self.running = False
        self.held_requests = 0
        self.flushes = 0
        self.configured: Mapping[str, Any] = {}
        self._sequence = 0
        self._crop = self._crop_next = FULL
        self._crop_at = 0
        self._class, self._request_class = real_classes(monkeypatch)
        double = create_autospec(self._class)
        double.global_camera_info.side_effect = lambda: self.cameras
        double.side_effect = self._made
        module = ModuleType("picamera2")
        module.__dict__["Picamera2"] = double
        monkeypatch.setitem(sys.modules, "picamera2", module)

    def _made(self, camera_num: int = 0) -> Any:
        if self.acquire_error is not None:
            raise RuntimeError("Camera __init__ sequence did not complete.") from self.acquire_error
        camera = create_autospec(self._class, instance=True)
        camera.camera_controls = {"ScalerCrop": ((0, 0, 64, 64), FULL, FULL)} if self.two_streams else {}
        camera.create_preview_configuration.side_effect = self._configuration
        camera.configure.side_effect = self._configure
        camera.start.side_effect = self._start
        camera.close.side_effect = self._close
        camera.set_controls.side_effect = self._set_controls
        camera.capture_request.side_effect = self._capture
        camera.cancel_all_and_flush.side_effect = self._flush
        return camera

    def _configuration(
        self, main: Any = None, lores: Any = None, raw: Any = None, **rest: Any
    ) -> dict[str, Any]:
        return {"main": main, "lores": lores, "raw": raw, **rest}

    def _configure(self, camera_config: Mapping[str, Any]) -> None:
        self.configured = camera_config

    def _start(self) -> None:
        if self.start_error is not None:
            raise self.start_error
        self.running = True

    def _close(self) -> None:
        self.running = False
        self._crop = self._crop_next = FULL

    def _flush(self) -> None:
        self.flushes += 1

    def _set_controls(self, controls: Mapping[str, Any]) -> None:
        self._crop_next, self._crop_at = controls["ScalerCrop"], self._sequence + CROP_DELAY

    def _capture(self, wait: float) -> Any:
        assert self.running
        if self.silent:
            raise TimeoutError
        assert self.held_requests == 0, "a frame was not given back"
        sequence = self._sequence
        self._sequence += 1
        self.held_requests += 1
        if self._crop_next != self._crop and sequence >= self._crop_at:
            x, y, width, height = self._crop_next
            self._crop = (x, y, width + 2, height)  # the ISP rounds
        request = create_autospec(self._request_class, instance=True)
        request.get_metadata.return_value = {
            "SensorTimestamp": 5_000_000_000 + sequence * 33_333_333,
            **({"ScalerCrop": self._crop} if self.two_streams else {}),
        }
        request.make_array.side_effect = partial(self._array, sequence)
        request.make_image.side_effect = partial(self._image, sequence)
        request.release.side_effect = self._released
        return request

    def _released(self) -> None:
        self.held_requests -= 1

    def _main(self, sequence: int) -> np.ndarray:
        """What the sensor's part in force shows, at the stream's size."""
        whole = self.frame(sequence)
        x, y, width, height = self._crop
        rows = _spread(y / FULL[3], height / FULL[3], whole.shape[0])
        columns = _spread(x / FULL[2], width / FULL[2], whole.shape[1])
        return whole[rows][:, columns]

    def _image(self, sequence: int, name: str) -> Image.Image:
        assert name == "main"
        return Image.fromarray(self._main(sequence))

    def _array(self, sequence: int, name: str) -> np.ndarray:
        main = self._main(sequence)
        if name == "main":
            return main
        assert self.configured["lores"] is not None
        width, height = self.configured["lores"]["size"]
        stride = width + 64  # libcamera pads rows
        array = np.full((height * 3 // 2, stride), 0xEE, np.uint8)
        array[:height, :width] = main[::2, ::2, 1]
        return array


def _spread(start: float, share: float, count: int) -> list[int]:
    """``count`` pixels over a part of ``count``: which of them each is."""
    return [min(count - 1, int((start + share * (index + 0.5) / count) * count)) for index in range(count)]
