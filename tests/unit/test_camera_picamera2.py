"""The picamera2 backend against the real class's own signatures (tests/fake_picamera2.py)."""

from __future__ import annotations

import inspect
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diemcau_drivers.backends import picamera2 as backend
from diemcau_drivers.backends.picamera2 import Picamera2Camera
from diemcau_drivers.contract import Absent, Broken, Busy
from fake_picamera2 import FakeCamera, real_classes
from fake_sysfs import FakeSysfs

SENSOR_PATH = "soc/i2c0mux/i2c@1/imx708@1a"
IDENTITY = {"name": "imx708", "path": f"/base/{SENSOR_PATH}"}


def scene(sequence: int) -> np.ndarray:
    """Brightness tells which frame it is; the left half is dark."""
    frame = np.full((720, 1280, 3), 100 + sequence % 100, np.uint8)
    frame[:, :640] = 20
    return frame


class Ticks:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.1
        return self.now_s


@pytest.fixture
def kernel(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs(tmp_path / "root")


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch) -> FakeCamera:
    return FakeCamera(monkeypatch, scene)


def camera(kernel: FakeSysfs, **options: Any) -> Picamera2Camera:
    return Picamera2Camera(options, sys=kernel.sys, proc=kernel.proc, dev=kernel.dev, monotonic=Ticks())


@pytest.mark.parametrize("protocol", [backend.Picamera, backend.Request])
def test_what_is_used_of_picamera2_is_there(protocol: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    picamera, request = real_classes(monkeypatch)
    real = picamera if protocol is backend.Picamera else request
    used = [name for name in vars(protocol) if not name.startswith("_")]
    assert used
    for name in used:
        ours, theirs = getattr(protocol, name), getattr(real, name)
        if isinstance(ours, property):
            assert isinstance(theirs, property)
            continue
        known = inspect.signature(theirs).parameters
        for parameter in inspect.signature(ours).parameters:
            assert parameter in known, f"{name} has no {parameter} in this picamera2"


@pytest.mark.parametrize("two_streams", [True, False])
def test_frames_are_consecutive_luma_and_every_one_is_given_back(
    kernel: FakeSysfs, pi: FakeCamera, two_streams: bool
) -> None:
    pi.two_streams = two_streams
    lens = camera(kernel)
    lens.open()
    frames, fps = lens.grab(5)
    lens.close()
    brightness = [int(frame[0, -1]) for frame in frames]
    assert brightness == list(range(brightness[0], brightness[0] + 5))
    assert frames[0].shape == ((360, 640) if two_streams else (720, 1280))
    assert frames[0][0, 0] == 20
    assert frames[0].max() < 0xEE  # the padding of the rows is no picture
    assert fps == pytest.approx(30.0, rel=1e-3)
    assert pi.held_requests == 0
    assert not pi.running


def test_zoom_is_the_isps_and_read_back_from_the_frames(kernel: FakeSysfs, pi: FakeCamera) -> None:
    lens = camera(kernel, presets={"left": [2.0, 0.25, 0.5]})
    lens.open()
    lens.set_zoom(2.0)
    assert lens.state() == {"power": True, "zoom": 2.0, "preset": None}
    lens.set_preset("left")
    assert lens.state() == {"power": True, "zoom": 2.0, "preset": "left"}
    data, width, height = lens.jpeg(90, 640)
    with Image.open(io.BytesIO(data)) as picture:
        assert np.asarray(picture.convert("L")).mean() < 40
    assert (width, height) == (640, 360)
    frames, _ = lens.grab(1)
    assert frames[0].max() >= 100  # what is judged is the whole picture
    lens.close()


def test_without_an_isp_the_picture_is_cropped(kernel: FakeSysfs, pi: FakeCamera) -> None:
    pi.two_streams = False
    lens = camera(kernel, presets={"left": [2.0, 0.25, 0.5]})
    lens.open()
    lens.set_preset("left")
    assert lens.state() == {"power": True, "zoom": 2.0, "preset": "left"}
    data, width, _ = lens.jpeg(90, 1920)
    lens.close()
    with Image.open(io.BytesIO(data)) as picture:
        assert np.asarray(picture.convert("L")).mean() < 40
    assert width == 640


def test_the_zoom_outlives_the_opening(kernel: FakeSysfs, pi: FakeCamera, tmp_path: Path) -> None:
    first = camera(kernel, runtime_dir=str(tmp_path))
    first.set_zoom(3.0)
    second = camera(kernel, runtime_dir=str(tmp_path))
    second.open()
    assert second.state()["zoom"] == pytest.approx(3.0, abs=0.01)
    second.close()


def test_a_camera_that_another_program_has_is_busy_and_names_it(kernel: FakeSysfs, pi: FakeCamera) -> None:
    node = kernel.write("dev/media0", "")
    status = node.stat()
    major, minor = status.st_dev >> 8 & 0xFFF, status.st_dev & 0xFF
    kernel.write("proc/901/comm", "rpicam-vid\n")
    kernel.write(
        "proc/locks", f"1: POSIX  ADVISORY  WRITE 901 {major:02x}:{minor:02x}:{status.st_ino} 0 EOF\n"
    )
    lens = camera(kernel)
    assert lens.holder() == "rpicam"
    pi.acquire_error = RuntimeError("Failed to acquire camera: Device or resource busy")
    with pytest.raises(Busy) as refused:
        lens.open()
    assert refused.value.in_use_by == "rpicam"


def test_an_opening_that_fails_tells_picamera2s_own_cause(kernel: FakeSysfs, pi: FakeCamera) -> None:
    pi.acquire_error = RuntimeError("no tuning file")
    with pytest.raises(Broken, match=r"cannot be opened: .*did not complete.*\(no tuning file\)"):
        camera(kernel).open()


def test_a_start_that_fails_closes_the_camera(kernel: FakeSysfs, pi: FakeCamera) -> None:
    pi.start_error = RuntimeError("Failed to start camera")
    lens = camera(kernel)
    with pytest.raises(Broken, match="cannot be started"):
        lens.open()
    assert not pi.running
    with pytest.raises(Broken, match="not open"):
        lens.grab(1)


def test_a_silent_camera_is_broken_and_its_wait_is_called_off(kernel: FakeSysfs, pi: FakeCamera) -> None:
    lens = camera(kernel)
    lens.open()
    pi.silent = True
    with pytest.raises(Broken, match="no frame in 2 s"):
        lens.grab(1)
    assert pi.flushes == 1
    lens.close()


def test_identity_comes_from_the_device_tree_without_libcamera(kernel: FakeSysfs) -> None:
    kernel.i2c_subdevice(0, "dw9807 10-000c", "soc/i2c0mux/i2c@1/dw9807@c", port=False)
    kernel.i2c_subdevice(1, "imx708 10-001a", SENSOR_PATH, port=True)
    assert camera(kernel).identity() == IDENTITY  # picamera2 is not even imported: it is not stubbed here


def test_identity_is_libcameras_where_sysfs_lists_no_sensor(kernel: FakeSysfs, pi: FakeCamera) -> None:
    assert camera(kernel).identity() == IDENTITY


def test_usb_cameras_and_others_than_the_wanted_one_are_left_alone(kernel: FakeSysfs, pi: FakeCamera) -> None:
    pi.cameras = [{"Model": "HD Webcam", "Id": r"\_SB_.PCI0-1:1.0-046d:0825/usb", "Num": 0}]
    with pytest.raises(Absent, match="no CSI camera"):
        camera(kernel).open()
    pi.cameras = [{"Model": "imx219", "Id": "/base/soc/imx219@10", "Num": 0}, *pi.cameras]
    assert camera(kernel, identity="imx219").identity()["name"] == "imx219"
    with pytest.raises(Absent, match="imx708"):
        camera(kernel, identity="imx708").identity()
